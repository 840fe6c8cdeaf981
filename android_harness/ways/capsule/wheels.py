"""The runtimes' shared libraries for a device, out of their wheels on the Python package index."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
import tempfile
import zipfile
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path

from android_harness.runtimes import Wheel
from exporter.errors import DownloadError

_PLATFORMS = {
    "arm64-v8a": ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64"),
    "x86_64": ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64"),
}
_PYTHON = "3.11"
"""Of the wheel: fixed, so that everyone gets the same file."""
_TIMEOUT_S = 1800


def library(wheel: Wheel, abi: str, folder: Path) -> tuple[bytes, str]:
    """Find the library for an ABI and its origin.

    The installed package is used if it is the same version for the same kind of machine, else
    the wheel in `folder`, else pip downloads it there.

    Raises:
        DownloadError: pip cannot get it, or it holds no such library.
    """
    own = installed(wheel, abi)
    if own is not None:
        return own.read_bytes(), f"installed {wheel.project} {wheel.version}"
    path = kept(wheel, abi, folder) or _download(wheel, abi, folder)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [n for n in archive.namelist() if fnmatch(n, wheel.member)]
            if len(members) == 1:
                return archive.read(members[0]), path.name
    except (OSError, zipfile.BadZipFile) as error:
        raise DownloadError(f"{path} cannot be read ({error}): delete it") from None
    raise DownloadError(f"{path} holds {len(members)} files {wheel.member}, not one")


def installed(wheel: Wheel, abi: str) -> Path | None:
    """Find the library of the installed package if it would run on `abi`, else None."""
    if sys.platform != "linux" or not _PLATFORMS[abi][0].endswith(f"_{platform.machine()}"):
        return None
    try:
        if importlib.metadata.version(wheel.project) != wheel.version:
            return None
    except importlib.metadata.PackageNotFoundError:
        return None
    package, _, pattern = wheel.member.partition("/")
    spec = find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    found = [file for place in places for file in Path(place).glob(pattern)]
    return found[0] if len(found) == 1 else None


def kept(wheel: Wheel, abi: str, folder: Path) -> Path | None:
    """Find the wheel for an ABI that was downloaded before, else None."""
    machine = _PLATFORMS[abi][0].rpartition("28_")[2]
    stem = wheel.project.replace("-", "_")
    found = sorted(folder.glob(f"{stem}-{wheel.version}-*_{machine}.whl"))
    return found[0] if found else None


def _download(wheel: Wheel, abi: str, folder: Path) -> Path:
    """Let pip download into a folder of its own: it does not write whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as name:
        reason = _pip(wheel, abi, name)
        arrived = kept(wheel, abi, Path(name))
        if arrived is not None and not reason:
            return arrived.replace(folder / arrived.name)
    raise DownloadError(
        f"pip could not download {wheel.project}=={wheel.version} for {abi} "
        f"({reason or 'no reason given'}): put its wheel for {_PLATFORMS[abi][0]} into {folder}"
    )


def _pip(wheel: Wheel, abi: str, folder: str) -> str:
    """Download; returns why it failed, or nothing."""
    wanted = f"{wheel.project}=={wheel.version}"
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
    words += ["--only-binary=:all:", "--implementation", "cp", "--python-version", _PYTHON]
    words += [word for name in _PLATFORMS[abi] for word in ("--platform", name)]
    try:
        done = subprocess.run(
            [*words, wanted],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DownloadError(f"pip could not download {wanted} for {abi}: {error}") from None
    lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
    return lines[-1].strip() if done.returncode != 0 else ""
