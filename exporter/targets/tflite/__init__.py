"""TFLite (LiteRT): NHWC image, one named signature a graph, one XNNPACK partition."""

from __future__ import annotations

from exporter.targets import Target, by_precision

TARGET = Target(
    name="tflite",
    packages=("torch", "litert-torch", "ai-edge-litert", "ai-edge-quantizer"),
    extra="tflite",
    image_type=False,
    platform=lambda options: "LiteRT or TensorFlow Lite 2.14 or later, Android 8 or later",
    lowers=by_precision(__name__),
)
