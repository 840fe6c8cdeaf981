"""A request for bundles, and the same with every name looked up."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from exporter.bundle.rules import LABELS, MaskRule, PromptRule, Score
from exporter.errors import RequestError
from exporter.precision import Precision, load_precision
from exporter.targets import Options, Target, load_target
from exporter.variants import Slots, Variant, variants

DEFAULT_SLOTS = 8
MOST_SLOTS = 64


@dataclass(frozen=True)
class Job:
    """Everything that makes a bundle; equal jobs make equal bundles.

    Attributes:
        targets: formats, each its own bundle.
        precision: a name of `exporter/precision/`.
        variant: a name of `sam-export --list`; None for the one that the checkpoint's tensors fit,
            or without a checkpoint the embedded model.
        checkpoint: the file or folder; None for the published or embedded one.
        decoder_checkpoint: the decoder's, if it is published apart; None for the published one.
        batch: prompt sets in one decoder call (B).
        slots: slots of a prompt set (N); None for 8, or as many as the variant can have.
        score: what ranks masks; see `exporter.bundle.rules.MaskRule`.
        options: what only some targets read.
    """

    targets: tuple[str, ...]
    precision: str = "fp16"
    variant: str | None = None
    checkpoint: Path | None = None
    decoder_checkpoint: Path | None = None
    batch: int = 1
    slots: int | None = None
    score: Score = "iou_predictions"
    options: Options = field(default_factory=Options)


@dataclass(frozen=True)
class Place:
    """Where bundles go.

    Attributes:
        output: folder that holds them.
        force: replace a different bundle that is already there.
        sign: an Ed25519 private key to sign them with; None for unsigned.
    """

    output: Path = Path("bundles")
    force: bool = False
    sign: Path | None = None


@dataclass(frozen=True)
class Order:
    """A job with every name looked up, once.

    Attributes:
        prompts: of the decoder's slots; None if the network has none.
    """

    variant: Variant
    targets: tuple[Target, ...]
    precision: Precision
    prompts: PromptRule | None
    mask: MaskRule
    options: Options

    def bundle_name(self, target: Target) -> str:
        """`mobile_sam-coreml-fp16`."""
        return f"{self.variant.name}-{target.name}-{self.precision.name}"


def formats(job: Job) -> tuple[tuple[Target, ...], Precision]:
    """The job's targets and precision.

    Raises:
        RequestError: there is no such target or precision, a target cannot be exported in it, or
            its toolkit is not installed.
    """
    precision = load_precision(job.precision)
    targets = tuple(load_target(name) for name in job.targets)
    for target in targets:
        target.require(precision.name)
    return targets, precision


def settle(job: Job, variant: Variant) -> Order:
    """Look every name up.

    Raises:
        RequestError: see `formats`; or the variant has no such slots or score.
    """
    targets, precision = formats(job)
    prompts = prompt_rule(variant, job.batch, job.slots)
    mask = mask_rule(variant, job.score)
    return Order(variant, targets, precision, prompts, mask, job.options)


def prompt_rule(
    variant: Variant, batch: int = Job.batch, slots: int | None = Job.slots
) -> PromptRule | None:
    """How prompts fill the decoder's slots; None if the network has none.

    Args:
        variant: of which the decoder is.
        batch: see `Job`.
        slots: see `Job`.

    Raises:
        RequestError: it has no slots or fewer than are asked for.
    """
    rule = variant.prompting
    if not isinstance(rule, Slots):
        if (batch, slots) != (Job.batch, Job.slots):
            raise RequestError(
                f"{variant.name} has no prompt slots: leave out --batch and --max-points"
            )
        return None
    most = rule.most or MOST_SLOTS
    if slots is not None and slots > most:
        raise RequestError(f"{variant.name} reads {most} prompts at most: --max-points {most}")
    return PromptRule(
        batch,
        slots or min(DEFAULT_SLOTS, most),
        LABELS,
        pad_without_box=rule.pad_without_box,
        pad_with_box=rule.pad_with_box,
        most_slots=rule.most,
    )


def mask_rule(variant: Variant, score: Score = Job.score) -> MaskRule:
    """How masks are chosen. RequestError if the variant has no such score."""
    if score == variant.mask.score:
        return variant.mask
    if variant.stability is None or score != variant.stability.score:
        able = [v.name for v in variants().values() if v.stability is not None]
        raise RequestError(
            f"{variant.name} has no --score {score}: nothing published ranks its masks so; "
            f"stability is there for {', '.join(able)}"
        )
    return variant.stability
