"""The way with Android's own libc: the C runner built by the user's NDK, the libraries from AARs.

The user brings the NDK and the AAR files from Maven (com.microsoft.onnxruntime:onnxruntime-android,
com.google.ai.edge.litert:litert). Closest to what an app runs. Unproven: no NDK, AAR or phone was
at hand when this was written; its tests use a stand-in for the NDK's clang.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from android_harness.own_runner import OwnRunner
from android_harness.runner.compilers import Compiler, fingerprint
from android_harness.runtimes import ABIS, RUNTIMES, Runtime, needed_runtime, runtime_of
from android_harness.ways import AARS, DeviceFile, Supplies, Wanted, WayKind
from exporter.bundle.folder import hash_file
from exporter.bundle.staging import build_once
from exporter.cache import default_cache
from exporter.errors import ExportError
from runtimes.remote.job import Library

LOG = logging.getLogger("sam_export.device")
API = 26
"""Android 8: older phones run no model of this size well."""
_TRIPLES = {"arm64-v8a": "aarch64-linux-android", "x86_64": "x86_64-linux-android"}
_PAGE_FLAG = "-Wl,-z,max-page-size=16384"
"""Android 15 has devices with pages of 16 KB."""
_FOLDER = "ndk"


@dataclass(frozen=True)
class Ndk(OwnRunner):
    """The way `ndk`."""

    supplies: Supplies
    name: str = "ndk"

    def missing(self, wanted: Wanted) -> str | None:
        """See `Way`."""
        target, runtime = wanted.target, runtime_of(wanted.target)
        if wanted.abi not in ABIS:
            return f"the runner is built for {' and '.join(ABIS)}, not {wanted.abi}"
        if runtime is None:
            return f"nothing on Android runs a {target} bundle"
        offers = runtime.aar.delegates
        if wanted.delegate not in offers:
            return (
                f"the runner offers {', '.join(offers)} for {target} bundles, not {wanted.delegate}"
            )
        return self._not_brought(wanted.abi, runtime)

    def _not_brought(self, abi: str, runtime: Runtime) -> str | None:
        """Say what the user still has to bring; None if nothing."""
        folder = find_ndk(self.supplies.ndk, os.environ)
        if folder is None:
            return "no NDK: install one and set ANDROID_NDK_HOME"
        if _clang(folder, abi) is None:
            return f"{folder} has no clang for {abi} and API {API}"
        aar, asked = self._aar(runtime), runtime.aar
        if aar is None:
            return (
                f"no {asked.project}-VERSION.aar: download it from Maven and set {AARS} to its "
                "folder"
            )
        if not _version(aar).startswith(asked.versions):
            return (
                f"{aar.name} is not {runtime.title} {asked.versions}x, which the runner is "
                "written for"
            )
        return None

    def library(self, wanted: Wanted) -> Library:
        """See `Way`."""
        runtime = needed_runtime(wanted.target)
        aar = self._aar(runtime)
        version = _version(aar) if aar is not None else "-"
        return Library(runtime.name, f"{_FOLDER}/{runtime.library}", version)

    def files(self, wanted: Wanted) -> tuple[DeviceFile, ...]:
        """See `Way`."""
        abi, runtime = wanted.abi, needed_runtime(wanted.target)
        aar, ndk = self._aar(runtime), find_ndk(self.supplies.ndk, os.environ)
        clang = _clang(ndk, abi) if ndk is not None else None
        if aar is None or clang is None:
            raise ExportError(f"ndk: {self.missing(wanted)}")
        compiler = Compiler((str(clang), _PAGE_FLAG), libraries=False)
        parts = (fingerprint(), hash_file(aar), compiler.identity(), abi)
        key = f"{wanted.target}-{abi}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"
        folder = (self.supplies.cache or default_cache(os.environ)) / "ndk" / key
        if not folder.is_dir():
            _build(folder, compiler, _member(aar, abi, runtime.library) | _cxx_library(clang, abi))
        return tuple(
            DeviceFile(path, f"{_FOLDER}/{path.name}", hash_file(path), path.name == "runner")
            for path in sorted(folder.iterdir())
        )

    def program(self, place: str) -> str:
        """See `OwnRunner`."""
        return f"{place}/runner"

    def libraries(self, folder: str, place: str) -> str:
        """See `OwnRunner`: those of the AAR and the NDK lie beside it."""
        return f"{folder}/{place}"

    def _aar(self, runtime: Runtime) -> Path | None:
        pattern = rf"{re.escape(runtime.aar.project)}-\d"
        named = [a for a in self.supplies.aars if re.match(pattern, a.name)]
        fitting = [a for a in named if a.is_file()]
        return fitting[0] if fitting else None


def find_ndk(given: Path | None, environment: Mapping[str, str]) -> Path | None:
    """Find the NDK's folder: as given, as the environment names it, or the newest of an SDK."""
    if given is not None:
        return given if given.is_dir() else None
    for name in ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT"):
        if environment.get(name) and Path(environment[name]).is_dir():
            return Path(environment[name])
    for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT"):
        folder = Path(environment[name]) / "ndk" if environment.get(name) else None
        if folder is not None and folder.is_dir():
            return max((f for f in folder.iterdir() if f.is_dir()), key=_numbers, default=None)
    return None


def _numbers(folder: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", folder.name))


def _clang(ndk: Path, abi: str) -> Path | None:
    """Find the prebuilt clang; its one folder is named after the machine it runs on."""
    pattern = f"toolchains/llvm/prebuilt/*/bin/{_TRIPLES[abi]}{API}-clang"
    found = sorted((*ndk.glob(pattern), *ndk.glob(f"{pattern}.cmd")))
    return found[0] if found else None


def _version(aar: Path) -> str:
    """`1.31.1` of onnxruntime-android-1.31.1.aar."""
    found = re.search(r"-(\d[\w.]*)\.aar$", aar.name)
    return found[1] if found else "-"


def _member(aar: Path, abi: str, library: str) -> dict[str, bytes]:
    member = f"jni/{abi}/{library}"
    try:
        with zipfile.ZipFile(aar) as archive:
            return {library: archive.read(member)}
    except KeyError:
        raise ExportError(f"{aar} holds no {member}: is it the right AAR?") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise ExportError(f"{aar} cannot be read: {error}") from None


def _cxx_library(clang: Path, abi: str) -> dict[str, bytes]:
    """Find the NDK's C++ library, which an AAR's library may need."""
    path = clang.parents[1] / "sysroot/usr/lib" / _TRIPLES[abi] / "libc++_shared.so"
    return {path.name: path.read_bytes()} if path.is_file() else {}


def _build(folder: Path, compiler: Compiler, libraries: Mapping[str, bytes]) -> None:
    def fill(partial: Path) -> None:
        for library, content in libraries.items():
            (partial / library).write_bytes(content)
        compiler.build(partial / "runner")

    def waiting(holder: str) -> None:
        LOG.info("waiting: %s is being built by %s", folder, holder)

    try:
        build_once(folder, Path.is_dir, fill, waiting)
    except OSError as error:
        raise ExportError(f"cannot write {folder}: {error}") from error


WAY = WayKind(
    make=Ndk, delegates=tuple(d for runtime in RUNTIMES for d in runtime.aar.delegates), rank=1
)
