"""Weights of linear layers in 4 bits whose roundings make up for each other on sample pictures.

    before: w (out, in) in float32
    after:  w = q * s, q whole numbers from -7 to 7, s for each block of an output channel's
            inputs, one q of each block 7 or -7

What a rounding changes in a layer's output, the weights that are not rounded yet take back as far
as their inputs move together (GPTQ, Frantar et al. 2023). The edit is made in torch, before any
converter: one that takes the largest magnitude of a block over 7 as its scale finds s, and rounds
nothing any more. Norms are folded first, so that no converter multiplies their scales in. s has 8
significant bits, so float16 holds q * s and bfloat16 s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from exporter.errors import LoweringError
from exporter.graphs import Graph
from exporter.norm_folding import folded
from exporter.products import Watch, weight_paths
from exporter.watching import read_sample

MOST = 7
"""Steps on either side of zero."""
WIDTH = 512
"""Inputs that are taken to move together; a multiple of every block. A layer of more has several
groups: moments of all 5120 of ViT-H's would take 100 MB a layer."""
ROWS = 8192
"""Tokens that are summed at a time."""
DAMPING = 0.01
"""Share of the mean second moment that is added to each: moments of few pictures are not sure."""
RATIOS = tuple(1 - at / 40 for at in range(9))
"""Shares of a block's largest magnitude that are tried as the one that 7 steps reach."""


@dataclass
class Compensation:
    """Rounded weights of a graph, found when they are first asked for.

    Attributes:
        graph: its parameters are exchanged in place.
        pictures: files of goldens, see `exporter.samples`.
    """

    graph: Graph
    pictures: Sequence[Path]
    _rounded: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    @contextmanager
    def within(self, kept: frozenset[str], block: int) -> Iterator[None]:
        """Within it, norms are folded and the graph's linear layers have their rounded weights.

        Args:
            kept: modules that stay exact, as `exporter.products` names them.
            block: inputs that share a scale. A layer whose inputs it does not divide stays exact.
        """
        rounded = self._in_blocks(block)
        chosen = {p: w for p, w in rounded.items() if p.rpartition(".")[0] not in kept}
        with self._exchanged(self._folded | chosen):
            yield

    @contextmanager
    def _exchanged(self, tensors: Mapping[str, Tensor]) -> Iterator[None]:
        held = {path: self._tensors[path].data for path in tensors}
        try:
            for path, tensor in tensors.items():
                self._tensors[path].data = tensor
            yield
        finally:
            for path, tensor in held.items():
                self._tensors[path].data = tensor

    @cached_property
    def _tensors(self) -> dict[str, Tensor]:
        module = self.graph.module
        paths = weight_paths(self.graph)
        every = (*module.named_parameters(), *module.named_buffers())
        return {paths[id(each)]: each for _, each in every}

    @cached_property
    def _folded(self) -> dict[str, Tensor]:
        return folded(self.graph, self._tensors)

    @cached_property
    def _moments(self) -> dict[str, list[Tensor]]:
        with self._exchanged(self._folded):
            return second_moments(self.graph, self.pictures)

    def _in_blocks(self, block: int) -> dict[str, Tensor]:
        if block not in self._rounded:
            exact = self._tensors | self._folded
            self._rounded[block] = {
                path: round_compensated(exact[path], moments, block)
                for path, moments in self._moments.items()
                if exact[path].shape[1] % block == 0
            }
        return self._rounded[block]


def second_moments(graph: Graph, pictures: Sequence[Path]) -> dict[str, list[Tensor]]:
    """Sum the products of every two inputs of each linear layer over all tokens of all pictures.

    Args:
        graph: run once for each case of each picture.
        pictures: files of goldens.

    Returns:
        Path of a weight -> (WIDTH, WIDTH) for each group of its inputs; the last may be smaller.

    Raises:
        LoweringError: one is not finite.
    """
    found: dict[str, list[Tensor]] = {}

    def note(path: str, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        if weight.ndim == 2:
            groups = torch.split(x.reshape(-1, x.shape[-1]), WIDTH, dim=1)
            known = found.setdefault(path, [g.new_zeros(g.shape[1], g.shape[1]) for g in groups])
            for total, group in zip(known, groups, strict=True):
                for rows in torch.split(group, ROWS):
                    total.addmm_(rows.T, rows)
        return x, weight

    with torch.no_grad(), Watch(weight_paths(graph), note):
        for inputs in _inputs(graph, pictures):
            graph.module(*inputs)
    for path, groups in found.items():
        if not all(bool(each.isfinite().all()) for each in groups):
            raise LoweringError(
                f"calibration of {graph.spec.name}: what {path} takes has values that are not "
                "finite; see whether --precision fp32 is finite"
            )
    return found


def _inputs(graph: Graph, pictures: Sequence[Path]) -> Iterator[list[Tensor]]:
    for picture in pictures:
        goldens = read_sample(picture)
        for case in goldens.cases(graph.spec.name):
            given = goldens.inputs(graph.spec, case)
            yield [torch.from_numpy(given[tensor.name]) for tensor in graph.spec.inputs]


def round_compensated(weight: Tensor, moments: Sequence[Tensor], block: int) -> Tensor:
    """Round a weight onto steps that are the largest magnitude of each block over 7.

    Args:
        weight: (out, in), in a multiple of `block`.
        moments: see `second_moments`.
        block: inputs that share a scale.
    """
    groups = torch.split(weight.double(), WIDTH, dim=1)
    pairs = zip(groups, moments, strict=True)
    return torch.cat([_round_group(group, one, block) for group, one in pairs], dim=1).float()


def _round_group(weight: Tensor, moments: Tensor, block: int) -> Tensor:
    """Round a block, then move the inputs after it against what that changed."""
    left, done = weight.clone(), torch.empty_like(weight)
    factor = _factor(moments)
    for start in range(0, weight.shape[1], block):
        own = slice(start, start + block)
        inner = factor[own, own]
        done[:, own], errors = _round_block(left[:, own], inner)
        left[:, own.stop :] -= errors @ factor[own, own.stop :]
    return done


def _factor(moments: Tensor) -> Tensor:
    """Upper Cholesky factor of the inverse; inputs that are all zero count as independent."""
    sure = moments.double()
    added = DAMPING * sure.diagonal().mean()
    sure = sure + torch.eye(len(sure), dtype=torch.float64) * (added if added > 0 else 1.0)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(sure))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor


def _round_block(block: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """Round (out, block), one input after another.

    Returns:
        The rounded weights, and the errors as the inputs after them take them back.
    """
    left, done, errors = block.clone(), torch.empty_like(block), torch.empty_like(block)
    scales = _scales(block, factor.diagonal() ** -2)[:, 0]
    # A converter finds the scale by the largest magnitude: it has to stay the largest.
    largest = block.abs().argmax(dim=1)
    for at in range(block.shape[1]):
        value = left[:, at]
        steps = (value / scales).round().clamp(-MOST, MOST)
        steps = torch.where(largest == at, block[:, at].sign() * MOST, steps)
        done[:, at] = steps * scales
        errors[:, at] = (value - done[:, at]) / factor[at, at]
        left[:, at + 1 :] -= errors[:, at : at + 1] * factor[at, at + 1 :]
    return done, errors


def _scales(block: Tensor, importance: Tensor) -> Tensor:
    """Choose a scale of 8 significant bits for each row: (out, 1).

    Args:
        block: (out, block).
        importance: (block), of the squared error of each input's weight.
    """
    largest = block.abs().amax(dim=1, keepdim=True)
    tried = torch.stack([_shortened(largest * ratio / MOST) for ratio in RATIOS])
    tried = torch.where(tried > 0, tried, 1.0)
    rounded = (block / tried).round().clamp(-MOST, MOST) * tried
    losses = ((rounded - block).square() * importance).sum(dim=2, keepdim=True)
    return tried.gather(0, losses.argmin(dim=0, keepdim=True))[0]


def _shortened(scales: Tensor) -> Tensor:
    """Round to 8 significant bits, which bfloat16 has."""
    fraction, exponent = torch.frexp(scales)
    return torch.ldexp((fraction * 256).round() / 256, exponent)
