"""A bundle's contract as data. Standard library only, so that an app's build script can import it.

`Manifest.from_json(m.to_json()) == m`; an unknown field, a missing one or a wrong type is a
`BundleError` that names its place.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Literal

from exporter.bundle.reading import parse
from exporter.bundle.rules import DetectionRule, DrawnPrompts, MaskRule, Preprocess, PromptRule
from exporter.bundle.tensors import GraphSpec
from exporter.errors import BundleError

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class GraphFile:
    """A lowered graph in the bundle.

    Attributes:
        spec: its inputs and outputs.
        file: name in the bundle; a folder for an .mlpackage.
        bytes: size on disk.
        signature: the TFLite signature to call, else empty.
        multiply_accumulates: of one call, as `exporter.arithmetic` counts them on the torch graph.
    """

    spec: GraphSpec
    file: str
    bytes: int
    signature: str = ""
    multiply_accumulates: int | None = None


@dataclass(frozen=True)
class Licence:
    """Licence of the published weights. `commercial_use` is false if restricted."""

    name: str
    url: str
    commercial_use: bool


@dataclass(frozen=True)
class Source:
    """Origin of the weights.

    Attributes:
        checkpoint: name of the file or folder.
        sha256: of that file; of several shards, of the lines `sha256sum` prints for them.
        layout: name of the published layout that its tensors came in.
        decoder_checkpoint: the decoder's own file; empty if it has none.
        decoder_sha256: of the decoder's own file; empty if it has none.
    """

    repository: str
    paper: str
    checkpoint: str
    sha256: str
    layout: str
    decoder_checkpoint: str = ""
    decoder_sha256: str = ""


@dataclass(frozen=True)
class Figure:
    """One measure of one graph output against the float32 torch golden, with its floor."""

    graph: str
    output: str
    measure: str
    value: float
    unit: str
    better: Literal["higher", "lower"]
    floor: float | None


Kind = Literal["slots", "detections", "drawn"]
"""How a bundle is prompted: in a decoder's slots, not at all, or with pictures."""


@dataclass(frozen=True)
class Manifest:
    """Everything needed to use a bundle correctly and to check it.

    Attributes:
        prompts: for a decoder with slots; else None.
        detections: for a graph that takes no prompt; else None.
        drawn_prompts: for a graph that takes prompts as pictures; else None.
    """

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
    prompts: PromptRule | None
    mask: MaskRule
    parity: tuple[Figure, ...]
    tools: dict[str, str]
    files: dict[str, str]
    created: str
    detections: DetectionRule | None = None
    drawn_prompts: DrawnPrompts | None = None

    @property
    def kind(self) -> Kind:
        """The one of `prompts`, `detections` and `drawn_prompts` that is set."""
        (kind,) = self._kinds()
        return kind

    def _kinds(self) -> list[Kind]:
        rules: dict[Kind, object] = {
            "slots": self.prompts,
            "detections": self.detections,
            "drawn": self.drawn_prompts,
        }
        return [kind for kind, rule in rules.items() if rule is not None]

    def graph(self, name: str) -> GraphFile:
        """The graph called `name`."""
        for graph in self.graphs:
            if graph.spec.name == name:
                return graph
        raise BundleError(f"this bundle has no graph {name!r}")

    def to_json(self) -> str:
        """Serialise to stable text: sorted keys, one trailing newline."""
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Parse and validate. BundleError names the faulty field."""
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
        manifest = parse(cls, data, "manifest")
        if len(manifest._kinds()) != 1:
            raise BundleError(
                "manifest.json has to have one of prompts, detections and drawn_prompts, not "
                f"{' and '.join(manifest._kinds()) or 'none'}"
            )
        return manifest
