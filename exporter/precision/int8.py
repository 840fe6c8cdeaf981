"""8-bit weights and activations, calibrated on pictures."""

from exporter.islands import COORDINATES
from exporter.precision import Precision

PRECISION = Precision(
    "int8",
    "convolutions and linear layers in 8 bits, weights and activations; attention, norms, the "
    "first layers and the decoder in float",
    "int8",
    "int8",
    keeps_float=(COORDINATES,),
    decoder="fp16",
    calibrated=True,
    judged=True,
)
