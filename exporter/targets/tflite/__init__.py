"""TFLite (LiteRT): NHWC image, one named signature a graph, one XNNPACK partition."""

from __future__ import annotations

from exporter.targets import Options, Target, by_precision

OLDEST = {
    "int8": "LiteRT 1.0",  # TensorFlow Lite 2.14 computes something else
    "int8-weights": "LiteRT 1.0",  # so here
    "int4-weights": "LiteRT 2.1",  # before, wrong numbers or a crash
}
"""Precision -> the first runtime that computes it rightly, if that is not the usual one."""


def _platform(options: Options, precision: str) -> str:
    del options
    oldest = OLDEST.get(precision, "LiteRT or TensorFlow Lite 2.14")
    return f"{oldest} or later, Android 8 or later"


TARGET = Target(
    name="tflite",
    packages=("torch", "litert-torch", "ai-edge-litert", "ai-edge-quantizer"),
    extra="tflite",
    loads=("litert_torch", "ai_edge_quantizer", "ai_edge_litert.interpreter"),
    image_type=False,
    platform=_platform,
    lowers=by_precision(__name__),
)
