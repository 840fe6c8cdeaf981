"""The way with Android's own libc: the C file built by the user's NDK, the libraries from AARs.

The user brings the NDK and the AAR files from Maven (com.microsoft.onnxruntime:onnxruntime-android,
com.google.ai.edge.litert:litert). Closest to what an app runs. Unproven: no NDK, AAR or phone was
at hand when this was written; its tests use a stand-in for the NDK's clang.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from android_harness.process import (
    AARS,
    ABIS,
    LIBRARY_OF,
    RUNTIME_OF,
    Answer,
    DeviceFile,
    Supplies,
    read_runner,
    started,
)
from android_harness.runner.compilers import SOURCE, Compiler
from exporter.bundle.folder import hash_file
from exporter.cache import default_cache
from exporter.errors import ExportError
from runtimes.remote.job import MODES, Job, Library
from runtimes.remote.report import Report

API = 26
"""Android 8: older phones run no model of this size well."""
_TRIPLES = {"arm64-v8a": "aarch64-linux-android", "x86_64": "x86_64-linux-android"}
_PROJECTS = {"onnx": "onnxruntime-android", "tflite": "litert"}
_LITERT = "2.3."
"""runner.c was tried with LiteRT 2.3; its functions change between versions."""
_DELEGATES = {"onnx": ("cpu", "xnnpack", "nnapi"), "tflite": ("cpu", "xnnpack")}
_PAGE_FLAG = "-Wl,-z,max-page-size=16384"
"""Android 15 has devices with pages of 16 KB."""
_FOLDER = "ndk"


@dataclass(frozen=True)
class Ndk:
    """The way `ndk`."""

    supplies: Supplies
    name: str = "ndk"

    def missing(self, abi: str, target: str, delegate: str) -> str | None:
        """See `Way`."""
        if abi not in ABIS:
            return f"the runner is built for {' and '.join(ABIS)}, not {abi}"
        if target not in RUNTIME_OF:
            return f"nothing on Android runs a {target} bundle"
        if delegate not in _DELEGATES[target]:
            offers = ", ".join(_DELEGATES[target])
            return f"the runner offers {offers} for {target} bundles, not {delegate}"
        return self._lacking(abi, target)

    def _lacking(self, abi: str, target: str) -> str | None:
        """What the user has to bring, or None."""
        folder = find_ndk(self.supplies.ndk, os.environ)
        if folder is None:
            return "no NDK: install one and set ANDROID_NDK_HOME"
        if _clang(folder, abi) is None:
            return f"{folder} has no clang for {abi} and API {API}"
        project = _PROJECTS[target]
        aar = self._aar(target)
        if aar is None:
            return f"no {project}-VERSION.aar: download it from Maven and set {AARS} to its folder"
        if target == "tflite" and not _version(aar).startswith(_LITERT):
            return f"{aar.name} is not LiteRT {_LITERT}x, which the runner is written for"
        return None

    def modes(self) -> tuple[str, ...]:
        """See `Way`."""
        return MODES

    def library(self, abi: str, target: str) -> Library:
        """See `Way`."""
        del abi
        aar = self._aar(target)
        version = _version(aar) if aar is not None else "-"
        return Library(RUNTIME_OF[target], f"{_FOLDER}/{LIBRARY_OF[target]}", version)

    def files(self, abi: str, target: str) -> tuple[DeviceFile, ...]:
        """See `Way`."""
        aar, ndk = self._aar(target), find_ndk(self.supplies.ndk, os.environ)
        clang = _clang(ndk, abi) if ndk is not None else None
        if aar is None or clang is None:
            raise ExportError(f"ndk: {self.missing(abi, target, 'cpu')}")
        compiler = Compiler((str(clang), _PAGE_FLAG), libraries=False)
        parts = (hash_file(SOURCE), hash_file(aar), compiler.identity(), abi)
        key = f"{target}-{abi}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"
        folder = (self.supplies.cache or default_cache(os.environ)) / "ndk" / key
        if not folder.is_dir():
            _build(folder, compiler, _members(aar, abi, target) | _runtime(clang, abi))
        return tuple(
            DeviceFile(path, f"{_FOLDER}/{path.name}", hash_file(path), path.name == "runner")
            for path in sorted(folder.iterdir())
        )

    def self_test(self, folder: str, abi: str, target: str) -> str | None:
        """See `Way`."""
        library = self.library(abi, target).file
        return started(
            folder, f"{_FOLDER}/runner --version {library}", libraries=f"{folder}/{_FOLDER}"
        )

    def command(self, folder: str, job: Job, job_file: str, *, prefix: str = "") -> str:
        """See `Way`."""
        del job
        program = f"{_FOLDER}/runner {shlex.quote(job_file)}"
        return started(folder, program, prefix=prefix, libraries=f"{folder}/{_FOLDER}")

    def pulls(self, job: Job) -> tuple[str, ...]:
        """See `Way`."""
        del job
        return ()

    def read(self, job: Job, answer: Answer) -> Report:
        """See `Way`."""
        del job
        return read_runner(answer)

    def _aar(self, target: str) -> Path | None:
        project = _PROJECTS[target]
        named = [a for a in self.supplies.aars if re.match(rf"{project}-\d", a.name)]
        fitting = [a for a in named if a.is_file()]
        return fitting[0] if fitting else None


def find_ndk(given: Path | None, environment: Mapping[str, str]) -> Path | None:
    """The NDK's folder: as given, as the environment names it, or the newest of an SDK."""
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
    """The prebuilt clang; there is one folder, named after the machine it runs on."""
    pattern = f"toolchains/llvm/prebuilt/*/bin/{_TRIPLES[abi]}{API}-clang"
    found = sorted((*ndk.glob(pattern), *ndk.glob(f"{pattern}.cmd")))
    return found[0] if found else None


def _version(aar: Path) -> str:
    """`1.31.1` of onnxruntime-android-1.31.1.aar."""
    found = re.search(r"-(\d[\w.]*)\.aar$", aar.name)
    return found[1] if found else "-"


def _members(aar: Path, abi: str, target: str) -> dict[str, bytes]:
    member = f"jni/{abi}/{LIBRARY_OF[target]}"
    try:
        with zipfile.ZipFile(aar) as archive:
            return {LIBRARY_OF[target]: archive.read(member)}
    except KeyError:
        raise ExportError(f"{aar} holds no {member}: is it the right AAR?") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise ExportError(f"{aar} cannot be read: {error}") from None


def _runtime(clang: Path, abi: str) -> dict[str, bytes]:
    """The C++ library of the NDK, which an AAR's library may need."""
    path = clang.parents[1] / "sysroot/usr/lib" / _TRIPLES[abi] / "libc++_shared.so"
    return {path.name: path.read_bytes()} if path.is_file() else {}


def _build(folder: Path, compiler: Compiler, libraries: Mapping[str, bytes]) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".partial-") as name:
            partial = Path(name) / folder.name
            partial.mkdir()
            for library, content in libraries.items():
                (partial / library).write_bytes(content)
            compiler.build(partial / "runner")
            if not folder.is_dir():
                partial.rename(folder)
    except OSError as error:
        raise ExportError(f"cannot write {folder}: {error}") from error
