"""ONNX: standard operations only, in the lowest opset that has them.

That is 20 for a graph with GELU, which is one operation from there on; `--opset 17` writes it in
five. On a CPU, ONNX Runtime makes one of them again; on an accelerator it may not.

ONNX Runtime's contrib fusions were measured on these networks and are not faster: attention here
has windows or a bias. So there is no option for them.
"""

from __future__ import annotations

from exporter.targets import OPSETS, Options, Target, by_precision


def _platform(options: Options, precision: str) -> str:
    del precision
    opset = options.opset or f"{OPSETS[-1]} or lower"
    return f"ONNX opset {opset}, standard operations only"


TARGET = Target(
    name="onnx",
    packages=("torch", "onnx", "onnxscript", "onnxruntime"),
    extra="onnx",
    loads=("onnx", "onnxscript", "onnxruntime.quantization"),
    image_type=False,
    platform=_platform,
    lowers=by_precision(__name__),
    reads=("opset",),
)
