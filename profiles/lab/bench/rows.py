"""What is measured, and the figures it is held against; no torch."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.errors import RequestError

SLOTS = 8
"""Of our static decoder; the published call takes three points and SAM's "not a point" token."""

PUBLISHED = "torch_published"
"""The contender that every ratio divides."""

OURS = "torch_ours"
"""Our graph in torch, before anything is lowered."""

LOWERINGS = {"onnx": ("onnx", "fp32"), "tflite": ("tflite", "fp32")}
"""Our graphs that are timed: contender -> target and precision."""

COUNTED = LOWERINGS | {"tflite-fp16": ("tflite", "fp16"), "coreml-fp16": ("coreml", "fp16")}
"""Our graphs whose operations are counted."""

PLAIN = {"onnx": "plain_onnx", "tflite": "plain_tflite"}
"""The toolkit's own export of the published code, in the same runtime."""


@dataclass(frozen=True)
class Row:
    """One graph of one variant.

    Attributes:
        rounds: how often every contender has its turn.
        calls: calls in one turn, so that a short graph is also timed with warm caches.
        goals: contender -> how many times faster than the published code it should be.
    """

    variant: str
    graph: str
    rounds: int
    calls: int
    goals: dict[str, float]

    @property
    def name(self) -> str:
        """As `--row` takes it."""
        return f"{self.variant}:{self.graph}"


ROWS = (
    Row("mobile_sam", "image_encoder", 10, 1, {"onnx": 2.7, "tflite": 4.2}),
    Row("sam_vit_b", "image_encoder", 4, 1, {"onnx": 2.2, "tflite": 3.3}),
    Row("mobile_sam", "mask_decoder", 20, 3, {"onnx": 3.0, "tflite": 4.0}),
)


@dataclass(frozen=True)
class Limit:
    """What an export of a variant may cost: processor seconds, and GB resident in one process."""

    variant: str
    cpu_s: float
    peak_gb: float


LIMITS = (Limit("mobile_sam", 90.0, 2.5), Limit("sam_vit_b", 200.0, 5.0))
STARTUP_S = 0.5
"""Most seconds that `sam-export --help` and `--list` may take."""


def parse_row(text: str) -> Row:
    """The row `VARIANT:GRAPH`; RequestError with those there are."""
    for row in ROWS:
        if row.name == text:
            return row
    raise RequestError(f"no row is called {text!r}; there are: {', '.join(r.name for r in ROWS)}")
