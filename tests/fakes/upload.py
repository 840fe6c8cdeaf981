"""One file or link on its way onto the phone, and how it fails."""

from __future__ import annotations

import errno
import os
from stat import S_IMODE, S_ISLNK
from typing import BinaryIO

from tests.fakes.storage import Storage


class Upload:
    """Takes the pieces of a push. An error is kept until the end, as the protocol wants it.

    Attributes:
        doing: what an error happened at, in adbd's words.
    """

    def __init__(self, storage: Storage, path: str, mode: int) -> None:
        self.doing = "couldn't create file"
        self._mode, self._link, self._path = mode, bytearray(), path
        self._error: OSError | None = None
        self._file: BinaryIO | None = None
        try:
            self._place = storage.writable(path)
            self._place.unlink(missing_ok=True)
            self._free = storage.free()
            if not S_ISLNK(mode):
                self._file = self._place.open("wb")
        except OSError as error:
            self._error = error

    def take(self, data: bytes) -> None:
        """The next piece."""
        if self._error is not None:
            return
        if self._free is not None:
            self._free -= len(data)
            if self._free < 0:
                self.doing = "write failed"
                self._error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._file is None:
            self._link += data
        elif self._error is None:
            self._file.write(data)

    def finish(self, seconds: int) -> OSError | None:
        """The whole is there, modified at `seconds`; what went wrong, if anything did."""
        if self._file is not None:
            self._file.close()
        if self._error is None:
            try:
                self._settle(seconds)
            except OSError as error:
                self._error = error
        elif self._file is not None:
            self._place.unlink(missing_ok=True)
        return self._error

    def _settle(self, seconds: int) -> None:
        if self._file is None:
            self._place.symlink_to(bytes(self._link).rstrip(b"\0").decode())
        else:
            self._place.chmod(S_IMODE(self._mode))
            os.utime(self._place, (seconds, seconds))
