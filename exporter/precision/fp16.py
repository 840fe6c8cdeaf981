"""float16: half the size.

Point coordinates keep float32 up to their sine and cosine in every target: a coordinate near 1000
has steps of half a pixel in float16. Inputs and outputs stay float32.
"""

from exporter.precision import Precision

PRECISION = Precision(
    "fp16",
    "weights in float16; arithmetic in float16 where the runtime does it (Core ML, ONNX Runtime), "
    "in float32 in XNNPACK",
)
