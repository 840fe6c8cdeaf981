"""A phone's files as its sync service sees them: a folder of this host, and what may be written."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tests.fakes.faults import Faults

WRITABLE = PurePosixPath("/data/local/tmp")
"""The only folder that the shell may write to and execute from."""
MOST_LINKS = 40


@dataclass(frozen=True)
class Storage:
    """The folder `root` is the phone's `/`."""

    root: Path
    faults: Faults

    @property
    def shared(self) -> Path:
        """/data/local/tmp on this host."""
        return self.host(WRITABLE)

    def host(self, path: PurePosixPath) -> Path:
        """Where a path of the phone is on this host; links are not looked at."""
        return self.root / path.relative_to("/")

    def resolve(self, remote: str, last: bool = True) -> PurePosixPath:
        """`remote` without links, dots and double slashes; links lead to places of the phone.

        `last` is whether a link at the very end is followed as well. OSError for a loop.
        """
        waiting = list(reversed(PurePosixPath("/", remote).parts[1:]))
        path, links = PurePosixPath("/"), 0
        while waiting:
            name = waiting.pop()
            if name == "..":
                path = path.parent
                continue
            here = self.host(path / name)
            if here.is_symlink() and (waiting or last):
                links += 1
                if links > MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                # Without a sandbox the shell writes a link's target as this host sees it.
                target = PurePosixPath(str(here.readlink()).removeprefix(str(self.root)))
                path = PurePosixPath("/") if target.is_absolute() else path
                waiting += reversed([part for part in target.parts if part != "/"])
                continue
            path /= name
        return path

    def stat(self, remote: str, follow: bool) -> os.stat_result:
        """As os.stat or os.lstat would tell on the phone."""
        return self.host(self.resolve(remote, follow)).lstat()

    def readable(self, remote: str) -> Path:
        """The file or folder of this host behind `remote`."""
        return self.host(self.resolve(remote))

    def writable(self, remote: str) -> Path:
        """Where a push to `remote` goes, with the folders on the way. OSError where it may not."""
        path = self.resolve(remote)
        refused = [PurePosixPath(path) for path in self.faults.read_only]
        if WRITABLE not in path.parents or any(p in (path, *path.parents) for p in refused):
            code = errno.EACCES if path.is_relative_to("/data") else errno.EROFS
            raise OSError(code, os.strerror(code))
        place = self.host(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def free(self) -> int | None:
        """Bytes a push may still write; None for plenty."""
        if self.faults.storage_bytes is None:
            return None
        used = sum(file.lstat().st_size for file in self.shared.rglob("*") if not file.is_dir())
        return max(self.faults.storage_bytes - used, 0)
