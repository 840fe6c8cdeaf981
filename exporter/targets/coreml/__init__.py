"""Core ML: an mlprogram in an .mlpackage, with an RGB image input.

The converter runs on Linux; the package is checked by our own interpreter (`runtimes.engines.mil`)
and, on a Mac, by Core ML itself.
"""

from __future__ import annotations

from exporter.targets import Target, later

TARGET = Target(
    name="coreml",
    packages=("torch", "coremltools"),
    extra="coreml",
    whole_pixels=True,
    platform=lambda options: f"iOS {options.minimum_ios} or later",
    lowers={
        "fp32": later("exporter.targets.coreml.lower"),
        "fp16": later("exporter.targets.coreml.half"),
    },
)
