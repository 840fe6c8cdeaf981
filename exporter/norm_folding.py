"""Scale and shift of norms moved into the linear layers that take what they give; exact.

    before: norm(x) * g + b -> linear(W, c)
    after:  norm(x) * 1 + 0 -> linear(W diag(g), c + W b)

LiteRT's converter does this to some layers by itself. Weights that were rounded before would no
longer lie on their steps then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from exporter.arithmetic import on_shapes
from exporter.graphs import Graph
from exporter.products import weight_paths

NORMS = frozenset({F.layer_norm, torch.layer_norm})
LOOKS = tuple(getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim"))
"""Functions that read nothing of a tensor's values."""


@dataclass
class _Norm:
    """One call: paths of its parameters, and of those of the layers that take what it gives."""

    weight: str
    bias: str
    output: Tensor
    linears: list[tuple[str, str]] = field(default_factory=list)
    only_linears: bool = True


def folded(graph: Graph, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Move what can be moved: norms called once, taken by linear layers with a bias alone.

    Args:
        graph: any.
        tensors: its parameters and buffers by their paths.

    Returns:
        The tensors that change, by their paths.
    """
    norms, uses = _find(graph)
    changed: dict[str, Tensor] = {}
    for norm in norms:
        used = [path for pair in (*norm.linears, (norm.weight, norm.bias)) for path in pair]
        if not (norm.linears and norm.only_linears and all(uses[path] == 1 for path in used)):
            continue
        gain, shift = tensors[norm.weight], tensors[norm.bias]
        for weight, bias in norm.linears:
            whole = tensors[weight].double()
            changed[weight] = (whole * gain).float()
            changed[bias] = (tensors[bias] + whole @ shift.double()).float()
        changed |= {norm.weight: torch.ones_like(gain), norm.bias: torch.zeros_like(shift)}
    return changed


def _find(graph: Graph) -> tuple[list[_Norm], Counter[str]]:
    """Find the norms over a last axis, and how often each parameter is used."""
    modes: list[_Uses] = []
    outputs: list[Any] = []
    handle = graph.module.register_forward_hook(lambda module, given, out: outputs.append(out))

    def inside(state: Mapping[str, Tensor]) -> _Uses:
        modes.append(_Uses(weight_paths(graph, state)))
        return modes[-1]

    try:
        on_shapes(graph, inside)
    finally:
        handle.remove()
    given = {id(each) for each in tree_leaves(outputs)}
    norms = [each for each in modes[0].norms.values() if id(each.output) not in given]
    return norms, modes[0].uses


class _Uses(TorchFunctionMode):
    """Within it, notes which functions take what norms give.

    Args:
        paths: id of a parameter -> its path.
    """

    def __init__(self, paths: Mapping[int, str]) -> None:
        super().__init__()
        self.paths = paths
        self.norms: dict[int, _Norm] = {}
        self.uses: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run any function of torch's."""
        del types
        output = func(*args, **(kwargs or {}))
        if func not in LOOKS:
            self._note(func, tree_leaves((args, kwargs or {})), output)
        return output

    def _note(self, func: Any, taken: list[Any], output: Any) -> None:
        tensors = [each for each in taken if isinstance(each, Tensor)]
        named = [self.paths[id(each)] for each in tensors if id(each) in self.paths]
        self.uses.update(named)
        norms = [self.norms[id(each)] for each in tensors if id(each) in self.norms]
        whole = len(named) == 2 and len(tensors) == 3
        for norm in norms:
            if func is F.linear and whole and tensors[0] is norm.output:
                norm.linears.append((named[0], named[1]))
            else:
                norm.only_linears = False
        if func in NORMS and whole and tensors[1].ndim == 1:
            self.norms[id(output)] = _Norm(named[0], named[1], output)
