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


Size = int | tuple[int, int]
"""Side of a square, or height and width."""


def resize(variant: Variant, size: Size) -> Variant:
    """Return the variant for an input of `size` pixels; itself if it has that already.

    Raises:
        RequestError: it cannot have that size; the message says which it can.
    """
    if variant.sizes is not None and variant.sizes.any_aspect:
        return _reshape(variant, (size, size) if isinstance(size, int) else size)
    if isinstance(size, int):
        return _resize(variant, size)
    if size[0] != size[1]:
        remedy = _remedy(variant, max(size))
        raise RequestError(f"{variant.name} takes a square, not {size[0]}x{size[1]}: {remedy}")
    return _resize(variant, size[0])


def _remedy(variant: Variant, side: int) -> str:
    """Name the least side that the variant can have and that is no smaller, else its largest."""
    sizes = variant.sizes
    if sizes is None:
        return "leave out --input-size"
    least = sizes.step * -(-sizes.least // sizes.step)
    most = sizes.step * (sizes.most // sizes.step)
    return f"give --input-size {min(max(sizes.step * -(-side // sizes.step), least), most)}"


@functools.cache  # a layout's table of tensors is remembered by the layout itself
def _reshape(variant: Variant, shape: tuple[int, int]) -> Variant:
    """Return the variant for an input of any height and width.

    Its published code has the size that the picture gives, so none is a departure. Within the
    published limits, pictures are resized as there; a larger input has its own sides for limits.
    """
    sizes, rule = variant.sizes, variant.preprocess
    if shape == rule.shape:
        return variant
    if sizes is None or not all(side in sizes for side in shape):
        raise RequestError(
            f"{variant.name} cannot have an input of {shape[0]}x{shape[1]}: its sizes are {sizes}; "
            f"{'x'.join(map(str, rule.shape))} is the published one of a landscape photograph"
        )
    stride, side = rule.size // variant.mask.low_res_size, max(shape)
    limits = load_variant(variant.name).preprocess.limits
    if limits is not None and not _within(shape, limits, sizes.step):
        limits = side, min(shape)
    prompting = variant.prompting
    if isinstance(prompting, Slots):
        grid = shape[0] // stride, shape[1] // stride
        prompting = dataclasses.replace(prompting, embedding=(*prompting.embedding[:2], *grid))
    return dataclasses.replace(
        variant,
        preprocess=dataclasses.replace(
            rule, size=side, sides=None if shape[0] == shape[1] else shape, limits=limits
        ),
        mask=dataclasses.replace(variant.mask, low_res_size=side // stride),
        prompting=prompting,
        layouts=tuple(
            dataclasses.replace(each, build=functools.partial(each.build, image_size=shape))
            for each in variant.layouts
        ),
    )


def _within(shape: tuple[int, int], limits: tuple[int, int], step: int) -> bool:
    """Whether the published code gives some picture that size: the limits, padded to the step."""
    sides = zip(sorted(shape, reverse=True), limits, strict=True)
    return all(side <= -(-limit // step) * step for side, limit in sides)


@functools.cache  # a layout's table of tensors is remembered by the layout itself
def _resize(variant: Variant, side: int) -> Variant:
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
