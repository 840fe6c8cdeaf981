"""The graphs that are measured, and their goals and limits. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from exporter.errors import RequestError

FRAME = "tracked_frame"
"""What a frame of a video costs with one object."""

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

NEXT = {"onnx": "next_onnx", "tflite": "next_tflite"}
"""Memory attention of a frame's second object, which takes the first one's `query`."""
NEXT_SHARE = 0.75
"""Most that it may cost of the first object's."""


@dataclass(frozen=True)
class BenchRow:
    """One graph of one variant.

    Attributes:
        rounds: turns of each contender.
        calls: calls in one turn, so that a short graph is also timed with warm caches.
        goals: contender -> least speed, as a multiple of the published code's.
        peak_mb: contender -> most memory that loading and running it may add.
        plain: whether the toolkits' own exports are timed too.
    """

    variant: str
    graph: str
    rounds: int
    calls: int
    goals: dict[str, float]
    peak_mb: dict[str, float] = field(default_factory=dict)
    plain: bool = True

    @property
    def name(self) -> str:
        """Its name for `--row`."""
        return f"{self.variant}:{self.graph}"


ROWS = (
    BenchRow("mobile_sam", "image_encoder", 10, 1, {"onnx": 2.7, "tflite": 4.2}),
    BenchRow("sam_vit_b", "image_encoder", 4, 1, {"onnx": 2.2, "tflite": 3.3}),
    BenchRow("mobile_sam", "mask_decoder", 20, 3, {"onnx": 3.0, "tflite": 4.0}),
    # With a full bank, and the layer that all objects of a frame share.
    BenchRow(
        "edgetam", "memory_attention", 6, 1, {"tflite": 1.9}, {"onnx": 350.0, "tflite": 120.0}
    ),
    BenchRow("efficienttam_ti_512x512", "memory_attention", 10, 1, {"onnx": 1.9, "tflite": 1.9}),
    BenchRow(
        "sam2_1_hiera_tiny",
        "memory_attention",
        3,
        1,
        {"tflite": 1.5},
        {"onnx": 900.0, "tflite": 250.0},
    ),
    BenchRow("edgetam", "memory_encoder", 10, 1, {"onnx": 1.2, "tflite": 1.2}),
    BenchRow("efficienttam_ti_512x512", "memory_encoder", 20, 1, {"onnx": 1.2, "tflite": 1.2}),
    BenchRow("sam2_1_hiera_tiny", "memory_encoder", 10, 1, {"onnx": 1.2, "tflite": 1.2}),
    # All five graphs of a video as one, with one object.
    BenchRow("edgetam", FRAME, 5, 1, {"onnx": 1.8, "tflite": 1.8}, plain=False),
    BenchRow("efficienttam_ti_512x512", FRAME, 8, 1, {"onnx": 1.8, "tflite": 1.8}, plain=False),
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
