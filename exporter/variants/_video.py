"""A variant with its memory: the graphs, the layouts and the rule that follow."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from exporter.bundle.video import FIRST_ATTENTION, MEMORY_ATTENTION, VideoRule
from exporter.errors import RequestError
from exporter.variants import Layout, Memory, Slots, Variant
from exporter.variants._sizes import resize

if TYPE_CHECKING:
    from exporter.models.sam2_video import Sam2Video

UNUSED = ("no_mem_pos_enc",)
"""Prefixes of tensors that the published code of a video does not use either."""
PRUNED_SLOTS = 6
"""Memories that reach attention in Surgical SAM 2 with one prompted frame: 6, or 7 less 2."""


def memory_layout(image: Layout, rename: Callable[[str], str | None], **size: Any) -> Layout:
    """Make the layout that takes a file's memory too.

    Args:
        image: the layout of the same file for the image path.
        rename: as of a `Layout`.
        size: fields of `exporter.models.memory_bank.MemorySize`.
    """
    build = functools.partial(_build, image.build, tuple(sorted(size.items())))
    return dataclasses.replace(image, rename=rename, build=build)


def _build(image: Callable[..., Any], size: tuple[tuple[str, Any], ...], **sides: int) -> Sam2Video:
    from exporter.models.memory_bank import MemorySize
    from exporter.models.sam2_video import Sam2Video

    plain = image(**sides)
    memory = MemorySize(plain.geometry.grid, **dict(size))
    return Sam2Video(plain.image_encoder, memory, plain.geometry).eval()


def with_memory(
    variant: Variant, memory_slots: int | None = None, pointer_slots: int | None = None
) -> Variant:
    """Return the variant with its memory, at the size of its published videos.

    Args:
        variant: at the size of its published pictures.
        memory_slots: memories that a frame's graph takes, 1 to 64; None for as many as the
            published code takes of an object with one prompted frame. More are for more of those.
        pointer_slots: the same of object pointers.

    Raises:
        RequestError: it has no memory, or cannot have so few or so many slots.
    """
    memory = variant.memory
    if memory is None or not isinstance(variant.prompting, Slots):
        raise RequestError(
            f"{variant.name} has no memory, so it cannot follow objects: leave out --video; "
            "sam-export --list says which variants can"
        )
    if memory.size is not None:
        variant = dataclasses.replace(resize(variant, memory.size), published_size=None)
    rule = _rule(variant, memory, memory_slots, pointer_slots)
    graphs = [*variant.prompting.graphs, "memory_encoder", "memory_query", MEMORY_ATTENTION]
    if rule.pooled:
        graphs.append(FIRST_ATTENTION)
    side = variant.preprocess.size
    return dataclasses.replace(
        variant,
        layouts=memory.layouts if memory.size is None else _at_side(memory.layouts, side),
        prompting=dataclasses.replace(variant.prompting, graphs=tuple(graphs)),
        preprocess=dataclasses.replace(variant.preprocess, interpolation=memory.interpolation),
        decoder=memory.second or variant.decoder,
        changed=True,
        video=rule,
    )


def _at_side(layouts: tuple[Layout, ...], side: int) -> tuple[Layout, ...]:
    return tuple(
        dataclasses.replace(each, build=functools.partial(each.build, image_size=side))
        for each in layouts
    )


def _rule(
    variant: Variant, memory: Memory, memory_slots: int | None, pointer_slots: int | None
) -> VideoRule:
    published = PRUNED_SLOTS if memory.pruning else memory.frames_back + 1
    slots = memory_slots or published
    prompted = max(1, slots - published + 1)
    back = memory.pointers_back
    pointers = pointer_slots or back + prompted
    if not prompted <= pointers <= back + prompted:
        raise RequestError(
            f"{slots} memory slots have room for {prompted} prompted frame{'s' * (prompted > 1)}: "
            f"--pointer-slots is {prompted} to {back + prompted}, not {pointers}"
        )
    grid = _grid(variant)
    few = slots < published
    return VideoRule(
        memory_slots=slots,
        pointer_slots=pointers,
        prompted_slots=prompted,
        memory_frames=slots - 1 if few else memory.frames_back,
        pointer_frames=pointers - prompted,
        pointer_scale=float(back),
        memory_tokens=2 * memory.latents**2 if memory.latents else grid**2,
        memory_width=memory.width,
        pointer_width=variant.prompting.embedding[1],  # type: ignore[union-attr]
        grid=grid,
        published_memory_slots=published,
        published_pointer_slots=back + 1,
        departure=_departure((slots, published), (pointers - prompted + 1, back + 1)),
        pointer_time=memory.pointer_time,
        pooled=memory.pooled and slots > 1,
        pruning=None if few else memory.pruning,
    )


def _grid(variant: Variant) -> int:
    """Side of the embedding, in cells."""
    if not isinstance(variant.prompting, Slots):
        raise TypeError(f"{variant.name} has no prompt slots")
    return variant.prompting.embedding[-1]


def _departure(memories: tuple[int, int], pointers: tuple[int, int]) -> str:
    """Say in words what there is less of than published; both are slots and published ones."""
    said = [
        f"{slots} {what} slot{'s' * (slots > 1)} where the published code has {published}"
        for what, (slots, published) in (("memory", memories), ("pointer", pointers))
        if slots < published
    ]
    return " and ".join(said) + (": another computation than the published one" if said else "")


def video_name(variant: Variant) -> str:
    """What a bundle's name says of it: `video`, `video-2-memories`; empty if it is for pictures."""
    rule = variant.video
    if rule is None:
        return ""
    usual = rule.published_memory_slots, rule.published_pointer_slots
    has = rule.memory_slots, rule.pointer_slots
    parts = [
        f"{slots}-{what}"
        for slots, published, what in zip(has, usual, ("memories", "pointers"), strict=True)
        if slots != published
    ]
    return "-".join(["video", *parts])
