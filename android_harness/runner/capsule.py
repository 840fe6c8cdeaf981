"""The way that needs no Android toolkit: a runner for glibc, started through a loader of its own.

A capsule holds the runner, one runtime's library, glibc with its loader, and libstdc++: everything
that a Linux program needs, so nothing of Android's own is loaded. It is put together on the user's
machine and kept in the cache; it is not shipped, because its parts have licences of their own
(its manifest.json names them). CPU only: a vendor's GPU and NPU libraries are built for Android's
libc and cannot be loaded. Proven under emulation and in a simulated device; on real phones it is
experimental until somebody confirms it.

    python -m android_harness.runner.capsule --abi arm64-v8a --target onnx --target tflite

puts capsules together ahead of time, so that measuring needs no network.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from android_harness.runner import debs, wheels
from android_harness.runner.compilers import INSTALL, SOURCE, Compiler, find_compiler
from android_harness.runner.delivery import (
    ABIS,
    RUNTIME_OF,
    Answer,
    DeviceFile,
    Library,
    read_runner,
    started,
)
from android_harness.runner.job import LITERT, MODES, Job
from android_harness.runner.report import Report
from exporter.bundle.folder import hash_file
from exporter.cache import default_cache
from exporter.errors import ExportError, SamExportError

FORMAT = 1
LOADER = {"arm64-v8a": "ld-linux-aarch64.so.1", "x86_64": "ld-linux-x86-64.so.2"}
_GLIBC = ("libc.so.6", "libm.so.6", "libdl.so.2", "librt.so.1", "libpthread.so.0")
_GCC = ("libstdc++.so.6", "libgcc_s.so.1")
_FOLDER = "capsule"
_MANIFEST = "manifest.json"
_RUNNER = "runner"


@dataclass(frozen=True)
class Capsule:
    """The way `capsule`. `cache` is None for the default folder."""

    cache: Path | None = None
    name: str = "capsule"

    def missing(self, abi: str, target: str, delegate: str) -> str | None:
        """See `Way`."""
        if abi not in ABIS:
            return f"a capsule is for {' and '.join(ABIS)}, not {abi}"
        if target not in RUNTIME_OF:
            return f"nothing on Android runs a {target} bundle"
        if delegate not in ("cpu", "xnnpack"):
            return f"a capsule has the CPU alone, not {delegate}: vendors build for Android's libc"
        if delegate == "xnnpack" and RUNTIME_OF[target] != LITERT:
            return "the wheel's onnxruntime has no XNNPACK"
        if find_compiler(abi) is None:
            return f"no C compiler for {abi}: {INSTALL[abi]}"
        return None

    def modes(self) -> tuple[str, ...]:
        """See `Way`."""
        return MODES

    def library(self, abi: str, target: str) -> Library:
        """See `Way`."""
        wheel = wheels.WHEELS[target]
        return Library(RUNTIME_OF[target], f"{_FOLDER}-{abi}/{wheel.library}", wheel.version)

    def files(self, abi: str, target: str) -> tuple[DeviceFile, ...]:
        """See `Way`."""
        folder = build(abi, target, self.cache or default_cache(os.environ))
        listed = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["files"]
        programs = {_RUNNER, LOADER[abi]}
        return tuple(
            DeviceFile(folder / name, f"{_FOLDER}-{abi}/{name}", entry["sha256"], name in programs)
            for name, entry in sorted(listed.items())
        )

    def self_test(self, folder: str, abi: str, target: str) -> str | None:
        """See `Way`."""
        library = self.library(abi, target).file
        return started(folder, f"{_program(abi)} --version {library}")

    def command(self, folder: str, job: Job, job_file: str, *, prefix: str = "") -> str:
        """See `Way`."""
        abi = job.library.partition("/")[0].removeprefix(f"{_FOLDER}-")
        return started(folder, f"{_program(abi)} {shlex.quote(job_file)}", prefix=prefix)

    def pulls(self, job: Job) -> tuple[str, ...]:
        """See `Way`."""
        del job
        return ()

    def read(self, job: Job, answer: Answer) -> Report:
        """See `Way`."""
        del job
        return read_runner(answer)


def _program(abi: str) -> str:
    folder = f"{_FOLDER}-{abi}"
    return f"{folder}/{LOADER[abi]} --library-path {folder} {folder}/{_RUNNER}"


def build(abi: str, target: str, cache: Path) -> Path:
    """The capsule for an ABI and a target: its folder in the cache, put together the first time.

    Args:
        abi: one of ABIS.
        target: `onnx` or `tflite`.
        cache: where capsules and what they are made of are kept.

    Raises:
        ExportError: there is no compiler, or it fails; the disk is full.
        DownloadError: a part cannot be fetched.
    """
    compiler = find_compiler(abi)
    if compiler is None:
        raise ExportError(f"no C compiler for {abi}: {INSTALL[abi]}")
    final = cache / "capsule" / _key(abi, target, compiler)
    if _whole(final):
        return final
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=final.parent, prefix=".partial-") as name:
            partial = Path(name) / final.name
            partial.mkdir()
            _fill(partial, abi, target, compiler, cache / "downloads")
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
    except OSError as error:
        if _whole(final):  # another process was quicker
            return final
        raise ExportError(f"cannot write the capsule to {final}: {error}") from error
    return final


def _key(abi: str, target: str, compiler: Compiler) -> str:
    wheel = wheels.WHEELS[target]
    parts = [str(FORMAT), hash_file(SOURCE), wheel.project, wheel.version, compiler.identity()]
    if compiler.libraries:
        parts += [hash_file(compiler.library(name)) for name in (*_GLIBC[:1], *_GCC)]
    else:
        parts += [deb.sha256 for deb in debs.PACKAGES[abi]]
    return f"{target}-{abi}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"


def _whole(folder: Path) -> bool:
    """Whether a capsule is there and none of its files has changed."""
    try:
        files = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["files"]
        return all(hash_file(folder / name) == entry["sha256"] for name, entry in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _fill(folder: Path, abi: str, target: str, compiler: Compiler, downloads: Path) -> None:
    wheel = wheels.WHEELS[target]
    content, origin = wheels.library(wheel, abi, downloads)
    (folder / wheel.library).write_bytes(content)
    entries = {wheel.library: (origin, wheel.licence)}
    for name, part in _system(abi, compiler, downloads).items():
        (folder / name).write_bytes(part[0])
        entries[name] = part[1:]
    compiler.build(folder / _RUNNER)
    entries[_RUNNER] = (f"{SOURCE.name}, {compiler.identity()}", "Apache-2.0")
    for name in (_RUNNER, LOADER[abi]):
        (folder / name).chmod(0o755)
    files = {
        name: {"sha256": hash_file(folder / name), "origin": origin, "licence": licence}
        for name, (origin, licence) in sorted(entries.items())
    }
    manifest = {"format": FORMAT, "abi": abi, "target": target, "files": files}
    text = json.dumps({**manifest, "runtime": f"{wheel.project} {wheel.version}"}, indent=2)
    (folder / _MANIFEST).write_text(f"{text}\n", encoding="utf-8")


def _system(abi: str, compiler: Compiler, downloads: Path) -> dict[str, tuple[bytes, str, str]]:
    """glibc and libstdc++: name -> content, origin, licence."""
    names = (LOADER[abi], *_GLIBC, *_GCC)
    if compiler.libraries:
        licence = dict.fromkeys(names, debs.PACKAGES[abi][0].licence)
        licence |= dict.fromkeys(_GCC, debs.PACKAGES[abi][1].licence)
        paths = {n: compiler.library(n) for n in names}
        return {n: (path.read_bytes(), str(path), licence[n]) for n, path in paths.items()}
    found: dict[str, tuple[bytes, str, str]] = {}
    for deb in debs.PACKAGES[abi]:
        held = debs.unpack(debs.fetch(deb, downloads), names, deb.name)
        found |= {name: (content, deb.name, deb.licence) for name, content in held.items()}
    lacking = [name for name in names if name not in found]
    if lacking:
        raise ExportError(f"Debian's packages hold no {lacking[0]} for {abi}")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Put capsules together and say where; the exit status of the last that failed, else 0."""
    parser = argparse.ArgumentParser(
        "python -m android_harness.runner.capsule",
        description="Fetch and build what the way `capsule` pushes to a device, and keep it.",
    )
    add = parser.add_argument
    add("--abi", action="append", choices=ABIS, help="of the device; repeatable (default: all)")
    add("--target", action="append", choices=tuple(RUNTIME_OF), help="repeatable (default: all)")
    add("--cache", type=Path, help="folder to keep it in (default: where sam-bench looks)")
    arguments = parser.parse_args(argv)
    cache, status = arguments.cache or default_cache(os.environ), 0
    for abi in arguments.abi or ABIS:
        for target in arguments.target or RUNTIME_OF:
            try:
                sys.stdout.write(f"{abi} {target}: {build(abi, target, cache)}\n")
            except SamExportError as error:
                sys.stderr.write(f"capsule: error: {abi} {target}: {error}\n")
                status = error.exit_status
    return status


if __name__ == "__main__":
    sys.exit(main())
