"""Core AI: one .aimodel a bundle, with a function for each graph. iOS 27 and macOS 27.

Inputs and outputs are float32 in every precision, so that a coordinate keeps its fractions. Apple's
own reference runtime is in the wheel and runs on Linux: see `runtimes.engines.coreai`.
"""

from __future__ import annotations

import platform
import sys

from exporter.bundle.manifest import GraphFile
from exporter.targets import Joining, Options, Target, by_precision
from exporter.targets._storage import require_storage


def _unavailable() -> str:
    """Say why there is no wheel of coreai-core for this machine; empty if there is one."""
    if sys.platform == "darwin":
        return ""
    name, version = platform.libc_ver()
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    linux = sys.platform == "linux" and platform.machine() == "x86_64"
    if linux and name == "glibc" and numbers >= (2, 34):
        return ""
    return (
        "coreai-core is made for macOS and for Linux on x86-64 with glibc 2.34 or later; export "
        "there, or leave it out"
    )


def _platform(options: Options, precision: str) -> str:
    del options, precision
    return "iOS 27, iPadOS 27, macOS 27 or later, Core AI; not in the iOS Simulator"


def _adapt(options: Options, precision: str) -> Options:
    require_storage(options, precision)
    return options


def _join(work: Joining) -> tuple[GraphFile, ...]:
    from exporter.targets.coreai._asset import join  # the toolkit may be missing

    return join(work)


TARGET = Target(
    name="coreai",
    packages=("torch", "coreai-core", "coreai-torch", "coreai-opt"),
    extra="coreai",
    loads=(
        "coreai_torch",
        "coreai_opt.casting.casting",
        "coreai.authoring.asset",
        "coreai.runtime",
    ),
    image_type=False,
    adapt=_adapt,
    reads=("palette", "block"),
    platform=_platform,
    lowers=by_precision(__name__),
    join=_join,
    modules={"coreai-core": "coreai"},
    groups=("apple",),
    unavailable=_unavailable,
)
