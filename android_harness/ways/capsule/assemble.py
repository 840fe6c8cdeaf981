"""A capsule's parts, put together and kept: the runner, a runtime's library, glibc, libstdc++."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from android_harness.runner.compilers import INSTALL, Compiler, find_compiler, fingerprint
from android_harness.runtimes import needed_runtime
from android_harness.ways.capsule import debs, wheels
from exporter.bundle.folder import hash_file
from exporter.bundle.staging import build_once
from exporter.errors import ExportError

LOG = logging.getLogger("sam_export.device")
FORMAT = 1
LOADER = {"arm64-v8a": "ld-linux-aarch64.so.1", "x86_64": "ld-linux-x86-64.so.2"}
MANIFEST = "manifest.json"
RUNNER = "runner"
_GLIBC = ("libc.so.6", "libm.so.6", "libdl.so.2", "librt.so.1", "libpthread.so.0")
_GCC = ("libstdc++.so.6", "libgcc_s.so.1")


def build(abi: str, target: str, cache: Path) -> Path:
    """Build the capsule for an ABI and a target: its folder in the cache, made the first time.

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
    try:
        build_once(
            final,
            _whole,
            lambda folder: _fill(folder, abi, target, compiler, cache / "downloads"),
            lambda holder: LOG.info("waiting: %s is being made by %s", final, holder),
        )
    except OSError as error:
        raise ExportError(f"cannot write the capsule to {final}: {error}") from error
    return final


def _key(abi: str, target: str, compiler: Compiler) -> str:
    wheel = needed_runtime(target).wheel
    parts = [str(FORMAT), fingerprint(), wheel.project, wheel.version, compiler.identity()]
    if compiler.libraries:
        parts += [hash_file(compiler.library(name)) for name in (*_GLIBC[:1], *_GCC)]
    else:
        parts += [deb.sha256 for deb in debs.PACKAGES[abi]]
    return f"{target}-{abi}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"


def _whole(folder: Path) -> bool:
    """Tell whether a capsule is there and none of its files has changed."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return all(hash_file(folder / name) == entry["sha256"] for name, entry in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _fill(folder: Path, abi: str, target: str, compiler: Compiler, downloads: Path) -> None:
    runtime = needed_runtime(target)
    wheel = runtime.wheel
    content, origin = wheels.library(wheel, abi, downloads)
    (folder / runtime.library).write_bytes(content)
    entries = {runtime.library: (origin, wheel.licence)}
    for name, part in _system(abi, compiler, downloads).items():
        (folder / name).write_bytes(part[0])
        entries[name] = part[1:]
    compiler.build(folder / RUNNER)
    entries[RUNNER] = (f"runner/*.c, {compiler.identity()}", "Apache-2.0")
    for name in (RUNNER, LOADER[abi]):
        (folder / name).chmod(0o755)
    files = {
        name: {"sha256": hash_file(folder / name), "origin": origin, "licence": licence}
        for name, (origin, licence) in sorted(entries.items())
    }
    manifest = {"format": FORMAT, "abi": abi, "target": target, "files": files}
    text = json.dumps({**manifest, "runtime": f"{wheel.project} {wheel.version}"}, indent=2)
    (folder / MANIFEST).write_text(f"{text}\n", encoding="utf-8")


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
    missing = [name for name in names if name not in found]
    if missing:
        raise ExportError(f"Debian's packages hold no {missing[0]} for {abi}")
    return found
