"""Core ML: an mlprogram in an .mlpackage, with an RGB image input unless a tensor is asked for.

The converter runs on Linux; the package is checked by our own interpreter (`runtimes.engines.mil`)
and, on a Mac, by Core ML itself.
"""

from __future__ import annotations

from exporter.targets import Target, by_precision

TARGET = Target(
    name="coreml",
    packages=("torch", "coremltools"),
    extra="coreml",
    image_type=True,
    platform=lambda options: f"iOS {options.minimum_ios} or later",
    lowers=by_precision(__name__),
    reads=("minimum_ios", "image_input"),
)
