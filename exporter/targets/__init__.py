"""The formats a graph can be lowered to, one folder each.

To add a target: a folder here with `TARGET`, a `Target`, and one file a precision. Its `lower`
writes one file (or folder) and returns its `GraphFile`; it changes nothing else. A format that
holds all graphs in one file has a `join` besides. If nothing here can run the format yet, add an
engine in `runtimes/engines/`. Only a precision's file imports the toolkit: it may be missing.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from exporter import catalog
from exporter.bundle.rules import Interpolation, Preprocess
from exporter.calibration import Pictures, Range, Task, find_ranges
from exporter.errors import RequestError
from exporter.precision import BLOCK
from exporter.printable import quote

if TYPE_CHECKING:
    from exporter.bundle.manifest import GraphFile, Manifest
    from exporter.graphs import Graph
    from exporter.precision import Precision

MINIMUM_IOS = (16, 17, 18)
PALETTES = (4, 6)
"""Bits of an index into a palette of weights."""
BLOCKS = (16, 32, 64)
"""Weights that share a scale."""
FINE = 4
"""Pixels of the input a side, up to which a position counts as fine."""
OPSETS = (17, 18, 19, 20)
"""Of ONNX. 17 is the first with layer normalisation, 20 the first with GELU."""
ALIASES = {
    "ios": "coreml", "iphone": "coreml", "ipad": "coreml", "macos": "coreml",
    "mlpackage": "coreml", "mlmodel": "coreml", "ane": "coreml",
    "aimodel": "coreai", "core-ai": "coreai",
    "android": "tflite", "litert": "tflite", "tensorflow": "tflite", "tensorflow-lite": "tflite",
    "tf": "tflite", "tf-lite": "tflite",
    "ort": "onnx", "onnxruntime": "onnx", "windows": "onnx", "web": "onnx",
}  # fmt: skip
"""Platforms, runtimes and files that people name for a target."""
EVERY_EXPORT = ("torch", "safetensors")
"""Distributions that reading a checkpoint needs, whatever it is lowered to."""

ImageInput = Literal["image", "tensor"]
IMAGE_INPUTS: tuple[ImageInput, ...] = get_args(ImageInput)

_OF_BYTES: dict[Interpolation, Interpolation] = {
    "float_bilinear": "pillow_bilinear",
    "float_bilinear_plain": "bilinear_plain",
}
"""An interpolation that is never rounded -> the one that gives whole numbers."""


@dataclass(frozen=True)
class Options:
    """What only some targets read.

    Attributes:
        minimum_ios: oldest iOS a Core ML package runs on. 18 keeps attention one operation.
        image_input: what a Core ML package takes as `image`: an 8-bit RGB image, or a float tensor
            as every other target.
        opset: of an ONNX file, one of `OPSETS`; None for the lowest that has its operations.
        palette: bits of an index, if a Core ML package stores the weights of linear layers as
            indices into a palette; None for whole numbers with a scale.
        block: weights that share a scale in a linear layer of a Core ML package; None for those of
            an output channel in 8 bits, 32 in 4.

    Raises:
        RequestError: a value that there is no such choice of.
    """

    minimum_ios: int = 16
    image_input: ImageInput = "image"
    opset: int | None = None
    palette: int | None = None
    block: int | None = None

    def __post_init__(self) -> None:
        require_choice("Options.minimum_ios", self.minimum_ios, MINIMUM_IOS)
        require_choice("Options.image_input", self.image_input, IMAGE_INPUTS)
        if self.opset is not None:
            require_choice("Options.opset", self.opset, OPSETS)
        if self.palette is not None:
            require_choice("Options.palette", self.palette, PALETTES)
        if self.block is not None:
            require_choice("Options.block", self.block, BLOCKS)
        if self.palette and self.block:
            raise RequestError(
                "--palette and --block store the same weights in two ways: leave out one of them"
            )

    def storage(self, read: Iterable[str]) -> str:
        """Name how weights are stored: `palette6`, `block16`, or empty for the usual way.

        Args:
            read: the fields that the target reads.
        """
        given = {"palette": self.palette, "block": self.block}
        return "".join(f"{name}{given[name]}" for name in given if given[name] and name in read)


def require_choice(place: str, value: Any, choices: Sequence[Any]) -> None:
    """RequestError if the value is not one of the choices, or is of another type."""
    if isinstance(value, type(choices[0])) and not isinstance(value, bool) and value in choices:
        return
    if isinstance(choices, range):
        words = f"a whole number from {choices[0]} to {choices[-1]}"
    else:
        words = f"one of {', '.join(map(str, choices))}"
    raise RequestError(f"{place} is {words}, not {quote(value)}")


@dataclass(frozen=True)
class Lowering:
    """One graph to be written in one format.

    Attributes:
        folder: where to.
        pictures: to find ranges on; none if the precision needs none.
        kept: modules whose weights and arithmetic stay float, as `exporter.products` names them.
    """

    graph: Graph
    precision: Precision
    folder: Path
    options: Options
    pictures: Pictures = field(default_factory=Pictures)
    kept: frozenset[str] = frozenset()

    def stays_float(self, shapes: Sequence[tuple[int, ...]], *, absorbs: bool) -> list[bool]:
        """Tell which layers of the file are `kept`.

        If any is, a layer that is no product in torch stays float too: it is a table of positions
        or labels.

        Args:
            shapes: of the weights of its convolutions and linear layers, in execution order.
            absorbs: whether the file has the form of `exporter.models.absorbed_attention`.
        """
        if not self.kept:
            return [False] * len(shapes)
        from exporter.graphs import absorbed
        from exporter.products import match, products

        with absorbed(self.graph.module) if absorbs else nullcontext():
            found = match(products(self.graph), shapes)
        return [each is None or each.module in self.kept for each in found]

    def is_fine(self, positions: int) -> bool:
        """Whether an operation's input is so fine that the operation stays float.

        The first layers see the picture's detail, lose the most in 8 bits, and hold next to none of
        the weights.

        Args:
            positions: pixels or tokens of the input.
        """
        sides = (t.shape[-2:] for t in self.graph.spec.inputs if t.name == "image")
        return any(positions >= (tall // FINE) * (wide // FINE) for tall, wide in sides)

    def find_ranges(self, module: str, file: GraphFile, tensors: Iterable[str]) -> dict[str, Range]:
        """Find what values of the graph lie between; see `exporter.calibration.find_ranges`.

        Args:
            module: run in a process of its own.
            file: the graph in float32, in the folder.
            tensors: names in that file.
        """
        path, given = self.folder / file.file, self.pictures
        task = Task(path, file.spec, tuple(tensors), given.files, given.ranges)
        return find_ranges(module, task)


@dataclass(frozen=True)
class Joining:
    """A bundle's graphs, lowered one by one, to be written as one file.

    Attributes:
        manifest: the bundle's, before lowering.
        files: of the graphs, in the order they run.
        parts: folder that holds them.
        folder: where the one file goes.
    """

    manifest: Manifest
    files: tuple[GraphFile, ...]
    parts: Path
    folder: Path


@dataclass(frozen=True)
class Target:
    """One format.

    Attributes:
        name: what `--target` takes.
        packages: distributions it needs; their versions go into the manifest.
        extra: what to install to get them.
        image_type: whether it has a type for images, which holds bytes; `Options.image_input` may
            turn it down.
        platform: options, precision -> where the result runs.
        lowers: precision -> what writes a graph in it. A precision that is not here is refused.
        adapt: options, precision -> the options that the precision needs; RequestError if it
            cannot have one of them.
        reads: names of the fields of `Options` that it reads.
        groups: other words of `--target` that mean it, with every other target of the group.
        join: writes the lowered graphs as one file; None if each has its own. A graph's `bytes` is
            then its share of the file, and its `signature` the function to call.
        modules: distribution -> its module, if that is not called alike.
        loads: modules whose import loads all that lowering needs of the toolkit.
        unavailable: why its toolkit cannot be installed on this machine; empty if it can.
    """

    name: str
    packages: tuple[str, ...]
    extra: str
    image_type: bool
    platform: Callable[[Options, str], str]
    lowers: Mapping[str, Callable[[Lowering], GraphFile]]
    adapt: Callable[[Options, str], Options] = lambda options, precision: options
    reads: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    join: Callable[[Joining], tuple[GraphFile, ...]] | None = None
    modules: Mapping[str, str] = field(default_factory=dict)
    loads: tuple[str, ...] = ()
    unavailable: Callable[[], str] = lambda: ""

    def lower(
        self,
        graph: Graph,
        precision: Precision,
        folder: Path,
        options: Options,
        pictures: Pictures = Pictures(),  # noqa: B008 - it is frozen
        kept: frozenset[str] = frozenset(),
    ) -> GraphFile:
        """Write a graph into `folder`; see `Lowering`.

        Raises:
            RequestError: the format has no such precision.
        """
        self.require_precision(precision.name)
        work = Lowering(graph, precision, folder, options, pictures, kept)
        return self.lowers[precision.name](work)

    def block(self, options: Options) -> int | None:
        """Weights of a linear layer that share a scale in 4 bits; None if they have a palette."""
        if options.palette and "palette" in self.reads:
            return None
        return options.block if options.block and "block" in self.reads else BLOCK

    def calibrates(self, precision: Precision, options: Options) -> bool:
        """Whether pictures decide how its numbers are rounded; a palette needs none."""
        by_block = self.block(options) is not None
        return precision.calibrated and (precision.has_ranges or by_block)

    def takes_bytes(self, options: Options) -> bool:
        """Whether `image` holds whole numbers from 0 to 255."""
        return self.image_type and options.image_input == "image"

    def preprocess(self, published: Preprocess, options: Options) -> Preprocess:
        """The published rule as this target's image input can hold it.

        Bytes hold no fractions: resized pixels are rounded, by 0.009 at most after normalisation,
        and if the padding's colour has fractions, the graph writes the padding.
        """
        if not self.takes_bytes(options):
            return published
        return dataclasses.replace(
            published,
            interpolation=_OF_BYTES.get(published.interpolation, published.interpolation),
            padded_by="host" if _pads_with_bytes(published) else "graph",
        )

    def missing(self) -> list[str]:
        """List the distributions it needs that are not installed."""
        needed = dict.fromkeys((*EVERY_EXPORT, *self.packages))
        modules = {p: self.modules.get(p, p.replace("-", "_")) for p in needed}
        return [p for p, module in modules.items() if importlib.util.find_spec(module) is None]

    def require_precision(self, precision: str) -> None:
        """RequestError if the format has no such precision."""
        if precision not in self.lowers:
            raise RequestError(
                f"{self.name} cannot be exported in {precision}; choose from "
                f"{', '.join(self.lowers)}"
            )

    def versions(self) -> dict[str, str]:
        """Of the packages, for the manifest."""
        from importlib.metadata import version  # 15 ms, which `--list` need not wait for

        return {name: version(name) for name in self.packages}


def require_read(options: Options, asked: Sequence[Target]) -> None:
    """RequestError if an option differs from its default and no target that is asked for reads it.

    So `--image-input tensor` is not dropped in silence where only Core ML has a choice.
    """
    for each in dataclasses.fields(Options):
        if getattr(options, each.name) == each.default:
            continue
        if not any(each.name in target.reads for target in asked):
            able = [n for n in names() if each.name in load_target(n).reads]
            raise RequestError(
                f"only --target {', '.join(able)} reads --{each.name.replace('_', '-')}: "
                "leave it out, or add that target"
            )


def by_precision(package: str) -> dict[str, Callable[[Lowering], GraphFile]]:
    """The `lowers` of a target's folder: one file a precision, each with a `lower`.

    A file is imported when its `lower` is called: its toolkit may be missing.
    """

    def later(module: str) -> Callable[[Lowering], GraphFile]:
        def lower(work: Lowering) -> GraphFile:
            file: GraphFile = importlib.import_module(f"{package}.{module}").lower(work)
            return file

        return lower

    return {catalog.option_name(name): later(name) for name in catalog.names(package)}


def _pads_with_bytes(rule: Preprocess) -> bool:
    """Whether bytes hold the padding, if there is any.

    Raises:
        RequestError: neither do bytes hold it nor can a graph write it.
    """
    if rule.resize == "stretch" or all(value.is_integer() for value in rule.pad_value):
        return True
    if rule.resize not in ("longest_side", "within") or rule.pad_value != rule.mean:
        raise RequestError(
            f"an 8-bit image cannot hold padding of {rule.pad_value}, and a graph writes only the "
            "mean, right and below: give --image-input tensor"
        )
    return False


def names() -> tuple[str, ...]:
    """Every target."""
    return catalog.names("exporter.targets")


def groups() -> dict[str, tuple[str, ...]]:
    """List the words that mean several targets: word -> targets.

    `all` leaves out those whose toolkit cannot be installed on this machine.
    """
    every = [load_target(name) for name in names()]
    found = {"all": tuple(t.name for t in every if not t.unavailable())}
    for target in every:
        for group in target.groups:
            found[group] = (*found.get(group, ()), target.name)
    return found


def load_target(name: str) -> Target:
    """The target called `name`; RequestError with the list of those there are."""
    target: Target = catalog.load("exporter.targets", name, "TARGET")
    return target
