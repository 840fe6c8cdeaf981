"""float16: half the size. Inputs and outputs stay float32, and so do point coordinates."""

from exporter.islands import COORDINATES, MASK_STEP
from exporter.precision import Precision

PRECISION = Precision(
    "fp16",
    "weights in float16; arithmetic in float16 in Core ML, in float32 in XNNPACK and ONNX Runtime",
    "float16",
    "float16",
    keeps_float=(COORDINATES, MASK_STEP),
)
