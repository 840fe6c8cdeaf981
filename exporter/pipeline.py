"""export(job): one checkpoint in, one verified bundle a target out."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import exporter
from exporter.arithmetic import multiply_accumulates
from exporter.bundle.folder import LOG, MANIFEST, Bundle, open_bundle, seal, staging
from exporter.bundle.goldens import GOLDENS
from exporter.bundle.manifest import SCHEMA_VERSION, Figure, GraphFile, Manifest, Source
from exporter.bundle.prompts import LABELS
from exporter.bundle.reading import parse
from exporter.bundle.rules import MaskRule, PromptRule
from exporter.errors import BundleError, LoweringError, ParityError, RequestError, SamExportError
from exporter.precision import load_precision
from exporter.progress import Report, quiet, silent
from exporter.signals import interruptible
from exporter.targets import Options, Target, load_target
from exporter.variants import Published, Variant, load_variant, variants

if TYPE_CHECKING:
    from torch import nn

    from exporter.goldens import Arrays
    from exporter.graphs import Graph

DEFAULT_SLOTS = 8
MOST_SLOTS = 64

PARITY_MODULE = "runtimes.parity"
"""Run by name in a process of its own: its memory returns, and imports keep flowing one way."""


def refuse(reason: str) -> None:
    """What a missed floor means for an export: ParityError, and nothing is written."""
    raise ParityError(reason)


@dataclass(frozen=True)
class Job:
    """Everything an export depends on; equal jobs make equal bundles.

    Attributes:
        variant: a name of `sam-export --list`.
        targets: formats, each its own bundle.
        precision: `fp32` or `fp16`.
        checkpoint: the file or folder; None for the published or embedded one.
        decoder_checkpoint: the decoder's, where it is published apart; None likewise.
        output: folder the bundles go into.
        batch: prompt sets in one decoder call (B).
        slots: slots of a prompt set (N); None for 8, or as many as the variant can have.
        score: what ranks masks, `iou_predictions` or `stability`; see `MaskRule`.
        options: what only some targets read.
        force: replace a different bundle that is already there.
        judge: told what floors are missed; if it returns, the bundle is written all the same.
    """

    variant: str
    targets: tuple[str, ...]
    precision: str
    checkpoint: Path | None
    output: Path
    batch: int = 1
    slots: int | None = None
    options: Options = field(default_factory=Options)
    force: bool = False
    score: str = "iou_predictions"
    judge: Callable[[str], None] = refuse
    decoder_checkpoint: Path | None = None

    def folder(self, target: str) -> Path:
        """Where a target's bundle goes."""
        return self.output / f"{self.variant}-{target}-{self.precision}"


def export(job: Job, report: Report = silent) -> list[Bundle]:
    """Read, split, record goldens; then lower, check and write one bundle a target.

    Raises:
        RequestError: the job cannot be done as asked; nothing was written.
        ExportError: lowering failed or a floor was missed; no bundle was written.
    """
    variant = load_variant(job.variant)
    job = settled(job, variant)
    precision = load_precision(job.precision).name
    targets = [load_target(name) for name in job.targets]
    for target in targets:
        target.require(precision)
    checkpoint = _checkpoint_path(job, variant, report)
    decoder = _decoder_path(job, variant, report)

    report(f"{variant.name}: reading {checkpoint.name}")
    network, source = _prepare(variant, checkpoint, decoder)
    return export_network(job, network, source, report)


def export_network(
    job: Job, network: nn.Module, source: Source, report: Report = silent
) -> list[Bundle]:
    """What `export` does once the weights are in the network, wherever they came from.

    Args:
        job: `settled`.
        network: the variant's, as its layout builds it; it is frozen here.
        source: for the manifest.
        report: hears of every stage.
    """
    from exporter.graphs import split
    from exporter.models.layers import freeze

    variant = load_variant(job.variant)
    targets = [load_target(name) for name in job.targets]
    graphs = split(freeze(network), variant, job.batch, job.slots or DEFAULT_SLOTS)
    drafts = [_draft(job, variant, target, source) for target in targets]
    done = {d.target: b for d in drafts if (b := _already_there(job, d)) is not None}
    if len(done) == len(drafts):
        return list(done.values())

    report(f"{variant.name}: recording goldens in torch")
    goldens = _record(job, variant, graphs)
    bundles = []
    for target, draft in zip(targets, drafts, strict=True):
        ready = done.get(target.name)
        bundles.append(ready or _write(job, target, draft, graphs, goldens, report))
    return bundles


def settled(job: Job, variant: Variant) -> Job:
    """The job with its slots counted. RequestError if the variant has no such slots or score."""
    asked = (job.batch, job.slots) != (Job.batch, Job.slots)
    if variant.one_graph and asked:
        raise RequestError(
            f"{variant.name} has no prompt slots: leave out --batch and --max-points"
        )
    most = variant.most_slots or MOST_SLOTS
    if job.slots is not None and job.slots > most:
        raise RequestError(f"{variant.name} reads {most} prompts at most: --max-points {most}")
    mask_rule(job, variant)
    return job if job.slots else dataclasses.replace(job, slots=min(DEFAULT_SLOTS, most))


def mask_rule(job: Job, variant: Variant) -> MaskRule:
    """How masks are chosen. RequestError if the variant has no such score."""
    if job.score == variant.mask.score:
        return variant.mask
    if variant.stability is None or job.score != variant.stability.score:
        able = [v.name for v in variants().values() if v.stability is not None]
        raise RequestError(
            f"{variant.name} has no --score {job.score}: nothing published ranks its masks so; "
            f"stability is there for {', '.join(able)}"
        )
    return variant.stability


def _checkpoint_path(job: Job, variant: Variant, report: Report) -> Path:
    if job.checkpoint is not None:
        return job.checkpoint
    if not variant.published.url:
        from exporter.demo.network import WEIGHTS

        return WEIGHTS
    return _fetch(variant.name, variant.published, "--checkpoint", report)


def _decoder_path(job: Job, variant: Variant, report: Report) -> Path | None:
    """The second file; None where the first holds the decoder too."""
    option = "--decoder-checkpoint"
    if variant.decoder is None:
        if job.decoder_checkpoint is not None:
            raise RequestError(f"{variant.name} is published in one file: leave out {option}")
        return None
    return job.decoder_checkpoint or _fetch(variant.name, variant.decoder.published, option, report)


def _fetch(variant: str, published: Published, option: str, report: Report) -> Path:
    from exporter.checkpoints.download import fetch

    name, shown = published.file, -1

    def progress(received: int, total: int | None) -> None:
        nonlocal shown
        step = 10 * received // total if total else received // 50_000_000
        if step != shown:
            shown = step
            of = f" of {total / 1e6:.0f}" if total else ""
            report(f"{variant}: downloading {name}: {received / 1e6:.0f}{of} MB")

    return fetch(published, None, progress, option)


def _prepare(variant: Variant, path: Path, decoder_path: Path | None) -> tuple[nn.Module, Source]:
    from exporter.checkpoints.fit import load_strict
    from exporter.checkpoints.reading import read_checkpoint

    checkpoint = read_checkpoint(path)
    decoder = read_checkpoint(decoder_path) if decoder_path is not None else None
    network, layout = load_strict(variant, checkpoint, decoder)
    source = Source(
        repository=variant.repository,
        paper=variant.paper,
        checkpoint=path.name,
        sha256=checkpoint.sha256,
        layout=layout.name,
        decoder_checkpoint=decoder.path.name if decoder is not None else "",
        decoder_sha256=decoder.sha256 if decoder is not None else "",
    )
    return network, source


def _record(job: Job, variant: Variant, graphs: tuple[Graph, ...]) -> Arrays:
    from exporter.goldens import record, record_alone

    if variant.one_graph:
        return record_alone(graphs[0], variant.drawn_prompts)
    return record(graphs, prompt_rule(job, variant), mask_rule(job, variant))


def _draft(job: Job, variant: Variant, target: Target, source: Source) -> Manifest:
    """The manifest before anything is lowered: all that the job alone decides."""
    versions = {
        "sam-export": exporter.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    return Manifest(
        schema_version=SCHEMA_VERSION,
        variant=variant.name,
        family=variant.family,
        target=target.name,
        precision=job.precision,
        platform=target.platform(job.options),
        licence=variant.licence,
        source=source,
        graphs=(),
        preprocess=target.preprocess(variant.preprocess),
        prompts=None if variant.one_graph else prompt_rule(job, variant),
        mask=mask_rule(job, variant),
        parity=(),
        tools=versions | target.versions(),
        files={},
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        detections=variant.detections,
        drawn_prompts=variant.drawn_prompts,
    )


def prompt_rule(job: Job, variant: Variant) -> PromptRule:
    """How prompts fill the slots of the job's decoder."""
    return PromptRule(
        job.batch,
        job.slots or DEFAULT_SLOTS,
        LABELS,
        pad_without_box=variant.pad_without_box,
        pad_with_box=variant.pad_with_box,
        most_slots=variant.most_slots,
    )


def _already_there(job: Job, draft: Manifest) -> Bundle | None:
    """The bundle of this very job, if it stands where it should, whole."""
    folder = job.folder(draft.target)
    if job.force or not folder.exists():
        return None
    if not (folder / MANIFEST).is_file():
        raise RequestError(f"{folder} is in the way and no bundle: move it, or change --output")
    try:
        bundle = open_bundle(folder)
    except BundleError as error:
        raise RequestError(f"{error}; or give --force to replace it") from None
    made = dataclasses.replace(bundle.manifest, graphs=(), parity=(), files={}, created="")
    if made != dataclasses.replace(draft, created=""):
        raise RequestError(
            f"{folder} holds a different bundle: give --force to replace it, or another --output"
        )
    return bundle


def _write(
    job: Job,
    target: Target,
    draft: Manifest,
    graphs: Sequence[Graph],
    goldens: Arrays,
    report: Report,
) -> Bundle:
    final = job.folder(target.name)
    with staging(final, force=job.force) as folder, interruptible(folder / LOG):
        files = []
        for graph in graphs:
            report(f"{final.name}: lowering {graph.spec.name}")
            files.append(_lower(job, target, graph, folder))
        np.savez_compressed(folder / GOLDENS, allow_pickle=False, **goldens)
        unchecked = dataclasses.replace(draft, graphs=tuple(files))
        (folder / MANIFEST).write_text(unchecked.to_json(), encoding="utf-8")
        report(f"{final.name}: running the lowered graphs against torch")
        figures = _check(folder, final.name, job.judge)
        seal(folder, dataclasses.replace(unchecked, parity=figures))
    return open_bundle(final)


def _lower(job: Job, target: Target, graph: Graph, folder: Path) -> GraphFile:
    log = folder / LOG
    try:
        with interruptible(log), quiet(log):
            file = target.lower(graph, job.precision, folder, job.options)
            return dataclasses.replace(file, multiply_accumulates=multiply_accumulates(graph))
    except (OSError, MemoryError, SamExportError):
        raise
    except Exception as error:
        first = (str(error).splitlines() or [""])[0][:200]
        with log.open("a", encoding="utf-8") as stream:
            traceback.print_exc(file=stream)
        raise LoweringError(
            f"{target.name} could not lower {graph.spec.name}: {type(error).__name__}: {first}; "
            f"the toolkit's log is {log}"
        ) from error


def _check(folder: Path, name: str, judge: Callable[[str], None]) -> tuple[Figure, ...]:
    """Parity in a process of its own; `judge` hears of figures that miss their floors."""
    command = [sys.executable, "-m", PARITY_MODULE, str(folder), "--json"]
    environment = os.environ | {"ORT_DISABLE_TELEMETRY": "1"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    lines = ran.stdout.strip().splitlines()
    if not lines:
        last = (ran.stderr.strip().splitlines() or [f"exit status {ran.returncode}"])[-1]
        judge(f"{name}: the check did not finish: {last}")
        return ()
    answer: dict[str, Any] = json.loads(lines[-1])
    figures = tuple(parse(Figure, f, f"figures[{i}]") for i, f in enumerate(answer["figures"]))
    if answer["missed"]:
        judge(f"{name}: {'; '.join(answer['missed'])}; nothing was written")
    return figures
