"""ONNX: opset 20 (the first with a GELU operation), standard operations only.

ONNX Runtime's contrib fusions were measured on these networks and are not faster: attention here
has windows or a bias. So there is no option for them.
"""

from __future__ import annotations

from exporter.targets import Target, by_precision

OPSET = 20

TARGET = Target(
    name="onnx",
    packages=("torch", "onnx", "onnxscript", "onnxruntime"),
    extra="onnx",
    image_type=False,
    platform=lambda options: f"ONNX opset {OPSET}, standard operations only",
    lowers=by_precision(__name__),
)
