"""Bundles -> figures: each is asked the same, and all take turns when they are timed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter.bundle.folder import Bundle
from exporter.errors import RequestError
from exporter.progress import Progress
from profiles.accuracy.answers import Answers, answer, chooses, refused_kinds
from profiles.accuracy.cases import KINDS, Shots
from profiles.accuracy.latency import time_bundles, untimed
from profiles.accuracy.rows import Row, agree, count_not_finite, describe_bundle, truth_iou
from profiles.numbers.statistics import Spread
from runtimes.engines import choose_engine

EXACT = "fp32"


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        bundles: opened, in the order of the rows.
        reference: the one to compare with, which may be among them; None for an fp32 bundle.
        shots: pictures with their cases.
        threads: for engines that take a number.
        seconds: of timing for each graph of a bundle, about; 0 for none.
    """

    bundles: Sequence[Bundle]
    reference: Bundle | None
    shots: Shots
    threads: int = 2
    seconds: float = 2.0


@dataclass(frozen=True)
class Compared:
    """What was found.

    Attributes:
        rows: one a bundle.
        answers: bundle -> its masks.
        shots: of the plan.
        kinds: of prompts that every bundle takes.
        notes: what a reader has to know.
    """

    rows: tuple[Row, ...]
    answers: Mapping[str, Answers]
    shots: Shots
    kinds: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def masks(self) -> int:
        """Cases that every bundle answered."""
        return sum(len(shot) for shot in next(iter(self.answers.values())))


def compare_bundles(plan: Plan, report: Progress) -> Compared:
    """Ask every bundle, compare the masks, time the calls.

    Raises:
        RequestError: no bundle can run here, none takes a prompt that all take, or there is
            nothing to compare.
        BundleError: a bundle cannot be loaded.
    """
    bundles, notes = _runnable(plan)
    references, said = choose_references(bundles, plan.reference)
    kinds, dropped = shared_kinds(bundles, plan.shots)
    rows = {name: describe_bundle(bundle, name) for name, bundle in bundles.items()}
    answers = {
        name: answer(bundle, plan.shots, kinds, plan.threads, report)
        for name, bundle in bundles.items()
    }
    _require_masks(answers, references)
    times = _times(bundles, plan, report)
    for name, row in rows.items():
        reference = references[row.variant]
        found = judge(row, reference, answers, chosen=chooses(bundles[name].manifest))
        why = untimed(bundles[name]) if plan.seconds else "not asked for"
        rows[name] = dataclasses.replace(found, ms=times.get(name, {}), untimed=why)
    notes = [*notes, *said, *dropped, *_faults(rows.values())]
    return Compared(tuple(rows.values()), answers, plan.shots, kinds, tuple(notes))


def judge(row: Row, reference: str, answers: Mapping[str, Answers], *, chosen: bool) -> Row:
    """Fill in a row's figures of accuracy.

    Args:
        row: of one bundle.
        reference: the bundle that it is compared with, which may be itself.
        answers: of both.
        chosen: see `agree`.
    """
    own, other = answers[row.bundle], answers[reference]
    truth, theirs = truth_iou(own), truth_iou(other)
    filled = dataclasses.replace(row, truth_iou=truth, not_finite=count_not_finite(own))
    if reference == row.bundle:
        return filled
    loss = None if truth is None or theirs is None else 100 * (theirs - truth)
    found = agree(other, own, chosen=chosen)
    return dataclasses.replace(filled, reference=reference, agreement=found, truth_loss=loss)


def _runnable(plan: Plan) -> tuple[dict[str, Bundle], list[str]]:
    """Name the bundles that an engine here can run, each once; and say which cannot be run.

    Raises:
        RequestError: none can be run, or the reference cannot.
    """
    if plan.reference is not None:
        choose_engine(plan.reference.manifest.target)
    given = [*plan.bundles, *([plan.reference] if plan.reference else [])]
    once = {bundle.path.resolve(): bundle for bundle in given}
    names = [path.name for path in once]
    bundles: dict[str, Bundle] = {}
    notes = []
    for path, bundle in once.items():
        name = path.name if names.count(path.name) == 1 else str(bundle.path)
        try:
            choose_engine(bundle.manifest.target)
        except RequestError as error:
            notes.append(f"{name} is left out: {error}")
        else:
            bundles[name] = bundle
    if not bundles:
        raise RequestError("; ".join(notes))
    return bundles, notes


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def choose_references(
    bundles: Mapping[str, Bundle], asked: Bundle | None
) -> tuple[dict[str, str], list[str]]:
    """Choose what each variant's bundles are compared with: masks of two networks differ anyway.

    Args:
        bundles: by name.
        asked: the one that the user names, or None; it is among them.

    Returns:
        Variant -> name of the bundle asked for, the first in fp32, or the first; and notes on what
        is no obvious choice.
    """
    chosen: dict[str, str] = {}
    notes = []
    for variant in dict.fromkeys(bundle.manifest.variant for bundle in bundles.values()):
        own = {n: b for n, b in bundles.items() if b.manifest.variant == variant}
        named = [n for n, b in own.items() if asked is not None and _same(b.path, asked.path)]
        exact = [n for n, b in own.items() if b.manifest.precision == EXACT]
        chosen[variant] = (named or exact or list(own))[0]
        if not (named or exact):
            notes.append(
                f"there is no {EXACT} bundle of {variant}: the others are compared with the first, "
                f"{chosen[variant]}"
            )
        weights = bundles[chosen[variant]].manifest.source
        notes += [
            f"{name} has other weights than {chosen[variant]}: its masks may differ for that"
            for name, bundle in own.items()
            if bundle.manifest.source.sha256 != weights.sha256
        ]
    return chosen, notes


def shared_kinds(bundles: Mapping[str, Bundle], shots: Shots) -> tuple[tuple[str, ...], list[str]]:
    """Find the kinds of prompts that every bundle takes, and say why others are left out.

    Raises:
        RequestError: there is none.
    """
    shot, notes = shots[0](), []
    asked = {case.kind for case in shot.cases}
    for name, bundle in bundles.items():
        for kind, reason in refused_kinds(bundle.manifest, shot).items():
            if kind in asked:
                notes.append(f"prompts of the kind '{kind}' are left out: {name}: {reason}")
                asked.discard(kind)
    if not asked:
        raise RequestError(f"these bundles share no kind of prompt: {'; '.join(notes)}")
    return tuple(kind for kind in KINDS if kind in asked), notes


def _require_masks(answers: Mapping[str, Answers], references: Mapping[str, str]) -> None:
    """RequestError if there is neither a second bundle of a variant nor an object that is known."""
    if len(references) < len(answers):
        return
    if all(truth_iou(each) is None for each in answers.values()):
        raise RequestError(
            "there is nothing to compare: on pictures whose objects nobody knows, give two bundles "
            "of one variant, or leave out --pictures"
        )


def _times(
    bundles: Mapping[str, Bundle], plan: Plan, report: Progress
) -> dict[str, dict[str, Spread]]:
    if not plan.seconds:
        return {}
    timed = {name: bundle for name, bundle in bundles.items() if not untimed(bundle)}
    return time_bundles(timed, plan.threads, plan.seconds, report)


def _faults(rows: Iterable[Row]) -> Iterator[str]:
    for row in rows:
        if row.degraded:
            yield f"{row.bundle} is degraded: it was written though it misses its floors"
        if row.not_finite:
            yield f"{row.bundle} gives NaN or infinite numbers in {row.not_finite} cases"
