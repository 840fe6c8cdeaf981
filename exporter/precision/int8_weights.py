"""8-bit weights, float arithmetic."""

from exporter.islands import COORDINATES
from exporter.precision import Precision

PRECISION = Precision(
    "int8-weights",
    "weights in 8 bits, those of the decoder in float16; arithmetic in float",
    "int8",
    "float32",
    keeps_float=(COORDINATES,),
    decoder="fp16",
    judged=True,
)
