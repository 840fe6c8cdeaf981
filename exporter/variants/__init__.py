"""The published variants, one file a family.

To add a family: a file here with `VARIANTS`, a tuple of `Variant`. A file imports no torch at its
top (`sam-export --list` must answer at once); `build` does. If its network is new, its blocks go to
`exporter/models/`. Then copy its conformance case into `tests/conformance/`; the contract tests
pick the file up by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from exporter import catalog
from exporter.bundle.licence import Licence
from exporter.bundle.rules import (
    DetectionRule,
    DrawnPrompts,
    Interpolation,
    MaskRule,
    PanopticRule,
    Preprocess,
)
from exporter.bundle.video import Pruning, VideoRule
from exporter.bundle.volume import VolumeRule
from exporter.closest import unknown

if TYPE_CHECKING:
    from torch import Tensor, nn

DEFAULT = "demo"
ENCODER_PARTS = ("image_encoder.",)
DECODER_PARTS = ("prompt_encoder.", "mask_decoder.")
"""Prefixes of our names for the decoder's parts: the tensors that its own file holds."""


@dataclass(frozen=True)
class Layout:
    """One way the tensors of a variant are published.

    Attributes:
        name: `segment-anything`, `hugging-face` ...
        rename: published name -> our module's name; None for a tensor that takes no part in
            segmenting (say which and why where the function is defined).
        build: makes the untrained module in this layout's arithmetic, in evaluation mode; of a
            variant that has `sizes`, it takes the side of the input as `image_size`.
        build_for: the same if widths are read off the file: shapes by our names -> the module, or
            None if they fit no such network. Bounded: the shapes come from an untrusted file. It
            takes `image_size` too.
        marks: unused tensors (renamed to None) that must be present: they tell this variant from
            its twin.
        parts: prefixes of our names that a file of this layout holds; empty for all of them.
        restore: undoes what the file's exporter did (transposed, reshaped); returns tensors by
            names that `rename` takes. None if stored as the module has them; unknown tensors pass
            through.
    """

    name: str
    rename: Callable[[str], str | None]
    build: Callable[..., nn.Module]
    build_for: Callable[..., nn.Module | None] | None = None
    marks: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    restore: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] | None = None

    def module(self, shapes: Mapping[str, tuple[int, ...]]) -> nn.Module:
        """Build the untrained module for a file.

        Args:
            shapes: of the file's tensors by their published names.
        """
        if self.build_for is None:
            return self.build()
        named = ((self.rename(name), shape) for name, shape in shapes.items())
        return self.build_for({name: s for name, s in named if name is not None}) or self.build()


@dataclass(frozen=True)
class Published:
    """The checkpoint as its authors publish it.

    Attributes:
        file: the file's published name.
        url: its address; empty for the embedded default.
        sha256: of the file, or its published first digits; empty if none is published.
        by_hand: `url` is a page for people, such as a cloud drive's, which no program can download.
        awaited: no weights are public; `url` is the page that announces them, `file` our name.
    """

    file: str
    url: str
    sha256: str = ""
    by_hand: bool = False
    awaited: bool = False


@dataclass(frozen=True)
class SecondFile:
    """A decoder that is published in a file of its own.

    Attributes:
        published: that file.
        layouts: of that file. Only the prompt encoder and the mask decoder are taken from it.
    """

    published: Published
    layouts: tuple[Layout, ...]


@dataclass(frozen=True)
class Slots:
    """An image encoder once an image, a mask decoder once a prompt; prompts fill its static slots.

    Attributes:
        embedding: shape of `image_embeddings`.
        high_res: shapes of the encoder's other outputs, `high_res_feats_0`, `high_res_feats_1`.
        mask_tokens: masks of one prompt set (M).
        takes_mask: whether the decoder has `mask_input` and `has_mask_input`.
        most: the most prompts of a set that the published code reads; None for any number.
        pad_without_box: see `exporter.bundle.rules.PromptRule`.
        pad_with_box: see `exporter.bundle.rules.PromptRule`.
        point_or_box: see `exporter.bundle.rules.PromptRule`.
        graphs: the files of `exporter/graphs/` that make its graphs.
    """

    embedding: tuple[int, int, int, int] = (1, 256, 64, 64)
    high_res: tuple[tuple[int, int, int, int], ...] = ()
    mask_tokens: int = 4
    takes_mask: bool = True
    most: int | None = None
    pad_without_box: bool = True
    pad_with_box: bool = False
    point_or_box: bool = False
    graphs: tuple[str, ...] = ("image_encoder", "mask_decoder")


SAM_MED3D = VolumeRule(size=128, low_res_size=32, spacing=1.5)
"""SAM-Med3D's cube, and the spacing to which its data preparation resamples."""


@dataclass(frozen=True)
class VolumeSlots(Slots):
    """Slots whose prompts are voxels of a volume.

    Attributes:
        rule: how the host segments a volume.
    """

    rule: VolumeRule = SAM_MED3D
    graphs: tuple[str, ...] = ("volume_encoder", "volume_decoder")


@dataclass(frozen=True)
class Sizes:
    """Sides of the input, which is a square, that a network can be built for, in pixels.

    Attributes:
        step: each is a multiple of it.
        least: the smallest.
        most: the largest.
        patch: side of a patch, if the file has a position table (1, g, g, C) with a row for each
            patch: its network then takes g patches a side. 0 if no tensor depends on the side.
        positions: how the position table is resized.
        frame: side of the square in which the published code keeps prompts and masks, whatever the
            input; the embedding and the masks then keep their sizes. None if they follow the input.
        any_aspect: whether height and width may differ; each is one of the sides.
    """

    step: int
    least: int = 128
    most: int = 2048
    patch: int = 0
    positions: Literal["bilinear", "bicubic"] = "bilinear"
    frame: int | None = None
    any_aspect: bool = False

    def __contains__(self, side: int) -> bool:
        return self.least <= side <= self.most and side % self.step == 0

    def __str__(self) -> str:
        """As an error names them."""
        each = ", each side" if self.any_aspect else ""
        return f"multiples of {self.step} from {self.least} to {self.most}{each}"


@dataclass(frozen=True)
class Detections:
    """One graph, once an image, that takes no prompt; the host chooses among its detections."""

    rule: DetectionRule
    graphs: tuple[str, ...] = ("detector",)


@dataclass(frozen=True)
class Drawn:
    """One graph, once a prompt, that takes prompts as pictures.

    Attributes:
        rule: how prompts are drawn.
        mask_tokens: masks of one prompt set (M).
        graphs: the files of `exporter/graphs/` that make its graphs.
    """

    rule: DrawnPrompts
    mask_tokens: int = 4
    graphs: tuple[str, ...] = ("drawn_segmenter",)


@dataclass(frozen=True)
class Memory:
    """How the published code of a variant follows objects through a video.

    Attributes:
        layouts: of the files that hold the memory's tensors; `exporter.models.sam2_video`.
        latents: see `exporter.models.memory_bank.MemorySize`; as the next.
        pointer_time: whether pointers know how old they are.
        pooled: whether keys are pooled once there are two memories.
        pruning: see `exporter.bundle.video.VideoRule`.
        size: side of the published input for videos; None for the image's.
        second: the file of all but the image encoder, if it is apart; `layouts` are then the
            encoder's.
        frames_back: tracked frames that the published code looks back at.
        pointers_back: the same of their pointers.
        width: channels of one token of a memory.
        interpolation: as the published predictor of videos resizes frames; that of images resizes
            in torch.
    """

    layouts: tuple[Layout, ...]
    latents: int = 0
    pointer_time: bool = False
    pooled: bool = False
    pruning: Pruning | None = None
    size: int | None = None
    second: SecondFile | None = None
    frames_back: int = 6
    pointers_back: int = 15
    width: int = 64
    interpolation: Interpolation = "pillow_bicubic"


@dataclass(frozen=True)
class Panoptic:
    """A graph that finds everything with its class, if a classifier is given.

    Attributes:
        width: of the classifier's text embeddings.
        graph: the file of `exporter/graphs/` that makes it.
    """

    width: int
    graph: str = "panoptic"


@dataclass(frozen=True)
class Variant:
    """One published Segment Anything variant.

    Attributes:
        name: for `--variant`.
        family: the file that defines it.
        summary: one line for `--list`.
        parameters: of encoder and decoder together.
        prompting: how it takes prompts, and so which graphs it has.
        decoder: None if `published` holds the decoder too.
        stability: the mask rule of `--score stability`; None if the published code has none.
        sizes: of the input that it can be built for; None for the published one alone.
        published_size: side of the published input, if this is the variant at another
            (`exporter.variants._sizes`); else None.
        changed: whether the network is another than the published one, its size aside
            (`exporter.checkpoints.adapt`).
        memory: how it follows objects; None if its published code does not.
        proposer: makes the trained head that proposes points to click on the published network's
            embedding (`exporter.models.point_proposer`); None if there is none.
        video: how the host does, if this is the variant with its memory
            (`exporter.variants._video`); else None.
        panoptic: its graph that finds everything with its class; None if it has none.
        classes: what that graph is exported with (`exporter.classifier`); else None.
    """

    name: str
    family: str
    summary: str
    parameters: int
    preprocess: Preprocess
    mask: MaskRule
    licence: Licence
    repository: str
    paper: str
    published: Published
    layouts: tuple[Layout, ...]
    prompting: Slots | Detections | Drawn = Slots()
    stability: MaskRule | None = None
    decoder: SecondFile | None = None
    sizes: Sizes | None = None
    published_size: int | None = None
    changed: bool = False
    memory: Memory | None = None
    video: VideoRule | None = None
    proposer: Callable[[], nn.Module] | None = None
    panoptic: Panoptic | None = None
    classes: PanopticRule | None = None

    def row(self) -> dict[str, Any]:
        """Data for `--list --json`."""
        return {
            "name": self.name,
            "family": self.family,
            "summary": self.summary,
            "parameters": self.parameters,
            "input_size": self.preprocess.size,
            "input_shape": self._input_shape(),
            "input_sizes": str(self.sizes or f"{self.preprocess.size} alone"),
            "licence": self.licence.name,
            "commercial_use": self.licence.commercial_use,
            "checkpoint": self.published.file,
            "url": self.published.url,
            "decoder_checkpoint": self.decoder.published.file if self.decoder else None,
            "decoder_url": self.decoder.published.url if self.decoder else None,
            "layouts": [layout.name for layout in self.layouts],
            "video": self.memory is not None,
            "volume": isinstance(self.prompting, VolumeSlots),
        }

    def _input_shape(self) -> list[int]:
        if isinstance(self.prompting, VolumeSlots):
            return [self.preprocess.size] * 3
        return list(self.preprocess.shape)


def families() -> tuple[str, ...]:
    """List the family files."""
    return catalog.names("exporter.variants")


def variants() -> Mapping[str, Variant]:
    """Load every variant, by name, in the families' order."""
    found: dict[str, Variant] = {}
    for family in families():
        for variant in catalog.load("exporter.variants", family, "VARIANTS"):
            found[variant.name] = variant
    return found


def load_variant(name: str) -> Variant:
    """Load a variant by name. RequestError names the closest ones if there is none."""
    known = variants()
    if name not in known:
        from exporter.variants._aliases import aliases

        raise unknown(
            "variant",
            name,
            known,
            aliases=aliases(name, known.values()),
            everything="sam-export --list shows every one",
        )
    return known[name]
