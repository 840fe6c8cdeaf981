"""glibc and its companions out of pinned Debian packages, on a machine that has no Debian.

A .deb is an `ar` archive that holds a tar archive. Standard library only.
"""

from __future__ import annotations

import hashlib
import io
import secrets
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from exporter.errors import DownloadError

MIRRORS = (
    "https://deb.debian.org/debian/",
    "https://snapshot.debian.org/archive/debian/20250520T000000Z/",
)
"""The first forgets old packages; the second keeps them for good, and is slow."""
_TIMEOUT_S = 60.0
_MAGIC = b"!<arch>\n"
_HEADER = 60


@dataclass(frozen=True)
class Deb:
    """A package of Debian 12."""

    path: str
    sha256: str
    licence: str

    @property
    def name(self) -> str:
        """Its file name."""
        return PurePosixPath(self.path).name


_BASE = "pool/main/c/cross-toolchain-base/"
_GCC = "pool/main/g/gcc-12-cross/"
_GLIBC = "LGPL-2.1-or-later"
_GCC_LICENCE = "GPL-3.0-or-later WITH GCC-exception-3.1"
PACKAGES = {
    "arm64-v8a": (
        Deb(
            f"{_BASE}libc6-arm64-cross_2.36-8cross1_all.deb",
            "91936cbbee75771c360ed16513f6e734a25ca5517fe7c3e13dfd7835d7553186",
            _GLIBC,
        ),
        Deb(
            f"{_GCC}libstdc++6-arm64-cross_12.2.0-14cross1_all.deb",
            "9cba984b64d0cf11698978fc5e0fe93c7441d29b9f42f70f1c6c734cc9e2ea41",
            _GCC_LICENCE,
        ),
        Deb(
            f"{_GCC}libgcc-s1-arm64-cross_12.2.0-14cross1_all.deb",
            "af1e686fc6a416228222e7bfb68317dd2fa2685236301ae29141fc6108a66cac",
            _GCC_LICENCE,
        ),
    ),
    "x86_64": (
        Deb(
            f"{_BASE}libc6-amd64-cross_2.36-8cross1_all.deb",
            "e410f3d2da35bccf757976d38e6a309d4d94d25c0dfde565a9662e3f75951b2c",
            _GLIBC,
        ),
        Deb(
            f"{_GCC}libstdc++6-amd64-cross_12.2.0-14cross1_all.deb",
            "ad91d29ea6b2a819fe6f79138fee2ce4c1a1dbe7fcd355c3a8f27e8c3d13dd88",
            _GCC_LICENCE,
        ),
        Deb(
            f"{_GCC}libgcc-s1-amd64-cross_12.2.0-14cross1_all.deb",
            "b432ba4cfc37d81fc9efe03da3c706eaa64859513f496397c56d11c08262994f",
            _GCC_LICENCE,
        ),
    ),
}


def fetch(deb: Deb, folder: Path, mirrors: Iterable[str] = MIRRORS) -> bytes:
    """Fetch the package, from `folder` or the net, with its hash checked either way.

    Raises:
        DownloadError: no mirror has it, or what they have is another file.
    """
    kept = folder / deb.name
    if kept.is_file() and _matches(kept.read_bytes(), deb):
        return kept.read_bytes()
    reasons = []
    for mirror in mirrors:
        try:
            with urllib.request.urlopen(mirror + deb.path, timeout=_TIMEOUT_S) as source:
                content: bytes = source.read()
        except (urllib.error.URLError, OSError) as error:
            reasons.append(f"{mirror}: {error}")
            continue
        if not _matches(content, deb):
            reasons.append(f"{mirror}: another file (its sha256 differs)")
            continue
        folder.mkdir(parents=True, exist_ok=True)
        partial = kept.with_name(f".{kept.name}.partial-{secrets.token_hex(8)}")
        partial.write_bytes(content)
        partial.replace(kept)
        return content
    raise DownloadError(
        f"could not download {deb.name} ({'; '.join(reasons)}): fetch it yourself and put it at "
        f"{kept}"
    )


def unpack(content: bytes, names: Iterable[str], where: str) -> dict[str, bytes]:
    """Files of a package by name, from any folder in it; links are followed.

    Args:
        content: a .deb.
        names: file names without a folder.
        where: what to call the package in a message.

    Raises:
        DownloadError: it is no .deb, or none that this can read.
    """
    wanted = set(names)
    with _data(content, where) as archive:
        members = {PurePosixPath(m.name).as_posix(): m for m in archive.getmembers()}
        found = {}
        for path, member in members.items():
            name = PurePosixPath(path).name
            if name not in wanted or not (member.isfile() or member.issym()):
                continue
            if member.issym():  # beside it, as libstdc++.so.6 -> libstdc++.so.6.0.30
                beside = PurePosixPath(path).parent / member.linkname
                member = members.get(beside.as_posix(), member)
            source = archive.extractfile(member) if member.isfile() else None
            if source is not None:
                found[name] = source.read()
    return found


def _matches(content: bytes, deb: Deb) -> bool:
    return hashlib.sha256(content).hexdigest() == deb.sha256


def _data(content: bytes, where: str) -> tarfile.TarFile:
    if not content.startswith(_MAGIC):
        raise DownloadError(f"{where} is not a Debian package")
    at = len(_MAGIC)
    while at + _HEADER <= len(content):
        name = content[at : at + 16].decode("ascii", "replace").strip().rstrip("/")
        size_text = content[at + 48 : at + 58].strip()
        if not size_text.isdigit():
            break
        start, size = at + _HEADER, int(size_text)
        if start + size > len(content):
            raise DownloadError(f"{where} is cut short")
        if name.startswith("data.tar"):
            try:
                return tarfile.open(fileobj=io.BytesIO(content[start : start + size]), mode="r:*")
            except (tarfile.TarError, OSError) as error:
                raise DownloadError(f"{where}: {name} cannot be read: {error}") from None
        at = start + size + size % 2
    raise DownloadError(f"{where} holds no data.tar")
