"""A loaded network at another input size: the same weights in layers of another grid.

Most tensors do not know the size. Those that do are a ViT's tables of positions, which are resized
as the forks of segment-anything do it that fine-tune at other sizes (SAMed's `load_from`, and its
descendants): both bilinearly, with half-pixel centres and no antialiasing. (Medical SAM Adapter
resizes its positions bicubically.) For relative positions
this is also what SAM's own `get_rel_pos` does at run time if the lengths differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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
        yield variant if grid is None else at_grid(variant, grid)


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
        line = F.interpolate(table.T[None], shape[0], mode="linear")
        return line[0].T.contiguous()
    raise CheckpointError(
        f"{name} {tuple(tensor.shape)} would have to be {shape} at this input size, and nothing "
        "published says how"
    )
