"""float32 throughout."""

from exporter.precision import Precision

PRECISION = Precision("fp32", "weights and arithmetic in float32", "float32", "float32")
