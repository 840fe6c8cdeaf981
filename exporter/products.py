"""The convolutions and linear layers that a graph calls: all that few bits are for.

A product is known by the path of the module that owns its weight, in the published names, and
belongs to a block, which is the beginning of that path. A target knows its own products by their
order alone: names, and values too, get lost in converters; the order of equal shapes does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from exporter.arithmetic import on_shapes
from exporter.errors import RequestError
from exporter.printable import quote

if TYPE_CHECKING:
    from exporter.graphs import Graph

SHARE = 0.2
"""Of a graph's weights: a larger part is cut into the items of its lists of modules."""
KINDS = frozenset({F.linear, F.conv2d, F.conv_transpose2d})

Shape = tuple[int, ...]
Change = Callable[[str, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Path of a weight, input, weight -> what the layer computes with instead."""


@dataclass(frozen=True)
class Product:
    """One call of a convolution or linear layer.

    Attributes:
        module: path of the module that owns the weight: `image_encoder.layers.1.blocks.0.mlp.fc1`.
        block: the part of the network that it belongs to: `image_encoder.layers.1.blocks.0`.
        shape: of the weight.
    """

    module: str
    block: str
    shape: Shape

    @property
    def weights(self) -> int:
        """Count them."""
        return math.prod(self.shape)


class Watch(TorchFunctionMode):
    """Within it, every convolution and linear layer computes with what `change` returns.

    Args:
        paths: id of a weight -> its path. Products of other tensors are left alone.
        change: see `Change`.
    """

    def __init__(self, paths: Mapping[int, str], change: Change) -> None:
        super().__init__()
        self.paths, self.change = paths, change

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run any function of torch's."""
        del types
        if func in KINDS and id(args[1]) in self.paths:
            x, weight, *rest = args
            args = (*self.change(self.paths[id(weight)], x, weight), *rest)
        return func(*args, **(kwargs or {}))


def weight_paths(graph: Graph, tensors: Mapping[str, Tensor] | None = None) -> dict[int, str]:
    """Map the id of each weight to its path in the published names.

    Args:
        graph: any.
        tensors: stand for the module's parameters and buffers; None for these themselves.
    """
    module = graph.module
    own = dict((*module.named_parameters(), *module.named_buffers()))
    return {id(each): _published(graph, name) for name, each in (tensors or own).items()}


def products(graph: Graph) -> tuple[Product, ...]:
    """List a graph's products in the order they are called. Nothing is computed."""
    calls: list[tuple[str, Shape]] = []

    def note(path: str, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        calls.append((path.rpartition(".")[0], tuple(weight.shape)))
        return x, weight

    on_shapes(graph, lambda state: Watch(weight_paths(graph, state), note))
    sizes = {module: math.prod(shape) for module, shape in calls}
    cuts = tuple(_cut(graph, "", graph.module, sizes))
    return tuple(Product(module, _block(module, cuts), shape) for module, shape in calls)


def match(ours: Sequence[Product], shapes: Sequence[Shape]) -> list[Product | None]:
    """Find the products that a file's layers are.

    Converters turn weights over, join some and leave some out, but keep the order.

    Args:
        ours: of the graph in torch.
        shapes: of the file's weights, in execution order and any layout.

    Returns:
        One for each shape; None for a layer that computes with what torch does not own as one.
    """
    found: list[Product | None] = [None] * len(shapes)
    known, asked = [_sides(each.shape) for each in ours], list(map(_sides, shapes))
    unequal = {key for key in known if known.count(key) != asked.count(key)}
    for key in {*asked} - unequal:
        places = [at for at, each in enumerate(asked) if each == key]
        equals = [each for each, sides in zip(ours, known, strict=True) if sides == key]
        # A layer that torch has none of has no equals.
        for at, product in zip(places, equals, strict=False):
            found[at] = product
    # One of these was left out or doubled: its neighbours tell which.
    for run in SequenceMatcher(None, known, asked, autojunk=False).get_matching_blocks():
        for step in range(run.size):
            if asked[run.b + step] in unequal:
                found[run.b + step] = ours[run.a + step]
    return found


def named(products: Iterable[Product], patterns: Iterable[str]) -> frozenset[str]:
    """Find the modules that patterns name: themselves, their block, or any part that holds them.

    Args:
        products: of any graphs.
        patterns: with `*`, `?` and `[...]`; `*` also stands for dots.
    """
    modules = {each.module for each in products}
    patterns = tuple(patterns)
    return frozenset(m for m in modules if names_module(m, patterns))


def names_module(module: str, patterns: Iterable[str]) -> bool:
    """Tell whether patterns name a module, its block, or any part that holds it; see `named`."""
    return any(_fits(module, pattern) for pattern in patterns)


def select(products: Sequence[Product], patterns: Iterable[str], giver: str) -> frozenset[str]:
    """Find the modules that patterns name, see `named`.

    Args:
        products: of all graphs.
        patterns: each of which has to name something.
        giver: of the patterns, for the message.

    Raises:
        RequestError: a pattern names nothing; it lists the blocks.
    """
    patterns = tuple(patterns)
    for pattern in patterns:
        if not named(products, [pattern]):
            blocks = ", ".join(dict.fromkeys(each.block for each in products))
            raise RequestError(
                f"{giver} {quote(pattern)} names no part of this network; its blocks are {blocks}"
            )
    return named(products, patterns)


def _fits(module: str, pattern: str) -> bool:
    parts = module.split(".")
    return any(fnmatchcase(".".join(parts[:end]), pattern) for end in range(1, len(parts) + 1))


def _sides(shape: Shape) -> Shape:
    """Take the sides that every layout has alike: sorted, those of 1 left out."""
    return tuple(sorted(side for side in shape if side > 1))


def _published(graph: Graph, path: str) -> str:
    """Spell a path as published: our graphs call the whole network `network`."""
    first, dot, rest = path.partition(".")
    return f"{graph.spec.name}{dot}{rest}" if first == "network" else path


def _block(module: str, cuts: Sequence[str]) -> str:
    holding = [cut for cut in cuts if f"{module}.".startswith(f"{cut}.")]
    return max(holding, key=len, default=module)


def _cut(graph: Graph, path: str, module: nn.Module, sizes: Mapping[str, int]) -> Iterator[str]:
    """Cut a module into blocks: paths."""
    published = _published(graph, path)
    held = sum(size for each, size in sizes.items() if f"{each}.".startswith(f"{published}."))
    if path and not (held > SHARE * sum(sizes.values()) and _repeats(module)):
        yield published
        return
    for name, child in module.named_children():
        yield from _cut(graph, f"{path}.{name}" if path else name, child, sizes)


def _repeats(module: nn.Module) -> bool:
    """Whether it is or holds a list of modules that have modules themselves."""
    lists = (each for each in module.modules() if isinstance(each, nn.ModuleList | nn.Sequential))
    return any(len(list(item.children())) > 0 for each in lists for item in each)
