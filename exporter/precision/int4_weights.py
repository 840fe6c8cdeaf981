"""4-bit weights of linear layers, rounded by pictures; 8-bit ones of convolutions; float sums."""

from exporter.islands import COORDINATES
from exporter.precision import Precision

PRECISION = Precision(
    "int4-weights",
    "weights of linear layers in 4 bits, of convolutions in 8, of the decoder in float16; "
    "arithmetic in float",
    "int4",
    "float32",
    keeps_float=(COORDINATES,),
    decoder="fp16",
    calibrated=True,
    compensates=True,
    judged=True,
)
