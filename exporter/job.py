"""A request for bundles, and the same with every name looked up."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import exporter
from exporter.bundle.manifest import MOST_PICTURES, FewBits, RangeKind
from exporter.bundle.recipe import Recipe
from exporter.bundle.rules import BATCHES, SLOTS, MaskRule, PromptRule, Score
from exporter.bundle.tensors import GraphSpec
from exporter.calibration import RANGE_KINDS
from exporter.checkpoints.lora_options import LoraOptions
from exporter.classifier import Classifier, classifier_of
from exporter.errors import RequestError
from exporter.few_bits import few_bits_of, with_storage
from exporter.host_rules import (
    as_everything,
    is_everything,
    mask_rule,
    prompt_rule,
    require_no_pictures,
    require_video,
    with_classes,
)
from exporter.job_values import number, patterns, require_sides, require_type, target_names
from exporter.judged_folder import JudgedPictures, find_judged
from exporter.picture_folder import ChosenPictures, choose_pictures
from exporter.precision import PARITIES, Precision, load_precision, precisions
from exporter.preparation import ONE_WAY, options_for, prepare
from exporter.printable import quote
from exporter.targets import Options, Target, load_target, require_choice, require_read
from exporter.toolkits import require_toolkits
from exporter.variants import Slots, Variant, load_variant
from exporter.variants._sizes import resize
from exporter.variants._video import video_name, with_memory

_CHECKPOINTS = ("checkpoint", "decoder_checkpoint", "encoder_checkpoint", "lora", "classifier")
_PATHS = (*_CHECKPOINTS, "recipe", "calibration", "evaluate")
FLOORS_MODULE = "runtimes.measures"
"""Reached by name: imports flow from there to here."""


@dataclass(frozen=True)
class Job:
    """Everything that makes a bundle; equal jobs make equal bundles.

    Attributes:
        targets: names of formats, at least one; each is its own bundle.
        precision: a name of `exporter/precision/`.
        variant: a name of `sam-export --list`; None for the one that the checkpoint's tensors fit,
            or without a checkpoint the embedded model.
        checkpoint: the file or folder, kept as a Path; None for the published or embedded one.
        decoder_checkpoint: the decoder's, if it is published apart; None for the published one. Or
            one that replaces the mask decoder of the checkpoint.
        encoder_checkpoint: one that replaces the image encoder of the checkpoint.
        tensors: which set of the file to take, by its name or a part of it; empty for the only one.
        ignore: patterns of tensors in the file to leave out, with `*` and `?`.
        preprocess: how pictures were prepared in training, see `exporter.preparation`; empty for as
            the variant is published.
        lora: an adapter's file or folder, kept as a Path: it is folded into the checkpoint.
        lora_alpha: its `lora_alpha`, if no file says it.
        lora_blocks: the blocks of the image encoder that a list of pairs is for; empty for all.
        batch: prompt sets in one decoder call (B), 1 to 64.
        slots: slots of a prompt set (N), 2 to 64; None for 8, or as many as the variant can have.
        input_size: side of the input in pixels, or height and width; None for the one that the
            checkpoint's table of positions is for, or the published one.
        score: what ranks masks; see `exporter.bundle.rules.MaskRule`.
        options: what only some targets read.
        keep_float: patterns of what stays float in a precision of few bits, see
            `exporter.products.select`.
        quantize_decoder: whether the decoder is in few bits too, its `islands.DECODER_PARTS` left
            out; else it is in float16.
        min_iou: mean IoU of the masks to be reached by keeping blocks in float; None for the
            precision's floor alone.
        recipe: the `recipe.json` of a bundle, kept as a Path: what stays float is what did there.
        calibration: folder of pictures to calibrate on, kept as a Path; None for procedural scenes.
        calibration_pictures: of that folder, 1 to 128; None for all, 32 at most.
        ranges: see `exporter.calibration`.
        evaluate: folder of pictures to judge the bundles on, kept as a Path; None for none.
        everything: whether the bundle is for segmenting everything: see
            `exporter.host_rules.as_everything`.
        video: whether the bundles follow objects through videos.
        memory_slots: see `exporter.variants._video.with_memory`, as the next; None for the default.
        classifier: file of the text embeddings of classes, kept as a Path: the bundle finds
            everything with its class, too.

    Raises:
        RequestError: a value is of the wrong type or out of its range.
    """

    targets: tuple[str, ...]
    precision: str = "fp16"
    variant: str | None = None
    checkpoint: Path | str | None = None
    decoder_checkpoint: Path | str | None = None
    encoder_checkpoint: Path | str | None = None
    tensors: str = ""
    ignore: tuple[str, ...] = ()
    preprocess: str = ""
    lora: Path | str | None = None
    lora_alpha: float | None = None
    lora_blocks: tuple[int, ...] = ()
    batch: int = 1
    slots: int | None = None
    input_size: int | tuple[int, int] | None = None
    score: Score = "iou_predictions"
    options: Options = field(default_factory=Options)
    keep_float: tuple[str, ...] = ()
    quantize_decoder: bool = False
    min_iou: float | None = None
    recipe: Path | str | None = None
    calibration: Path | str | None = None
    calibration_pictures: int | None = None
    ranges: RangeKind = "min-max"
    evaluate: Path | str | None = None
    everything: bool = False
    video: bool = False
    memory_slots: int | None = None
    pointer_slots: int | None = None
    classifier: Path | str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", target_names(self.targets))
        for part in ("keep_float", "ignore"):
            object.__setattr__(self, part, patterns(part, getattr(self, part)))
        require_type("Job.tensors", self.tensors, str)
        require_type("Job.preprocess", self.preprocess, str)
        require_type("Job.quantize_decoder", self.quantize_decoder, bool)
        require_type("Job.everything", self.everything, bool)
        if self.min_iou is not None and not 0 < number("Job.min_iou", self.min_iou) < 1:
            raise RequestError(f"Job.min_iou is over 0 and under 1, not {quote(self.min_iou)}")
        require_type("Job.precision", self.precision, str)
        require_type("Job.variant", self.variant, str, type(None))
        for part in _PATHS:
            path = require_type(f"Job.{part}", getattr(self, part), str, Path, type(None))
            object.__setattr__(self, part, None if path is None else Path(path))
        object.__setattr__(self, "lora_blocks", self.lora_options.blocks)
        require_choice("Job.batch", self.batch, BATCHES)
        if self.slots is not None:
            require_choice("Job.slots", self.slots, SLOTS)
        require_sides("Job.input_size", self.input_size)
        require_choice("Job.score", self.score, get_args(Score))
        require_type("Job.options", self.options, Options)
        if self.calibration_pictures is not None:
            counts = range(1, MOST_PICTURES + 1)
            require_choice("Job.calibration_pictures", self.calibration_pictures, counts)
        require_choice("Job.ranges", self.ranges, RANGE_KINDS)
        if self.everything and self.video:
            raise RequestError(
                "--everything is for pictures, and --video for videos: export one at a time"
            )
        require_video(self.video, self.batch, self.memory_slots, self.pointer_slots)

    @property
    def lora_options(self) -> LoraOptions:
        """What it says of LoRA."""
        path = None if self.lora is None else Path(self.lora)
        return LoraOptions(path, self.lora_alpha, self.lora_blocks)


@dataclass(frozen=True)
class Place:
    """Where bundles go.

    Attributes:
        output: folder that holds them, kept as a Path.
        force: replace a different bundle that is already there.
        sign: an Ed25519 private key to sign them with, kept as a Path; None for unsigned.
        allow_degraded: write a bundle whose masks miss their floors, and mark it; only for a
            precision that is judged by masks.
        glue: put the source that an app runs it with, and a page that says how, beside the bundle.
        parity: one of `exporter.precision.PARITIES`.

    Raises:
        RequestError: a value is of the wrong type.
    """

    output: Path | str = Path("bundles")
    force: bool = False
    sign: Path | str | None = None
    allow_degraded: bool = False
    glue: bool = True
    parity: str = PARITIES[0]

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "output", Path(require_type("Place.output", self.output, str, Path))
        )
        require_type("Place.force", self.force, bool)
        require_type("Place.allow_degraded", self.allow_degraded, bool)
        require_type("Place.glue", self.glue, bool)
        require_choice("Place.parity", self.parity, PARITIES)
        key = require_type("Place.sign", self.sign, str, Path, type(None))
        object.__setattr__(self, "sign", None if key is None else Path(key))


def require_job(job: object, place: object) -> None:
    """RequestError if a caller gives something else than a Job, and a Place or None."""
    if not isinstance(job, Job):
        raise RequestError(f"export takes a Job, as Job(targets=('onnx',)), not {quote(job)}")
    if place is not None and not isinstance(place, Place):
        raise RequestError(f"export takes a Place, as Place(output='bundles'), not {quote(place)}")


@dataclass(frozen=True)
class Order:
    """A job with every name looked up, once.

    Attributes:
        prompts: of the decoder's slots; None if the network has none.
        ranges: see `Job`.
        chosen: the user's pictures to calibrate on; None for scenes, or if there is no calibration.
        few_bits: what is asked to stay float; None for the defaults.
        recipe: the one that was given, or None.
        judged: the user's pictures to judge the bundles on, or None.
        classifier: of a panoptic graph, or None.
    """

    variant: Variant
    targets: tuple[Target, ...]
    precision: Precision
    prompts: PromptRule | None
    mask: MaskRule
    options: Options
    ranges: RangeKind = "min-max"
    chosen: ChosenPictures | None = None
    few_bits: FewBits | None = None
    recipe: Recipe | None = None
    judged: JudgedPictures | None = None
    classifier: Classifier | None = None

    def precision_of(self, graph: GraphSpec) -> Precision:
        """Choose the precision that a graph is lowered in: a decoder may have one of its own."""
        sees_image = any(tensor.name in ("image", "volume") for tensor in graph.inputs)
        decodes = graph.runs == "prompt" and self.quantises_decoder
        apart = self.precision.decoder and not sees_image and not decodes
        return load_precision(self.precision.decoder) if apart else self.precision

    @property
    def quantises_decoder(self) -> bool:
        """Whether the decoder is in few bits."""
        return (self.recipe or self.few_bits or FewBits()).quantize_decoder

    def bundle_name(self, target: Target) -> str:
        """`mobile_sam-coreml-fp16`, `mobile_sam-coreml-int4-weights-palette4-512`."""
        rule = self.variant.preprocess
        side = rule.size if self.variant.published_size else ""
        if rule.resize == "within" and rule != load_variant(self.variant.name).preprocess:
            side = "x".join(map(str, rule.shape))
        parts = (
            self.variant.name,
            video_name(self.variant),
            target.name,
            self.precision.name,
            self.options.storage(target.reads),
            str(side),
            "everything" if is_everything(self.variant) else "",
            "panoptic" if self.variant.classes else "",
        )
        return "-".join(filter(None, parts))


def formats(job: Job) -> tuple[tuple[Target, ...], Precision]:
    """The job's targets and precision.

    Raises:
        RequestError: there is no such target or precision, the precision has no floors, a target
            cannot be exported in it or not with these options, its toolkit is not installed, or it
            has no parts to keep in float.
    """
    precision = load_precision(job.precision)
    require_floors(precision)
    few_bits_of(job, precision)
    asked = tuple(load_target(name) for name in job.targets)
    for target in asked:
        target.require_precision(precision.name)
    require_toolkits(asked)
    require_read(job.options, asked)
    for target in asked:
        target.adapt(job.options, precision.name)
    _require_calibrated(job, precision, asked)
    return asked, precision


def _require_calibrated(job: Job, precision: Precision, asked: Sequence[Target]) -> None:
    """RequestError for options of calibration that the precision does not read."""
    able = [each for each in precisions() if each.calibrated]
    ranging = [each for each in able if each.has_ranges]
    given = {
        "--calibration": (job.calibration is not None, able),
        "--calibration-pictures": (job.calibration_pictures is not None, able),
        "--ranges": (job.ranges != Job.ranges, ranging),
    }
    for option, (is_given, readers) in given.items():
        if is_given and precision not in readers:
            reason = "rounds no values" if precision.calibrated else "is not calibrated"
            raise RequestError(
                f"{precision.name} {reason}: leave out {option}, which is for --precision "
                f"{', '.join(each.name for each in readers)}"
            )
    in_palettes = job.options.palette is not None and all("palette" in t.reads for t in asked)
    if job.calibration is not None and in_palettes and not precision.has_ranges:
        raise RequestError("a palette is found in the weights alone: leave out --calibration")
    if job.calibration_pictures is not None and job.calibration is None:
        raise RequestError("--calibration-pictures is how many of --calibration DIR: give both")


def require_judged(place: Place, precision: Precision) -> None:
    """RequestError if masks that miss their floors are allowed where masks are not judged."""
    if place.allow_degraded and not precision.judged:
        able = [each.name for each in precisions() if each.judged]
        raise RequestError(
            f"--allow-degraded is for --precision {', '.join(able)}, which are judged by their "
            f"masks: a {precision.name} bundle under its floor is broken"
        )


def require_floors(precision: Precision) -> None:
    """RequestError if no floors are set: its bundles could not be judged after all the work."""
    floors: Mapping[str, object] = importlib.import_module(FLOORS_MODULE).FLOORS
    if precision.floors_row not in floors:
        raise RequestError(
            f"no floors are set for precision {precision.floors_row}: add its row to FLOORS in "
            f"{FLOORS_MODULE}"
        )


def _with_graphs(job: Job, variant: Variant) -> tuple[Variant, int | None]:
    """Give a variant the graphs that a job asks for, and the slots of prompts."""
    if not job.everything:
        return variant, job.slots
    own = job.preprocess or any(getattr(job, part) is not None for part in _CHECKPOINTS)
    return as_everything(variant, job.slots, published=not own)


def settle(job: Job, variant: Variant) -> Order:
    """Look every name up.

    Raises:
        RequestError: see `formats`; or the variant has no such size, slots, score or decoder, the
            recipe is of another, or there are no such pictures to calibrate on.
    """
    asked, precision = formats(job)
    if job.video and variant.video is None:
        variant = with_memory(variant, job.memory_slots, job.pointer_slots)
    variant = variant if job.input_size is None else resize(variant, job.input_size)
    variant, slots = _with_graphs(job, variant)
    classifier = classifier_of(variant, job.classifier)
    variant = variant if classifier is None else with_classes(variant, classifier.rule)
    prompts = prompt_rule(variant, job.batch, slots)
    mask = mask_rule(variant, job.score)
    if job.preprocess:
        if not isinstance(variant.prompting, Slots) or variant.preprocess.resize in ONE_WAY:
            raise RequestError(f"{variant.name} has one way to prepare pictures: no --preprocess")
        preprocess, mask = prepare(job.preprocess, variant.preprocess, mask)
        variant = dataclasses.replace(variant, preprocess=preprocess)
    require_no_pictures(
        variant, calibration=job.calibration, evaluate=job.evaluate, min_iou=job.min_iou
    )
    few_bits, recipe = few_bits_of(job, precision)
    options = options_for(variant, job.options)
    if job.quantize_decoder and not isinstance(variant.prompting, Slots):
        raise RequestError(
            f"{variant.name} has no decoder of its own: leave out --quantize-decoder"
        )
    if recipe is not None:
        recipe.require(variant.name, precision.name, exporter.__version__)
        options = with_storage(options, recipe)
        for target in asked:
            target.adapt(options, precision.name)
    chosen = None
    if job.calibration is not None:
        chosen = choose_pictures(Path(job.calibration), job.calibration_pictures)
    return Order(
        variant,
        asked,
        precision,
        prompts,
        mask,
        options,
        job.ranges,
        chosen,
        few_bits,
        recipe,
        None if job.evaluate is None else find_judged(Path(job.evaluate)),
        classifier,
    )
