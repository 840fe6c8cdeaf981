"""How a host tracks objects through a video with a bundle's graphs, as data.

    image_encoder -> image_embeddings -> memory_query -> query
    query + bank -> memory_attention -> conditioned_embeddings   stands for image_embeddings in
    mask_decoder -> low_res_masks, object_pointers, object_score_logits
    image_embeddings + chosen mask -> memory_encoder -> memory   back to the bank

Standard library and msgspec.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from exporter.bundle.ranges import FileName, Number, Positive, Side, Slots, Text

if TYPE_CHECKING:
    from exporter.bundle.layouts import Array
    from exporter.bundle.manifest import Manifest

HOST_DATA = "video.npz"
MEMORY_ATTENTION, FIRST_ATTENTION = "memory_attention", "memory_attention_first"
FULL, FEW, ALONE = "full", "few", "alone"
"""Golden cases of memory attention, by the slots that are not empty."""
CHAIN_STEP = 2
"""Every second row and column of a mask is kept in the goldens of a chain of frames."""
LOST = 1000.0
"""Taken from a score so that its object is not seen."""
MOST_SLOTS = 64
"""Memories, or pointers, that a graph can be exported for."""

Stored = Literal["float32", "float16"]
FrameCount = Annotated[int, Meta(ge=0, le=4096)]


@dataclass(frozen=True)
class Pruning:
    """Which memories are left out because they are alike (Surgical SAM 2).

    List the object's memories: those of prompted frames, oldest first, then those of the frames
    before, oldest first. If there are `listed` or more, `dropped` of them do not reach the graph:
    of all but the first and the last, the ones most like the last by the cosine over the channels
    of each token, summed over tokens. The others keep their ages.
    """

    listed: FrameCount
    dropped: FrameCount


@dataclass(frozen=True)
class VideoRule:
    """What the host keeps of earlier frames, and what it does between the graphs.

    An object has a bank of M memories and P pointers. `memory_age` is 0 for a frame that was
    prompted, d for a tracked one d frames before or after, -1 for an empty slot. `pointer_age` is
    the distance in frames over `min(frames of the video - 1, pointer_scale)`, of a camera over
    `pointer_scale`; -1 for an empty slot. Empty slots may hold any finite numbers, and the order of
    slots does not matter.

    The mask of a frame: with no prompt, or `several_up_to` points and no box, the best of
    `MaskRule.multi`, and that token's pointer. With more (a box is two points) it is
    `MaskRule.single`, or the best of `multi` while that is not stable, and `single`'s pointer. If
    `object_score_logits` is not above `min_object_score`, every logit becomes `absent_logit` and
    the pointer `no_object_pointer`.

    `host_data` has `no_object_pointer` (pointer_width), `no_memory_embedding` (channels of
    `image_embeddings`, which contain it), `mask_downsample_weight` (1, 1, 4, 4) and
    `mask_downsample_bias` (1): all float32.

    Attributes:
        memory_slots: M, of the graph.
        pointer_slots: P, of the graph.
        prompted_slots: C, of M and of P: prompted frames of an object that have a place.
        memory_frames: tracked frames this far away and nearer are in the bank.
        pointer_frames: the same of pointers.
        pointer_scale: see above.
        memory_tokens: T, of one memory.
        memory_width: channels of one token of a memory.
        pointer_width: channels of an object pointer.
        grid: side of `image_embeddings`, in cells.
        published_memory_slots: of the published code for one prompted frame.
        published_pointer_slots: the same of pointers.
        departure: in words, if the graphs have fewer slots than the published code; else empty.
        pointer_time: whether `pointer_age` matters, but for -1.
        pooled: whether an object with exactly one memory takes the graph `memory_attention_first`,
            whose M is 1, instead.
        pruning: None if every memory reaches the graph.
        min_object_score: see above.
        absent_logit: see above.
        several_up_to: see above.
        padding_points: slots with label -1 of a frame that is tracked, its only prompt.
        mask_prompt_logit: a mask given as the prompt has logits of plus and minus this.
        stored: type in which the host keeps memories and pointers between frames.
        host_data: the file.
    """

    memory_slots: Slots
    pointer_slots: Slots
    prompted_slots: Slots
    memory_frames: FrameCount
    pointer_frames: FrameCount
    pointer_scale: Positive
    memory_tokens: Annotated[int, Meta(ge=1, le=2**20)]
    memory_width: Side
    pointer_width: Side
    grid: Side
    published_memory_slots: Slots
    published_pointer_slots: Slots
    departure: Text = ""
    pointer_time: bool = False
    pooled: bool = False
    pruning: Pruning | None = None
    min_object_score: Number = 0.0
    absent_logit: Number = -1024.0
    several_up_to: FrameCount = 1
    padding_points: Slots = 2
    mask_prompt_logit: Positive = 10.0
    stored: Stored = "float32"
    host_data: FileName = HOST_DATA


def alone(bank: Mapping[str, Array]) -> dict[str, Array]:
    """Leave a bank the first of its memories and the first of its pointers; the rest is empty."""
    changed = dict(bank)
    for name in ("memory_age", "pointer_age"):
        changed[name] = bank[name].copy()
        changed[name][:, 1:] = -1
    return changed


def host_shapes(rule: VideoRule, graph: str) -> dict[str, tuple[int, ...]]:
    """Map the inputs of a frame's graph that the host makes to their shapes."""
    memories = 1 if graph == FIRST_ATTENTION else rule.memory_slots
    return {
        "mask_logits": (1, 1, 4 * rule.grid, 4 * rule.grid),
        "from_prompt": (1,),
        "object_present": (1,),
        "memories": (1, memories, rule.memory_tokens, rule.memory_width),
        "memory_age": (1, memories),
        "object_pointers": (1, rule.pointer_slots, rule.pointer_width),
        "pointer_age": (1, rule.pointer_slots),
    }


def read_shapes(rule: VideoRule) -> dict[str, tuple[int, ...]]:
    """Map the outputs that the host of a video reads to their shapes; 0 is any number."""
    return {
        "object_score_logits": (1, 1),
        "object_pointers": (1, 0, rule.pointer_width),
        "memory": (1, rule.memory_tokens, rule.memory_width),
        "conditioned_embeddings": (1, 0, rule.grid, rule.grid),
    }


def disagreements(rule: VideoRule, manifest: Manifest) -> Iterator[str]:
    """Find what does not agree in a manifest with such a rule; each in words."""
    if manifest.prompts is None or manifest.prompts.batch != 1:
        yield "video needs a decoder with slots for one prompt set"
    elif manifest.prompts.slots < rule.padding_points:
        yield "video.padding_points is more than prompts.slots"
    if manifest.mask.low_res_size != 4 * rule.grid:
        yield f"video.grid is {rule.grid}, and masks have a side of {manifest.mask.low_res_size}"
    if rule.prompted_slots >= min(rule.memory_slots + 1, rule.pointer_slots + 1):
        yield "video.prompted_slots is more than there are slots"
    names = {graph.spec.name for graph in manifest.graphs}
    for name in _graphs(rule) - names:
        yield f"video needs a graph {name}"
    if not rule.pooled and FIRST_ATTENTION in names:
        yield f"video.pooled is false, and there is a graph {FIRST_ATTENTION}"
    if manifest.files and rule.host_data not in manifest.files:
        yield f"it holds no {rule.host_data}"


def _graphs(rule: VideoRule) -> set[str]:
    first = {FIRST_ATTENTION} if rule.pooled else set()
    return {"image_encoder", "mask_decoder", "memory_encoder", MEMORY_ATTENTION} | first
