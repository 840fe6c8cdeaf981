"""A bundle's contract as data. Standard library only: an app's build script may import this.

`Manifest.from_json(m.to_json()) == m`; an unknown field, a missing one or a wrong type is a
`BundleError` that names its place.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from dataclasses import dataclass
from typing import Any, TypeVar

from exporter.errors import BundleError

SCHEMA_VERSION = 1

T = TypeVar("T")


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph; the only place its name is spelt.

    Attributes:
        name: the field's word for it, e.g. `point_coords`.
        shape: static.
        dtype: `float32`, or `uint8` for an image input that takes a pixel buffer.
        layout: axis letters, e.g. `NCHW`, or `RGB image` where Core ML takes a CVPixelBuffer.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str


@dataclass(frozen=True)
class GraphSpec:
    """The ordered inputs and outputs of one graph."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class GraphFile:
    """A lowered graph in the bundle.

    Attributes:
        spec: what goes in and out.
        file: name in the bundle; a folder for an .mlpackage.
        bytes: size on disk.
        signature: the TFLite signature to call, else empty.
    """

    spec: GraphSpec
    file: str
    bytes: int
    signature: str = ""


@dataclass(frozen=True)
class Preprocess:
    """From an RGB uint8 image to the `image` input.

    Attributes:
        resize: `longest_side` (keep the aspect, pad right and bottom) or `stretch`.
        size: side S of the square input, in pixels.
        interpolation: both are antialiased when they shrink: `pillow_bilinear` on bytes, rounded to
            bytes; `float_bilinear` on floats, never rounded.
        pad_value: RGB the padding is filled with, in 0..255: zero after normalisation.
        mean: subtracted inside the graph; for information.
        std: divided by inside the graph; for information.
        frame_size: side F of the square that the published code fits the image to for prompts and
            masks, by the same resize rule; None where that is the input (F = S). `point_coords`
            are x, y in the F x F square times S / F: pixels of the input.
    """

    resize: str
    size: int
    interpolation: str
    pad_value: tuple[float, float, float]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    frame_size: int | None = None


@dataclass(frozen=True)
class PromptRule:
    """How prompts fill the decoder's static slots.

    Attributes:
        batch: prompt sets in one call (B).
        slots: slots of a prompt set (N), every kind of prompt together.
        labels: meaning -> label.
        pad_without_box: whether a set without a box ends with one "not a point" slot, as the
            published predictor does. It takes a slot.
        order: which comes first.
        pad_with_box: the same for a set with a box, as SAM 2's predictor does.
    """

    batch: int
    slots: int
    labels: dict[str, int]
    pad_without_box: bool
    order: str = "points, then box corners (top left, bottom right)"
    pad_with_box: bool = False


@dataclass(frozen=True)
class Stability:
    """Whether a mask keeps its area when the threshold moves a little (SAM 2).

    Attributes:
        delta: the score is the number of low-res logits above `delta` over those above `-delta`;
            1 where there are none of the latter.
        least: a mask of a lower score is not stable.
    """

    delta: float
    least: float


@dataclass(frozen=True)
class MaskRule:
    """From the decoder's outputs to a mask.

    Attributes:
        threshold: a pixel belongs to the mask where its upscaled logit is above this.
        single: mask token for `multimask` false; -1 where the variant has none: then the best of
            `multi` by `iou_predictions`.
        multi: mask tokens for `multimask` true.
        upscale: `bilinear` to F x F (S x S but for `Preprocess.frame_size`), crop the padding,
            `bilinear` to the original size, both with half-pixel centres. `bilinear_once`:
            straight to the original size, where the image was stretched.
        low_res_size: side of `low_res_masks`.
        stability: when `single` gives way to the best of `multi`; None for never.
        logit_limit: a `low_res_masks` handed to the caller is clamped to -limit..limit, after the
            mask was made from it; None for as it is.
    """

    threshold: float
    single: int
    multi: tuple[int, ...]
    upscale: str
    low_res_size: int
    stability: Stability | None = None
    logit_limit: float | None = None


@dataclass(frozen=True)
class Licence:
    """Of the published weights. `commercial_use` is false where it is restricted."""

    name: str
    url: str
    commercial_use: bool


@dataclass(frozen=True)
class Source:
    """Where the weights came from."""

    repository: str
    paper: str
    checkpoint: str
    sha256: str
    layout: str


@dataclass(frozen=True)
class Figure:
    """One measure of one graph output against the float32 torch golden, with its floor."""

    graph: str
    output: str
    measure: str
    value: float
    unit: str
    better: str
    floor: float | None


@dataclass(frozen=True)
class Manifest:
    """Everything needed to use the bundle rightly and to check it."""

    schema_version: int
    variant: str
    family: str
    target: str
    precision: str
    platform: str
    licence: Licence
    source: Source
    graphs: tuple[GraphFile, ...]
    preprocess: Preprocess
    prompts: PromptRule
    mask: MaskRule
    parity: tuple[Figure, ...]
    tools: dict[str, str]
    files: dict[str, str]
    created: str

    def graph(self, name: str) -> GraphFile:
        """The graph called `name`."""
        for graph in self.graphs:
            if graph.spec.name == name:
                return graph
        raise BundleError(f"this bundle has no graph {name!r}")

    def to_json(self) -> str:
        """Stable text: sorted keys, one trailing newline."""
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Parse and validate. BundleError names the place of what is wrong."""
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise BundleError(f"manifest.json is not JSON: {error}") from None
        version = data.get("schema_version") if isinstance(data, dict) else None
        if version != SCHEMA_VERSION:
            raise BundleError(
                f"manifest.json has schema version {version!r}; this release reads "
                f"{SCHEMA_VERSION}: export the bundle again"
            )
        return parse(cls, data, "manifest")


def parse(kind: type[T], data: Any, where: str) -> T:
    """Build the dataclass `kind` from plain JSON data; every field is checked."""
    if not isinstance(data, dict):
        raise BundleError(f"{where} should be an object, not {type(data).__name__}")
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(fields))
    if unknown:
        raise BundleError(f"{where} has an unknown field {unknown[0]!r}")
    missing = sorted(
        n for n, f in fields.items() if n not in data and f.default is dataclasses.MISSING
    )
    if missing:
        raise BundleError(f"{where} lacks the field {missing[0]!r}")
    hints = typing.get_type_hints(kind)
    return kind(**{n: _value(hints[n], data[n], f"{where}.{n}") for n in data})


def _value(kind: Any, data: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return parse(typing.cast(type[Any], kind), data, where)
    if origin is tuple and isinstance(data, list):
        return _tuple(arguments, data, where)
    if origin is dict and isinstance(data, dict):
        return {str(k): _value(arguments[1], v, f"{where}[{k}]") for k, v in data.items()}
    if origin is types.UnionType:
        return None if data is None else _value(arguments[0], data, where)
    if kind is float and type(data) in (int, float):
        return float(data)
    if origin is None and type(data) is kind:
        return data
    raise BundleError(f"{where} should be {kind}, not {type(data).__name__}")


def _tuple(arguments: tuple[Any, ...], data: list[Any], where: str) -> tuple[Any, ...]:
    endless = len(arguments) == 2 and arguments[1] is Ellipsis
    if not endless and len(arguments) != len(data):
        raise BundleError(f"{where} should have {len(arguments)} values, not {len(data)}")
    if endless and arguments[0] is int and set(map(type, data)) <= {int}:
        return tuple(data)  # a profile has ten thousands of them; no place needs to be spelt
    kinds = [arguments[0]] * len(data) if endless else arguments
    return tuple(
        _value(kind, item, f"{where}[{i}]")
        for i, (kind, item) in enumerate(zip(kinds, data, strict=True))
    )
