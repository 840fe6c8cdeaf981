"""The way that needs no Android toolkit: a runner for glibc, started through a loader of its own.

A capsule holds the runner, one runtime's library, glibc with its loader, and libstdc++: everything
that a Linux program needs, so nothing of Android's own is loaded. It is put together on the user's
machine and kept in the cache; it is not shipped, because its parts have licences of their own
(its manifest.json names them). CPU only: a vendor's GPU and NPU libraries are built for Android's
libc and cannot be loaded. Proven under emulation and in a simulated device; on real phones it is
experimental until somebody confirms it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from android_harness.own_runner import OwnRunner
from android_harness.runner.compilers import INSTALL, find_compiler
from android_harness.runtimes import ABIS, RUNTIMES, needed_runtime, runtime_of
from android_harness.ways import DeviceFile, Wanted, WayKind
from android_harness.ways.capsule.assemble import LOADER, MANIFEST, RUNNER, build
from exporter.cache import default_cache
from runtimes.remote.job import Library

_FOLDER = "capsule"


@dataclass(frozen=True)
class Capsule(OwnRunner):
    """The way `capsule`. `cache` is None for the default folder."""

    cache: Path | None = None
    name: str = "capsule"

    def missing(self, wanted: Wanted) -> str | None:
        """See `Way`."""
        abi, target, runtime = wanted.abi, wanted.target, runtime_of(wanted.target)
        if abi not in ABIS:
            return f"a capsule is for {' and '.join(ABIS)}, not {abi}"
        if runtime is None:
            return f"nothing on Android runs a {target} bundle"
        offers = runtime.wheel.delegates
        if wanted.delegate not in offers:
            return (
                f"a capsule offers {', '.join(offers)} for {target} bundles, not "
                f"{wanted.delegate}: its library is the Python wheel's"
            )
        if find_compiler(abi) is None:
            return f"no C compiler for {abi}: {INSTALL[abi]}"
        return None

    def library(self, wanted: Wanted) -> Library:
        """See `Way`."""
        runtime = needed_runtime(wanted.target)
        folder = f"{_FOLDER}-{wanted.abi}"
        return Library(runtime.name, f"{folder}/{runtime.library}", runtime.wheel.version)

    def files(self, wanted: Wanted) -> tuple[DeviceFile, ...]:
        """See `Way`."""
        abi = wanted.abi
        folder = build(abi, wanted.target, self.cache or default_cache(os.environ))
        listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        programs = {RUNNER, LOADER[abi]}
        return tuple(
            DeviceFile(folder / name, f"{_FOLDER}-{abi}/{name}", entry["sha256"], name in programs)
            for name, entry in sorted(listed.items())
        )

    def program(self, place: str) -> str:
        """See `OwnRunner`: by the capsule's own loader, which finds the libraries beside it."""
        loader = LOADER[place.removeprefix(f"{_FOLDER}-")]
        return f"{place}/{loader} --library-path {place} {place}/{RUNNER}"


WAY = WayKind(
    make=lambda supplies: Capsule(supplies.cache),
    delegates=tuple(d for runtime in RUNTIMES for d in runtime.wheel.delegates),
    rank=2,
)
