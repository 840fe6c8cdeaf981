"""Core ML: an mlprogram in an .mlpackage, with an RGB image input unless a tensor is asked for.

The converter runs on Linux; the package is checked by our own interpreter (`runtimes.engines.mil`)
and, on a Mac, by Core ML itself.
"""

from __future__ import annotations

import dataclasses

from exporter.targets import Options, Target, by_precision
from exporter.targets._storage import require_storage

LEAST_IOS = {"int8": 17, "int4-weights": 18}
"""Precision -> the first iOS with its operations: quantize, and weights in blocks."""


def _adapt(options: Options, precision: str) -> Options:
    """Raise `minimum_ios` as needed. RequestError if weights are not stored so in a precision."""
    require_storage(options, precision)
    needed = {0 if options.palette else LEAST_IOS.get(precision, 0), 18 if options.block else 0}
    return dataclasses.replace(options, minimum_ios=max(options.minimum_ios, *needed))


TARGET = Target(
    name="coreml",
    packages=("torch", "coremltools"),
    extra="coreml",
    loads=("coremltools.optimize.coreml",),
    groups=("apple",),
    image_type=True,
    platform=lambda options, precision: f"iOS {options.minimum_ios} or later",
    lowers=by_precision(__name__),
    adapt=_adapt,
    reads=("minimum_ios", "image_input", "palette", "block"),
)
