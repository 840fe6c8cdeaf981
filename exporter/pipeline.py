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
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import exporter
from exporter.bundle import (
    GOLDENS,
    LOG,
    MANIFEST,
    Bundle,
    open_bundle,
    seal,
    staging,
)
from exporter.errors import BundleError, LoweringError, ParityError, RequestError, SamExportError
from exporter.manifest import (
    SCHEMA_VERSION,
    Figure,
    GraphFile,
    Manifest,
    PromptRule,
    Source,
    parse,
)
from exporter.precision import load_precision
from exporter.progress import Report, interruptible, quiet, silent
from exporter.prompts import LABELS
from exporter.targets import Options, Target, load_target
from exporter.variants import Variant, load_variant

if TYPE_CHECKING:
    from exporter.goldens import Goldens
    from exporter.graphs import Graph

PARITY_MODULE = "runtimes.parity"
"""Run by name in a process of its own: its memory returns, and imports keep flowing one way."""


@dataclass(frozen=True)
class Job:
    """Everything an export depends on; equal jobs make equal bundles.

    Attributes:
        variant: a name of `sam-export --list`.
        targets: formats, each its own bundle.
        precision: `fp32` or `fp16`.
        checkpoint: the file or folder; None for the published or embedded one.
        output: folder the bundles go into.
        batch: prompt sets in one decoder call (B).
        slots: slots of a prompt set (N).
        options: what only some targets read.
        force: replace a different bundle that is already there.
    """

    variant: str
    targets: tuple[str, ...]
    precision: str
    checkpoint: Path | None
    output: Path
    batch: int = 1
    slots: int = 8
    options: Options = field(default_factory=Options)
    force: bool = False

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
    precision = load_precision(job.precision).name
    targets = [load_target(name) for name in job.targets]
    for target in targets:
        target.require(precision)
    checkpoint = _checkpoint_path(job, variant, report)

    report(f"{variant.name}: reading {checkpoint.name}")
    graphs, source = _prepare(job, variant, checkpoint)
    drafts = [_draft(job, variant, target, source) for target in targets]
    done = {d.target: b for d in drafts if (b := _already_there(job, d)) is not None}
    if len(done) == len(drafts):
        return list(done.values())

    from exporter.goldens import record

    report(f"{variant.name}: recording goldens in torch")
    goldens = record(graphs, drafts[0].prompts, variant.mask)
    bundles = []
    for target, draft in zip(targets, drafts, strict=True):
        ready = done.get(target.name)
        bundles.append(ready or _write(job, target, draft, graphs, goldens, report))
    return bundles


def _checkpoint_path(job: Job, variant: Variant, report: Report) -> Path:
    if job.checkpoint is not None:
        return job.checkpoint
    if not variant.published.url:
        from exporter.demo.network import WEIGHTS

        return WEIGHTS
    from exporter.download import fetch

    name, shown = variant.published.file, -1

    def progress(received: int, total: int | None) -> None:
        nonlocal shown
        step = 10 * received // total if total else received // 50_000_000
        if step != shown:
            shown = step
            of = f" of {total / 1e6:.0f}" if total else ""
            report(f"{variant.name}: downloading {name}: {received / 1e6:.0f}{of} MB")

    return fetch(variant.published, None, progress)


def _prepare(job: Job, variant: Variant, path: Path) -> tuple[tuple[Graph, ...], Source]:
    from exporter.checkpoint import load_strict, read_checkpoint
    from exporter.graphs import split
    from exporter.models.layers import freeze

    checkpoint = read_checkpoint(path)
    sam, layout = load_strict(variant, checkpoint)
    freeze(sam)
    source = Source(
        repository=variant.repository,
        paper=variant.paper,
        checkpoint=path.name,
        sha256=checkpoint.sha256,
        layout=layout.name,
    )
    return split(sam, variant, job.batch, job.slots), source


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
        prompts=PromptRule(
            job.batch, job.slots, LABELS, pad_without_box=True, pad_with_box=variant.pad_with_box
        ),
        mask=variant.mask,
        parity=(),
        tools=versions | target.versions(),
        files={},
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
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
    goldens: Goldens,
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
        report(f"{final.name}: running both graphs against torch")
        figures = _check(folder, final.name)
        seal(folder, dataclasses.replace(unchecked, parity=figures))
    return open_bundle(final)


def _lower(job: Job, target: Target, graph: Graph, folder: Path) -> GraphFile:
    log = folder / LOG
    try:
        with interruptible(log), quiet(log):
            return target.lower(graph, job.precision, folder, job.options)
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


def _check(folder: Path, name: str) -> tuple[Figure, ...]:
    """Parity in a process of its own. ParityError if a figure misses its floor."""
    command = [sys.executable, "-m", PARITY_MODULE, str(folder), "--json"]
    environment = os.environ | {"ORT_DISABLE_TELEMETRY": "1"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    lines = ran.stdout.strip().splitlines()
    if not lines:
        last = (ran.stderr.strip().splitlines() or [f"exit status {ran.returncode}"])[-1]
        raise ParityError(f"{name}: the check did not finish: {last}")
    answer: dict[str, Any] = json.loads(lines[-1])
    figures = tuple(parse(Figure, f, f"figures[{i}]") for i, f in enumerate(answer["figures"]))
    if answer["missed"]:
        raise ParityError(f"{name}: {'; '.join(answer['missed'])}; nothing was written")
    return figures
