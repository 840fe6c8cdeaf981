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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import exporter
from exporter.arithmetic import multiply_accumulates
from exporter.bundle.folder import (
    LOG,
    MANIFEST,
    Bundle,
    open_bundle,
    same_job,
    seal,
    staging,
)
from exporter.bundle.goldens import GOLDENS
from exporter.bundle.manifest import SCHEMA_VERSION, Figure, GraphFile, Manifest, Source
from exporter.bundle.reading import parse
from exporter.checkpoints.obtain import obtain
from exporter.errors import BundleError, LoweringError, ParityError, RequestError, SamExportError
from exporter.job import Job, Order, Place, formats, settle
from exporter.progress import Report, quiet, silent
from exporter.signals import interruptible
from exporter.targets import Target
from exporter.variants import DEFAULT, Detections, Drawn, Variant, load_variant

if TYPE_CHECKING:
    from torch import nn

    from exporter.checkpoints.reading import Checkpoint
    from exporter.goldens import Arrays
    from exporter.graphs import Graph

OnMiss = Callable[[str], None]
"""Called with the floors that a bundle misses; it raises to refuse the bundle."""

PARITY_MODULE = "runtimes.parity"
"""Run by name in a process of its own: its memory returns, and imports keep flowing one way."""


def refuse(reason: str) -> None:
    """What a missed floor means for an export: ParityError, and nothing is written."""
    raise ParityError(reason)


def export(
    job: Job, place: Place | None = None, report: Report = silent, on_miss: OnMiss = refuse
) -> list[Bundle]:
    """Read, split, record goldens; then lower, check and write one bundle a target.

    Args:
        job: what to export.
        place: where to; None for `bundles/` in the working folder.
        report: hears of every stage.
        on_miss: called with missed floors; if it returns, the bundle is written all the same.

    Raises:
        RequestError: the job cannot be done as asked; nothing was written.
        ExportError: lowering failed or a floor was missed; no bundle was written.
    """
    checkpoint: Checkpoint | Path | None = job.checkpoint
    if job.variant is None and job.checkpoint is not None:
        formats(job)  # a wrong name is told before a large file is read
        variant, checkpoint = _recognise(job.checkpoint, report)
    else:
        variant = load_variant(job.variant or DEFAULT)
    order = settle(job, variant)
    network, source = obtain(variant, checkpoint, job.decoder_checkpoint, report)
    return export_network(order, network, source, place, report, on_miss)


def export_network(
    order: Order,
    network: nn.Module,
    source: Source,
    place: Place | None = None,
    report: Report = silent,
    on_miss: OnMiss = refuse,
) -> list[Bundle]:
    """What `export` does once the weights are in the network, wherever they came from.

    Args:
        order: the settled job.
        network: the variant's, as its layout builds it; it is frozen here.
        source: for the manifest.
        place: see `export`.
        report: see `export`.
        on_miss: see `export`.
    """
    from exporter.graphs import graphs_of
    from exporter.models.layers import freeze

    place = place or Place()
    graphs = graphs_of(freeze(network), order.variant, order.prompts)
    works = [
        Work(order, target, _draft(order, target, source), place, report, on_miss)
        for target in order.targets
    ]
    finished = [work.finished() for work in works]
    goldens = _record(order, graphs, report) if None in finished else {}
    pairs = zip(works, finished, strict=True)
    return [bundle or work.write(graphs, goldens) for work, bundle in pairs]


def _recognise(path: Path, report: Report) -> tuple[Variant, Checkpoint]:
    """The variant that a checkpoint fits, and the checkpoint, which is read once."""
    from exporter.checkpoints.reading import read_checkpoint
    from exporter.checkpoints.recognise import recognise

    checkpoint = read_checkpoint(path)
    variant = load_variant(recognise(checkpoint))
    report(f"{variant.name} fits {path}")
    return variant, checkpoint


def _record(order: Order, graphs: Sequence[Graph], report: Report) -> Arrays:
    from exporter.goldens import record

    report(f"{order.variant.name}: recording goldens in torch")
    drawn = order.variant.prompting
    rule = drawn.rule if isinstance(drawn, Drawn) else order.prompts
    return record(graphs, rule, order.mask)


def _draft(order: Order, target: Target, source: Source) -> Manifest:
    """The manifest before anything is lowered: all that the order alone decides."""
    variant, prompting = order.variant, order.variant.prompting
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
        precision=order.precision.name,
        platform=target.platform(order.options),
        licence=variant.licence,
        source=source,
        graphs=(),
        preprocess=target.preprocess(variant.preprocess),
        prompts=order.prompts,
        mask=order.mask,
        parity=(),
        tools=versions | target.versions(),
        files={},
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        detections=prompting.rule if isinstance(prompting, Detections) else None,
        drawn_prompts=prompting.rule if isinstance(prompting, Drawn) else None,
    )


@dataclass(frozen=True)
class Work:
    """One bundle that is to be made.

    Attributes:
        draft: its manifest before anything is lowered.
    """

    order: Order
    target: Target
    draft: Manifest
    place: Place
    report: Report
    on_miss: OnMiss

    @property
    def folder(self) -> Path:
        """Where the bundle is to stand."""
        return self.place.output / self.order.bundle_name(self.target)

    def finished(self) -> Bundle | None:
        """The finished bundle of the same job, or None.

        Raises:
            RequestError: something else is in the way.
        """
        folder = self.folder
        if self.place.force or not folder.exists():
            return None
        if not (folder / MANIFEST).is_file():
            raise RequestError(f"{folder} is in the way and no bundle: move it, or change --output")
        try:
            bundle = open_bundle(folder)
        except BundleError as error:
            raise RequestError(f"{error}; or give --force to replace it") from None
        if not same_job(bundle.manifest, self.draft):
            raise RequestError(
                f"{folder} holds a different bundle: give --force to replace it, or another "
                "--output"
            )
        return bundle

    def write(self, graphs: Sequence[Graph], goldens: Arrays) -> Bundle:
        """Lower the graphs, check them and seal the bundle."""
        final = self.folder
        with staging(final, force=self.place.force) as folder, interruptible(folder / LOG):
            files = [self._lower(graph, folder) for graph in graphs]
            np.savez_compressed(folder / GOLDENS, allow_pickle=False, **goldens)
            unchecked = dataclasses.replace(self.draft, graphs=tuple(files))
            (folder / MANIFEST).write_text(unchecked.to_json(), encoding="utf-8")
            self.report(f"{final.name}: running the lowered graphs against torch")
            figures = self._check(folder)
            seal(folder, dataclasses.replace(unchecked, parity=figures))
        return open_bundle(final)

    def _lower(self, graph: Graph, folder: Path) -> GraphFile:
        self.report(f"{self.folder.name}: lowering {graph.spec.name}")
        log = folder / LOG
        try:
            with interruptible(log), quiet(log):
                file = self.target.lower(
                    graph, self.order.precision.name, folder, self.order.options
                )
                return dataclasses.replace(file, multiply_accumulates=multiply_accumulates(graph))
        except (OSError, MemoryError, SamExportError):
            raise
        except Exception as error:
            first = (str(error).splitlines() or [""])[0][:200]
            with log.open("a", encoding="utf-8") as stream:
                traceback.print_exc(file=stream)
            raise LoweringError(
                f"{self.target.name} could not lower {graph.spec.name}: {type(error).__name__}: "
                f"{first}; the toolkit's log is {log}"
            ) from error

    def _check(self, folder: Path) -> tuple[Figure, ...]:
        """Parity in a process of its own; `on_miss` hears of figures that miss their floors."""
        command = [sys.executable, "-m", PARITY_MODULE, str(folder), "--json"]
        environment = os.environ | {"ORT_DISABLE_TELEMETRY": "1"}
        ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        lines, name = ran.stdout.strip().splitlines(), self.folder.name
        if not lines:
            last = (ran.stderr.strip().splitlines() or [f"exit status {ran.returncode}"])[-1]
            self.on_miss(f"{name}: the check did not finish: {last}")
            return ()
        answer: dict[str, Any] = json.loads(lines[-1])
        figures = tuple(parse(Figure, f, f"figures[{i}]") for i, f in enumerate(answer["figures"]))
        if answer["missed"]:
            self.on_miss(f"{name}: {'; '.join(answer['missed'])}; nothing was written")
        return figures
