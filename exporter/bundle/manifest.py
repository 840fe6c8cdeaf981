"""A bundle's contract as data. Standard library and msgspec, so that a build script can import it.

`Manifest.from_json(m.to_json()) == m`. The text carries a hash of its own content, and only one
text has that content; `exporter/bundle/manifest.schema.json` is its JSON Schema.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from msgspec import Meta

from exporter.bundle.licence import Licence
from exporter.bundle.ranges import (
    Count,
    FileName,
    MaybeSha256,
    Name,
    Number,
    Sha256,
    Share,
    Side,
    Text,
)
from exporter.bundle.reading import decode, parse
from exporter.bundle.rules import (
    DetectionRule,
    DrawnPrompts,
    MaskRule,
    PanopticRule,
    Preprocess,
    PromptRule,
)
from exporter.bundle.tensors import GraphSpec
from exporter.bundle.video import VideoRule
from exporter.bundle.volume import VolumeRule
from exporter.errors import BundleError

SCHEMA_VERSION = 3
MANIFEST = "manifest.json"
HASH = "content_sha256"
MOST_PICTURES = 128
"""To calibrate on. More change nothing: on the demo model, 8 scenes are as good as 128."""
_AGAIN = "copy or export the bundle again"


@dataclass(frozen=True)
class GraphFile:
    """A lowered graph in the bundle.

    Attributes:
        spec: its inputs and outputs.
        file: name in the bundle; a folder for an .mlpackage or an .aimodel. Graphs may share one.
        bytes: size on disk; of a file that graphs share, this graph's part.
        signature: what to call in the file, a TFLite signature or a Core AI function; else empty.
        multiply_accumulates: of one call, as `exporter.arithmetic` counts them on the torch graph.
    """

    spec: GraphSpec
    file: FileName
    bytes: Count
    signature: Text = ""
    multiply_accumulates: Count | None = None


MOST_LEFT_OUT = 100


@dataclass(frozen=True)
class Taken:
    """What was done to a file's tensors before they were the network's.

    Attributes:
        place: of the tensors in the file, as `state_dict`; empty for its top.
        prefix: taken off every name.
        wrappers: words that parallel and compiled modules put inside names, taken out of them.
        left_out: tensors that are not the network's, by their names in the file: training's own,
            and what `ignored` names; the first 100.
        left_out_count: how many there are.
        ignored: patterns of tensors that were to be left out.
        rounded: types of floating point that were rounded to float32.
    """

    place: Text = ""
    prefix: Text = ""
    wrappers: Annotated[tuple[Name, ...], Meta(max_length=8)] = ()
    left_out: Annotated[tuple[Text, ...], Meta(max_length=MOST_LEFT_OUT)] = ()
    left_out_count: Count = 0
    ignored: Annotated[tuple[Text, ...], Meta(max_length=256)] = ()
    rounded: Annotated[tuple[Name, ...], Meta(max_length=8)] = ()


@dataclass(frozen=True)
class Source:
    """Origin of the weights.

    Attributes:
        checkpoint: name of the file or folder.
        sha256: of that file; of several shards, of the lines `sha256sum` prints for them; empty if
            the weights come from no file.
        layout: name of the published layout that its tensors came in.
        decoder_checkpoint: the decoder's own file; empty if it has none.
        decoder_sha256: of the decoder's own file; empty if it has none.
        encoder_checkpoint: the image encoder's own file, beside that of the whole network; empty if
            it has none.
        encoder_sha256: of that file; empty if it has none.
        taken: by the fields above that name a file: what was done to its tensors, if anything.
        adapter: file of a LoRA adapter that is folded into the weights; empty for none.
        adapter_sha256: of that file; empty for none.
        changes: how the network differs from the published one, each in some words.
        trained_size: side of the input that the file's table of positions is for; it was
            interpolated for an input of another side. None if no tensor tells.
        classifier: file of a panoptic graph's text embeddings; empty for none.
        classifier_sha256: of that file; empty for none.
    """

    repository: Text
    paper: Text
    checkpoint: Text
    sha256: MaybeSha256
    layout: Name
    decoder_checkpoint: Text = ""
    decoder_sha256: MaybeSha256 = ""
    encoder_checkpoint: Text = ""
    encoder_sha256: MaybeSha256 = ""
    taken: Annotated[dict[Name, Taken], Meta(max_length=3)] = field(default_factory=dict)
    adapter: Text = ""
    adapter_sha256: MaybeSha256 = ""
    changes: Annotated[tuple[Text, ...], Meta(max_length=64)] = ()
    trained_size: Side | None = None
    classifier: Text = ""
    classifier_sha256: MaybeSha256 = ""


@dataclass(frozen=True)
class Figure:
    """One measure of one graph output against the float32 torch golden, with its floor.

    Attributes:
        arithmetic: `float32` if the graph says half and was computed in float32 on the weights that
            it stores, because the runtime's half arithmetic takes long; empty if as the file says.
    """

    graph: Text
    output: Name
    measure: Name
    value: Number
    unit: Text
    better: Literal["higher", "lower"]
    floor: Number | None
    arithmetic: Text = ""


@dataclass(frozen=True)
class PictureFile:
    """One of the user's pictures, and whether ranges were found or masks were judged on it."""

    name: FileName
    sha256: Sha256
    use: Literal["ranges", "gate"]


RangeKind = Literal["min-max", "mse"]


@dataclass(frozen=True)
class Calibration:
    """What ranges of values or rounded weights were found on, and the masks judged on.

    Attributes:
        ranges: `min-max`, the least and the largest value; or `mse`, the range with the least mean
            squared error, which may cut some values off. Means nothing if weights alone are small.
        pictures: the user's, sorted by name; empty for procedural scenes alone.
        prompts_sha256: of the `prompts.json` beside them; empty if there is none.
        scenes: procedural scenes that they were found on.
        seed: of the first of them.
        gate_scenes: procedural scenes that masks were judged on.
        gate_seed: of the first of them.
    """

    ranges: RangeKind
    pictures: Annotated[tuple[PictureFile, ...], Meta(max_length=MOST_PICTURES)]
    prompts_sha256: MaybeSha256
    scenes: Count
    seed: Count
    gate_scenes: Count
    gate_seed: Count


@dataclass(frozen=True)
class EvaluationFigure:
    """How good the masks of one kind of prompt are on the user's own pictures.

    Attributes:
        prompts: `point` (inside an object), `box` (around it), `box_point` (both), or `given`
            (the user's own).
        cases: prompt sets of that kind.
        torch_iou: mean IoU of the float32 torch network's masks with the labelled objects; None if
            no label says which object is meant.
        exported_iou: the same of the masks that the bundle gives.
        agreement: mean IoU of the bundle's masks with torch's.
        worst_agreement: the least of these.
    """

    prompts: Name
    cases: Count
    torch_iou: Share | None
    exported_iou: Share | None
    agreement: Share
    worst_agreement: Share


@dataclass(frozen=True)
class Evaluation:
    """What the bundle was judged on, if pictures were given (`--evaluate`), and the figures.

    Attributes:
        pictures: how many.
        sha256: of the lines `sha256sum` prints for every file of the folder that was read.
    """

    pictures: Count
    sha256: Sha256
    figures: Annotated[tuple[EvaluationFigure, ...], Meta(max_length=16)] = ()


STORAGE = "^((palette|block)[0-9]{1,3})?$"
Kind = Literal["slots", "detections", "drawn", "volume"]
"""How a bundle is prompted: in a decoder's slots, not at all, with pictures, or in a volume."""


@dataclass(frozen=True)
class FewBits:
    """What an export of few bits was asked to leave in float; equal for equal jobs.

    Attributes:
        quantize_decoder: see `exporter.job.Job`, as the next two.
        recipe_sha256: of the recipe that was given; empty if none was.
    """

    quantize_decoder: bool = False
    keep_float: Annotated[tuple[Text, ...], Meta(max_length=4096)] = ()
    min_iou: Share | None = None
    recipe_sha256: MaybeSha256 = ""


@dataclass(frozen=True)
class Manifest:
    """Everything needed to use a bundle correctly and to check it.

    Attributes:
        prompts: for a decoder with slots; else None.
        detections: for a graph that takes no prompt; else None.
        drawn_prompts: for a graph that takes prompts as pictures; else None.
        runs_in: runtime -> the oldest release in which a bundle like this one (same family,
            format, precision and options) was run and passed; empty if none was.
        few_bits: None if the export had its defaults.
        calibration: if the precision was calibrated on pictures; else None.
        degraded: whether figures under their floors were let pass (`--allow-degraded`).
        storage: of linear layers' weights, if it was chosen: `palette6` are 6-bit indices into
            palettes, `block16` has a scale for each 16 weights; else empty.
        published_size: side of the published network's input, in pixels, if this one's is another:
            a departure from what was published; else None.
        evaluation: on the user's own pictures; None if none were given.
        video: if the bundle tracks objects through a video; else None.
        panoptic: if the bundle can find everything with its class; else None.
        volume: if the bundle segments volumes, with `prompts` for its slots; else None.
        content_sha256: of the text that `to_json` writes with this field left out; empty if not
            written yet. Two manifests are equal whatever it is.
    """

    schema_version: int
    variant: Name
    family: Name
    target: Name
    precision: Name
    platform: Text
    licence: Licence
    source: Source
    graphs: Annotated[tuple[GraphFile, ...], Meta(min_length=1, max_length=64)]
    preprocess: Preprocess
    prompts: PromptRule | None
    mask: MaskRule
    parity: Annotated[tuple[Figure, ...], Meta(max_length=4096)]
    tools: Annotated[dict[Name, Text], Meta(max_length=256)]
    files: Annotated[dict[FileName, Sha256], Meta(max_length=65_536)]
    created: Text
    detections: DetectionRule | None = None
    drawn_prompts: DrawnPrompts | None = None
    runs_in: Annotated[dict[Name, Text], Meta(max_length=64)] = field(default_factory=dict)
    few_bits: FewBits | None = None
    calibration: Calibration | None = None
    degraded: bool = False
    storage: Annotated[str, Meta(pattern=STORAGE)] = ""
    published_size: Side | None = None
    evaluation: Evaluation | None = None
    video: VideoRule | None = None
    panoptic: PanopticRule | None = None
    volume: VolumeRule | None = None
    content_sha256: MaybeSha256 = field(default="", compare=False)

    @property
    def kind(self) -> Kind:
        """`volume` if that is set, else the one of the three kinds of prompts that is."""
        (kind,) = self._kinds()
        return "volume" if self.volume is not None else kind

    def _kinds(self) -> list[Kind]:
        rules: dict[Kind, object] = {
            "slots": self.prompts,
            "detections": self.detections,
            "drawn": self.drawn_prompts,
        }
        return [kind for kind, rule in rules.items() if rule is not None]

    def graph(self, name: str) -> GraphFile:
        """Find the graph called `name`."""
        for graph in self.graphs:
            if graph.spec.name == name:
                return graph
        raise BundleError(f"this bundle has no graph {name!r}")

    def to_json(self) -> str:
        """Serialise to the one text of this content: sorted keys, one trailing newline."""
        data = dataclasses.asdict(self)
        return canonical(data | {HASH: content_hash(data)})

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Parse and validate.

        Args:
            text: line ends may have become CRLF, as git does on Windows.

        Raises:
            BundleError: names the faulty field; or the text is not what an export wrote.
        """
        from exporter.bundle.agreement import check_agreement  # `--list` needs none of it

        data = decode(text, MANIFEST)
        version = data.get("schema_version") if isinstance(data, dict) else None
        if version != SCHEMA_VERSION:
            raise BundleError(
                f"{MANIFEST} has schema version {_short(version)}; this release reads "
                f"{SCHEMA_VERSION}: export the bundle again"
            )
        manifest = parse(cls, data, "manifest")
        if len(manifest._kinds()) != 1:
            raise BundleError(
                f"{MANIFEST} has to have one of prompts, detections and drawn_prompts, not "
                f"{' and '.join(manifest._kinds()) or 'none'}"
            )
        check_agreement(manifest)
        if manifest.content_sha256 != content_hash(data):
            raise BundleError(f"{MANIFEST} was changed after the export: {_AGAIN}")
        if text.replace("\r\n", "\n") != canonical(data):
            raise BundleError(f"{MANIFEST} was rewritten after the export: {_AGAIN}")
        return manifest


def canonical(data: Mapping[str, Any]) -> str:
    """Write plain data as its one JSON text: ASCII, sorted keys, two spaces, LF at the end."""
    return json.dumps(data, indent=2, sort_keys=True, allow_nan=False) + "\n"


def content_hash(data: Mapping[str, Any]) -> str:
    """Hash a manifest's plain data without its own hash: sha256 in hex."""
    import hashlib  # `--list` needs none of it

    content = {name: value for name, value in data.items() if name != HASH}
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def _short(value: Any) -> str:
    return repr(value) if isinstance(value, int | None) else type(value).__name__
