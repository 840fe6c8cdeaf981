"""The graphs that are measured, and their goals and limits. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.errors import RequestError

SLOTS = 8
"""Slots of our static decoder; the published call has three points and a "not a point" token."""

PUBLISHED = "torch_published"
"""The contender that every ratio is against."""

OURS = "torch_ours"
"""Our graph in torch, before anything is lowered."""

LOWERINGS = {"onnx": ("onnx", "fp32"), "tflite": ("tflite", "fp32")}
"""Our graphs that are timed: contender -> target and precision."""

COUNTED = LOWERINGS | {"tflite-fp16": ("tflite", "fp16"), "coreml-fp16": ("coreml", "fp16")}
"""Our graphs whose operations are counted."""

PLAIN = {"onnx": "plain_onnx", "tflite": "plain_tflite"}
"""The toolkit's own export of the published code, in the same runtime."""


@dataclass(frozen=True)
class BenchRow:
    """One graph of one variant.

    Attributes:
        rounds: turns of each contender.
        calls: calls in one turn, so that a short graph is also timed with warm caches.
        goals: contender -> least speed, as a multiple of the published code's.
    """

    variant: str
    graph: str
    rounds: int
    calls: int
    goals: dict[str, float]

    @property
    def name(self) -> str:
        """Its name for `--row`."""
        return f"{self.variant}:{self.graph}"


ROWS = (
    BenchRow("mobile_sam", "image_encoder", 10, 1, {"onnx": 2.7, "tflite": 4.2}),
    BenchRow("sam_vit_b", "image_encoder", 4, 1, {"onnx": 2.2, "tflite": 3.3}),
    BenchRow("mobile_sam", "mask_decoder", 20, 3, {"onnx": 3.0, "tflite": 4.0}),
    # With a full bank, and the layer that all objects of a frame share.
    BenchRow("edgetam", "memory_attention", 6, 1, {"tflite": 1.9}),
    BenchRow("efficienttam_ti_512x512", "memory_attention", 10, 1, {"tflite": 1.9}),
)


@dataclass(frozen=True)
class Limit:
    """Limits of a variant's export: processor seconds, and GB resident in one process."""

    variant: str
    cpu_s: float
    peak_gb: float


LIMITS = (Limit("mobile_sam", 90.0, 2.5), Limit("sam_vit_b", 200.0, 5.0))
STARTUP_S = 0.5
"""Most seconds that `sam-export --help` and `--list` may take."""


def parse_row(text: str) -> BenchRow:
    """Look up the row `VARIANT:GRAPH`. RequestError lists the rows if there is none."""
    for row in ROWS:
        if row.name == text:
            return row
    raise RequestError(f"unknown row {text!r}; choose from {', '.join(r.name for r in ROWS)}")
