"""A variant at another input size than the published one: every shape and rule that follows."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping

from exporter.bundle.rules import MaskRule
from exporter.bundle.video import VideoRule
from exporter.errors import RequestError
from exporter.variants import Layout, Slots, Variant, load_variant

POSITIONS = "pos_embed"
"""Last part of the name of a ViT's position table, in every published layout."""


@functools.cache  # a layout's table of tensors is remembered by the layout itself
def resize(variant: Variant, side: int) -> Variant:
    """Return the variant for an input of `side` pixels; itself if it has that already.

    Raises:
        RequestError: it cannot have that size; the message says which it can.
    """
    now = variant.preprocess.size
    if side == now:
        return variant
    sizes, published = variant.sizes, variant.published_size or now
    if side == published and not variant.changed:
        return load_variant(variant.name)
    if sizes is None:
        raise RequestError(
            f"{variant.name} has one input size, {now}: its published code has no other; leave "
            "out --input-size"
        )
    if side not in sizes and side != published:
        raise RequestError(
            f"{variant.name} cannot have an input of {side} pixels: its sizes are {sizes}, and "
            f"{published} is the published one"
        )
    frame = sizes.frame if side != sizes.frame else None
    prompting = variant.prompting
    if sizes.frame is None and isinstance(prompting, Slots):
        prompting = _slots(prompting, side, now)
    stability = variant.stability
    return dataclasses.replace(
        variant,
        preprocess=dataclasses.replace(variant.preprocess, size=side, frame_size=frame),
        mask=_mask(variant, variant.mask, side),
        stability=None if stability is None else _mask(variant, stability, side),
        prompting=prompting,
        layouts=tuple(_layout(each, side) for each in variant.layouts),
        published_size=None if side == published else published,
        video=None if variant.video is None else _video(variant.video, side, now),
    )


def at_grid(variant: Variant, grid: int) -> Variant:
    """Return the variant at the size of a file whose position table has `grid` patches a side.

    Itself if it has no such table, or cannot have that size: then the file does not fit it.
    """
    sizes = variant.sizes
    if sizes is None or grid * sizes.patch not in sizes:
        return variant
    return resize(variant, grid * sizes.patch)


def find_grid(sets: Iterable[Mapping[str, tuple[int, ...]]]) -> int | None:
    """Find the side, in patches, of the position table in a file.

    Args:
        sets: name -> shape of the file's tensors; several if it holds several networks.

    Returns:
        None if there is no table, or tables of several sizes.
    """
    found = {
        shape[1]
        for shapes in sets
        for name, shape in shapes.items()
        if name.rpartition(".")[2] == POSITIONS and len(shape) == 4 and shape[1] == shape[2]
    }
    return found.pop() if len(found) == 1 else None


def _slots(slots: Slots, side: int, now: int) -> Slots:
    def scaled(shape: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        batch, channels, height, width = shape
        return batch, channels, height * side // now, width * side // now

    return dataclasses.replace(
        slots, embedding=scaled(slots.embedding), high_res=tuple(map(scaled, slots.high_res))
    )


def _video(rule: VideoRule, side: int, now: int) -> VideoRule:
    grid = rule.grid * side // now
    tokens = grid**2 if rule.memory_tokens == rule.grid**2 else rule.memory_tokens
    return dataclasses.replace(rule, grid=grid, memory_tokens=tokens)


def _mask(variant: Variant, rule: MaskRule, side: int) -> MaskRule:
    if variant.sizes is not None and variant.sizes.frame is not None:
        return rule
    low = rule.low_res_size * side // variant.preprocess.size
    return dataclasses.replace(rule, low_res_size=low)


def _layout(layout: Layout, side: int) -> Layout:
    build_for = layout.build_for
    return dataclasses.replace(
        layout,
        build=functools.partial(layout.build, image_size=side),
        build_for=None if build_for is None else functools.partial(build_for, image_size=side),
    )
