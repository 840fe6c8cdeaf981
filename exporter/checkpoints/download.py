"""Download published checkpoints from their authors into a cache folder.

A file appears under its name whole and checked, or not at all; an interrupted download is resumed.
Standard library only.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import time
import urllib.error
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.bundle.claim import claim
from exporter.cache import default_cache
from exporter.checkpoints.network import Network, cause, is_lasting
from exporter.errors import DownloadError, RequestError
from exporter.progress import Progress, silent
from exporter.variants import Published

OnBytes = Callable[[int, int | None], None]
"""Called with the bytes so far and the total, None if the server does not say."""

MOST_BYTES = 8 * 10**9
ATTEMPTS = 4
"""Tries in a row that bring no byte."""
WAIT_S, MOST_WAIT_S = 1.0, 60.0
"""Between tries: at first, then twice as long each time; and the most, also if a server asks."""
_CHUNK = 1 << 20
_NO_FOLDER = frozenset({
    errno.EACCES, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR,
    errno.EPERM, errno.EROFS,
})  # fmt: skip
_BROKEN = (OSError, http.client.HTTPException, ValueError)
"""Raised by a transfer that breaks off."""


def fetch(
    published: Published,
    cache: Path | None,
    progress: OnBytes,
    option: str = "--checkpoint",
    waiting: Progress = silent,
) -> Path:
    """Take the published file from the cache, or download it to the cache.

    If its authors publish no sha256, the first one seen is kept beside the file as NAME.sha256, and
    later reads are checked against that.

    Args:
        published: what to fetch.
        cache: the folder to keep it in; None for `default_cache`.
        progress: called about every megabyte.
        option: CLI option to name in error messages.
        waiting: told who else downloads it; we wait for that.

    Raises:
        RequestError: it has no address, one that is neither http nor https, or a page for people,
            or no weights are public; or there can be no such folder.
        DownloadError: it cannot be fetched or kept, or is not the published file.
    """
    name = Path(published.file).name
    if not published.url.startswith(("http://", "https://")):
        raise RequestError(f"{name or 'this variant'} has no http(s) address: pass {option} FILE")
    if published.awaited:
        raise RequestError(
            f"no weights are published ({published.url} announces them): pass {option} FILE"
        )
    if published.by_hand:
        raise RequestError(
            f"{name} is published at {published.url}, a page for people: fetch it there and pass "
            f"{option} FILE"
        )
    target = (default_cache(os.environ) if cache is None else cache) / name
    try:
        if _is_cached(target, published):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with claim(target, lambda holder: waiting(f"{name} is being downloaded by {holder}")):
            if _is_cached(target, published):  # downloaded by the process we waited for
                return target
            network = Network.of(os.environ, name, f"pass {option} FILE")
            return _download(_Download(published, target, option, network), progress, waiting)
    except OSError as error:
        if error.errno in _NO_FOLDER:
            raise RequestError(
                f"cannot keep downloads in {target.parent} ({error.strerror}): set "
                f"SAM_EXPORT_CACHE to another folder, or pass {option} FILE"
            ) from None
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full; what has arrived is kept" if full else str(error)
        raise DownloadError(f"could not keep {target}: {reason}") from error


def known_digest(target: Path, published: Published) -> str:
    """Return the digits that a fetched file's sha256 was checked against, for its reader."""
    return published.sha256 or (_record(target).read_text("utf-8").split() or [""])[0]


@dataclass(frozen=True)
class _Download:
    published: Published
    target: Path
    option: str
    network: Network

    @property
    def address(self) -> str:
        """Where the file is asked for: at a mirror of the hub, if there is one."""
        return self.network.address(self.published.url)

    @property
    def partial(self) -> Path:
        return self.target.with_name(f"{self.target.name}.partial")

    @property
    def validator(self) -> Path:
        """The file with the ETag of the version that the partial file belongs to."""
        return self.target.with_name(f"{self.target.name}.partial.etag")

    def failure(self, reason: str) -> DownloadError:
        name, url = self.published.file, self.address
        return DownloadError(
            f"could not download {url} ({reason}): fetch it yourself and pass "
            f"{self.option} {name}, or put it at {self.target}"
        )


class _Interrupted(Exception):
    """The transfer stopped; another attempt may go on."""


def _is_cached(target: Path, published: Published) -> bool:
    """Tell whether the cached file is the published one; if not, it is downloaded again."""
    if not target.is_file():
        return False
    digest = _sha256(target)
    if published.sha256:
        return digest.startswith(published.sha256)
    record = _record(target)
    recorded = record.read_text("utf-8").split()[:1] if record.is_file() else []
    if recorded and recorded != [digest]:
        raise DownloadError(
            f"{target} has sha256 {digest}, but had {recorded[0]} when it was first seen (its "
            "authors publish none): remove both files to fetch it again"
        )
    if not recorded:
        _write_record(target, digest)
    return True


def _download(job: _Download, progress: OnBytes, say: Progress) -> Path:
    failures = 0
    while True:
        before = _size(job.partial)
        try:
            _transfer(job, progress)
            return _accept(job)
        except (_Interrupted, urllib.error.URLError) as error:
            failures = 1 if _size(job.partial) > before else failures + 1
            seconds = _pause(job, error, failures)
            if seconds:
                say(f"{_reason(job, error)}; trying again in {seconds:.0f} s")
            time.sleep(seconds)


def _pause(job: _Download, error: Exception, failures: int) -> float:
    """Seconds to wait before another try. DownloadError if there should be none."""
    seconds: float = min(WAIT_S * 2 ** (failures - 1), MOST_WAIT_S)
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        asked = str(error.headers.get("Retry-After", "")) if error.headers else ""
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            _forget(job)
            seconds = 0.0
        elif asked.isascii() and asked.isdecimal() and len(asked) < 9:
            seconds = float(asked)
            if seconds > MOST_WAIT_S:
                raise job.failure(f"{_reason(job, error)}; it asks to wait {asked} s")
    if is_lasting(error) or failures >= ATTEMPTS:
        raise job.failure(_reason(job, error)) from error
    return seconds


def _reason(job: _Download, error: Exception) -> str:
    if isinstance(error, _Interrupted):
        return str(error)
    return cause(job.address, error, token=bool(job.network.token))


def _transfer(job: _Download, progress: OnBytes) -> None:
    """Make one request and append its body to the partial file."""
    start, headers = _resume_from(job), {}
    if start:
        headers["Range"] = f"bytes={start}-"
        if job.validator.is_file():
            headers["If-Range"] = job.validator.read_text("utf-8")
    with _opened(job, headers) as response:
        if response.status == http.HTTPStatus.PARTIAL_CONTENT:
            if not str(response.headers.get("Content-Range", "")).startswith(f"bytes {start}-"):
                _forget(job)
                raise _Interrupted("the server sent another range than asked for")
        else:
            start = 0
            _forget(job)
            _note_validator(job, response.headers.get("ETag"))
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        _append(job, start, response, total, progress)


def _opened(job: _Download, headers: Mapping[str, str]) -> Any:
    try:
        return job.network.open(job.address, headers)
    except urllib.error.URLError:
        raise
    except _BROKEN as error:
        raise _Interrupted(cause(job.address, error)) from error


def _append(job: _Download, start: int, source: Any, total: int | None, progress: OnBytes) -> None:
    with job.partial.open("r+b" if start else "wb") as file:
        file.seek(start)
        file.truncate()
        done = start
        while chunk := _receive(job, source):
            file.write(chunk)
            done += len(chunk)
            if done > MOST_BYTES:
                raise DownloadError(f"{job.partial} grew past {MOST_BYTES} bytes: no checkpoint is")
            progress(done, total)
        file.flush()
        os.fsync(file.fileno())
    if total is not None and done != total:
        raise _Interrupted(f"{done} of {total} bytes arrived; the next try goes on from there")


def _receive(job: _Download, source: Any) -> bytes:
    try:
        chunk: bytes = source.read(_CHUNK)
    except http.client.IncompleteRead as error:
        return error.partial
    except _BROKEN as error:
        raise _Interrupted(cause(job.address, error)) from error
    return chunk


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _resume_from(job: _Download) -> int:
    """Size of the partial file; 0 if a part of another version could not be told from it."""
    verifiable = bool(job.published.sha256) or job.validator.is_file()
    return job.partial.stat().st_size if verifiable and job.partial.is_file() else 0


def _note_validator(job: _Download, etag: str | None) -> None:
    if etag and not etag.startswith("W/"):
        job.validator.write_text(etag, "utf-8")


def _forget(job: _Download) -> None:
    job.partial.unlink(missing_ok=True)
    job.validator.unlink(missing_ok=True)


def _accept(job: _Download) -> Path:
    digest = _sha256(job.partial)
    if not digest.startswith(job.published.sha256):
        _forget(job)
        raise job.failure(
            f"its sha256 is {digest}, published is {job.published.sha256}; the file was removed"
        )
    job.partial.replace(job.target)
    job.validator.unlink(missing_ok=True)
    if not job.published.sha256:
        _write_record(job.target, digest)
    return job.target


def _record(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")


def _write_record(target: Path, digest: str) -> None:
    _record(target).write_text(f"{digest}  {target.name}\n", "utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
