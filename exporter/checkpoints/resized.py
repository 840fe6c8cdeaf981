"""A loaded network at another input size: the same weights in layers of another grid.

Most tensors do not know the size. Those that do are a ViT's tables of positions, which are resized
as the forks of segment-anything do it that fine-tune at other sizes (SAMed's `load_from`, and its
descendants): both bilinearly, with half-pixel centres and no antialiasing. (Medical SAM Adapter
resizes its positions bicubically.) For relative positions
this is also what SAM's own `get_rel_pos` does at run time if the lengths differ.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.checkpoints.reading import Checkpoint
from exporter.checkpoints.tables import NoInitialisation
from exporter.errors import CheckpointError
from exporter.variants import Layout, Variant
from exporter.variants._sizes import POSITIONS, at_grid, find_grid

RELATIVE = ("rel_pos_h", "rel_pos_w")
"""Last part of the names of a block's tables, (2 * side - 1, C), a row for each distance."""


def as_in_file(checkpoint: Checkpoint, known: Iterable[Variant]) -> Iterator[Variant]:
    """Yield each variant at the size that the file's position table is for, if it has one."""
    sets = checkpoint.sets or {"": checkpoint.tensors}
    shapes = ({name: tuple(t.shape) for name, t in tensors.items()} for tensors in sets.values())
    grid = find_grid(shapes)
    for variant in known:
        yield variant if grid is None else _late(at_grid(variant, grid))


@functools.cache  # a layout's table of tensors is remembered by the layout itself
def _late(variant: Variant) -> Variant:
    """Let a resized variant's layouts take relative positions of the published size.

    SAM's own code resizes them when it runs, but not the table of positions; so training code often
    resizes that alone, and the file keeps what it began with.
    """
    rows = _rows(variant)
    if rows is None:
        return variant
    layouts = tuple(
        dataclasses.replace(each, restore=functools.partial(_as_run, each.restore, rows))
        for each in variant.layouts
    )
    return dataclasses.replace(variant, layouts=layouts)


def _rows(variant: Variant) -> tuple[int, int] | None:
    """Count a global block's relative positions: as published, and at the variant's size."""
    sizes, published = variant.sizes, variant.published_size
    if sizes is None or not sizes.patch or published is None:
        return None
    now = variant.preprocess.size
    return 2 * (published // sizes.patch) - 1, 2 * (now // sizes.patch) - 1


def late_tables(variant: Variant, tensors: Mapping[str, Tensor]) -> int:
    """Count a file's tables of relative positions that are for the published size still."""
    rows = _rows(variant)
    return 0 if rows is None else sum(_is_late(name, tensors[name], rows) for name in tensors)


def _is_late(name: str, tensor: Tensor, rows: tuple[int, int]) -> bool:
    return name.endswith(RELATIVE) and tensor.ndim == 2 and len(tensor) == rows[0] != rows[1]


def _as_run(
    restore: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] | None,
    rows: tuple[int, int],
    tensors: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    given = restore(tensors) if restore else dict(tensors)
    late = {name: each for name, each in given.items() if _is_late(name, each, rows)}
    return given | {name: _line(each, rows[1]) for name, each in late.items()}


def at_size(network: nn.Module, layout: str, now: Variant, then: Variant) -> nn.Module:
    """Return the network for the input of `then`; itself if the sizes are the same.

    Args:
        network: loaded, not frozen; the new one shares its memory, resized tables aside.
        layout: name of the one that it was built by.
        now: the variant at the network's size.
        then: the same at the size wanted.

    Raises:
        CheckpointError: a tensor differs in shape and is no table of positions.
    """
    if now.preprocess.size == then.preprocess.size:
        return network
    state = network.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    mode = "bilinear" if then.sizes is None else then.sizes.positions
    module = build_untrained(_layout_of(then, layout), shapes)
    with torch.no_grad():
        moved = {
            name: _resized(name, state[name], tuple(wanted.shape), mode)
            for name, wanted in module.state_dict().items()
        }
    module.load_state_dict(moved, assign=True)
    return module.eval()


def build_untrained(layout: Layout, shapes: dict[str, tuple[int, ...]]) -> nn.Module:
    """Build a layout's module.

    Args:
        layout: of the variant at the size wanted.
        shapes: of a network's tensors, by our names; for a layout that takes its widths from them.
    """
    with NoInitialisation():
        found = layout.build_for(shapes) if layout.build_for is not None else None
        return layout.build() if found is None else found


def _layout_of(variant: Variant, name: str) -> Layout:
    return next(each for each in variant.layouts if each.name == name)


def _resized(name: str, tensor: Tensor, shape: tuple[int, ...], mode: str) -> Tensor:
    if tuple(tensor.shape) == shape:
        return tensor
    table, what = tensor.to(torch.float32), name.rpartition(".")[2]
    if what == POSITIONS and tensor.ndim == 4:
        square = F.interpolate(table.permute(0, 3, 1, 2), shape[1:3], mode=mode)
        return square.permute(0, 2, 3, 1).contiguous()
    if what in RELATIVE:
        return _line(table, shape[0])
    raise CheckpointError(
        f"{name} {tuple(tensor.shape)} would have to be {shape} at this input size, and nothing "
        "published says how"
    )


def _line(table: Tensor, rows: int) -> Tensor:
    line = F.interpolate(table.to(torch.float32).T[None], rows, mode="linear")
    return line[0].T.contiguous()
