"""What `--delegate` may name for each of Apple's runtimes, the usual choice first."""

from __future__ import annotations

from exporter.errors import RequestError

CORE_ML = ("all", "cpuAndNeuralEngine", "cpuAndGPU", "cpuOnly")
"""As `MLComputeUnits` names them."""
CORE_AI = ("all", "preferGPU", "preferNeuralEngine", "cpuOnly")
"""Core AI's `SpecializationOptions`: a preference excludes no other unit."""
OF_TARGET = {"coreml": CORE_ML, "coreai": CORE_AI}
EVERY = tuple(dict.fromkeys((*CORE_ML, *CORE_AI)))


def require_unit(target: str, unit: str) -> None:
    """RequestError if a bundle of that target cannot be told to compute there."""
    known = OF_TARGET.get(target, EVERY)
    if unit not in known:
        raise RequestError(
            f"a {target} bundle has no delegate {unit!r}; choose from {', '.join(known)}"
        )
