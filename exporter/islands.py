"""Parts of a graph that stay float32 while the rest is rounded."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Island:
    """Operations of these kinds and all that lead to them.

    Attributes:
        name: for messages and tables.
        ends: kinds of operation, in lower case and without a format's underscores.
        why: the cost of rounding them.
    """

    name: str
    ends: frozenset[str]
    why: str


COORDINATES = Island(
    "coordinates",
    frozenset({"sin", "cos"}),
    "a point coordinate near 1000 has steps of half a pixel in float16",
)


MASK_STEP = Island(
    "mask step",
    frozenset({"minimum", "min"}),
    "a logit near 0 crosses it in float16, and the memory of a prompted frame is binary there",
)
"""`exporter.models.memory_encoder.signs`, and the resize before it."""


@dataclass(frozen=True)
class Part:
    """Modules that stay float though the rest of their graph is in few bits.

    Attributes:
        name: for messages and tables.
        patterns: see `exporter.products.select`.
        why: the cost of rounding them.
    """

    name: str
    patterns: tuple[str, ...]
    why: str


IMAGE_ATTENTION = Part(
    "attention between tokens and image",
    ("mask_decoder.transformer.*cross_attn*", "mask_decoder.transformer.final_attn*"),
    "its sums go over thousands of pixels",
)
IOU_HEAD = Part(
    "IoU head",
    ("mask_decoder.iou_prediction_head", "mask_decoder.pred_obj_score_head"),
    "it ranks the masks, and an estimate that moves ranks others first",
)
SELF_ATTENTION = Part(
    "attention between tokens",
    ("mask_decoder.transformer.layers.*.self_attn",),
    "every later step follows from the tokens",
)
MLPS = Part(
    "MLPs of tokens",
    ("mask_decoder.transformer.layers.*.mlp",),
    "the second layer sums over 2048 values, and the first costs some scores 6 dB",
)
MEMORY_ATTENTION = Part(
    "attention of a frame's tokens, to each other and to a bank",
    ("*memory_attention.layers.*.looks_around", "*memory_attention.layers.*.looks_back"),
    "its sums go over thousands of keys",
)
HYPER_NETWORKS = Part(
    "hyper-networks",
    ("mask_decoder.output_hypernetworks_mlps", "mask_decoder.hf_mlp"),
    "their outputs are the weights of the last product",
)
UPSCALING = Part(
    "upscaling",
    (
        "mask_decoder.output_upscaling",
        "mask_decoder.embedding_maskfeature",
        "mask_decoder.mix_feat_proj",
    ),
    "every pixel of a mask goes through its few weights",
)
WEIGHTED_SUMS = Part(
    "weighted sums over all tokens",
    ("*.averages",),
    "float16 loses 3e-3 of the largest a layer, and their weights differ by less than 8 bits tell",
)
"""`exporter.models.wkv`; float32 in every precision, in formats that would compute it in less."""
DECODER_PARTS = (
    Part("prompt encoding", ("prompt_encoder",), "positions of a picture need more than 256 steps"),
    IOU_HEAD,
    HYPER_NETWORKS,
    UPSCALING,
)
"""Of a decoder in few bits (`--quantize-decoder`), the same on every target."""


@dataclass(frozen=True)
class Step:
    """One operation of any format: its kind and its values' names."""

    kind: str
    inputs: tuple[Hashable, ...]
    outputs: tuple[Hashable, ...]


def leads_to(steps: Iterable[Step], islands: Iterable[Island]) -> set[int]:
    """Find the steps that belong to the islands.

    Args:
        steps: in execution order.
        islands: of a precision.

    Returns:
        Indices into `steps`: operations of the islands' kinds, and all whose values reach one.
    """
    ends = frozenset().union(*(island.ends for island in islands))
    found: set[int] = set()
    wanted: set[Hashable] = set()
    for place, step in reversed(list(enumerate(steps))):
        if step.kind.lower() in ends or wanted & set(step.outputs):
            found.add(place)
            wanted.update(step.inputs)
    return found
