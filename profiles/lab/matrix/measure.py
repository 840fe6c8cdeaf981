"""A child process's work: export one job, or inspect the bundle. Heavy imports stay here."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from exporter.bundle.folder import Bundle, read_manifest
from exporter.bundle.manifest import Source
from exporter.job import Job, Place, settle
from exporter.pipeline import export, export_network
from exporter.precision import load_precision
from exporter.progress import Progress
from exporter.variants import Variant, load_variant
from exporter.variants._video import with_memory
from profiles.lab.matrix.facts import facts
from profiles.lab.matrix.jobs import EMBEDDED, FILLED, MatrixJob


def checkpoint_of(variant: Variant, folder: Path | None) -> tuple[Path, ...]:
    """Find the variant's published files in the folder; empty unless all of them are there."""
    published = [variant.published] + ([variant.decoder.published] if variant.decoder else [])
    files = tuple(folder / one.file for one in published) if folder else ()
    return files if all(file.exists() for file in files) else ()


def export_job(
    wanted: MatrixJob,
    output: Path,
    checkpoints: Path | None,
    report: Progress,
    recordings: Path | None = None,
) -> dict[str, Any]:
    """Export and check; missed floors are part of the answer.

    Filled weights say nothing of masks, so no floor of masks is judged on them.

    Args:
        wanted: the export.
        output: folder for the bundle.
        checkpoints: folder with published files, or None.
        report: called with each stage.
        recordings: what torch gave to other rows of the same variant and weights; see
            `profiles.lab.matrix.recordings`.

    Returns:
        `weights`, `seconds` (without the filling), `reused_cpu_s` (processor time of others for
        what was not recorded again), `graphs` (`GraphFile`s), `parity` (`Figure`s) and `missed`:
        the reasons for which `sam-export` would have refused the bundle.
    """
    from profiles.lab.matrix.recordings import recorded_in

    variant = load_variant(wanted.variant)
    files = checkpoint_of(variant, checkpoints)
    variant = with_memory(variant) if wanted.video else variant
    filled = not files and bool(variant.published.url)
    missed: list[str] = []
    tolerant = filled and load_precision(wanted.precision).judged
    job, place = _job(wanted, files), Place(output, force=True, allow_degraded=tolerant)
    with recorded_in(recordings, few=filled) as reused:
        if not filled:
            start = time.perf_counter()
            (bundle,) = export(job, place, report, missed.append)
            weights = " and ".join(file.name for file in files) or EMBEDDED
        else:
            from profiles.lab.matrix.fill import fill

            report(f"{wanted.name}: filling")
            network = fill(variant)
            start = time.perf_counter()
            order, source = settle(job, variant), _source(variant)
            (bundle,) = export_network(order, network, source, place, report, missed.append)
            weights = FILLED
    manifest = bundle.manifest
    return {
        "weights": weights,
        "seconds": round(time.perf_counter() - start + reused.seconds, 1),
        "reused_cpu_s": reused.cpu_s,
        "graphs": [dataclasses.asdict(graph) for graph in manifest.graphs],
        "parity": [dataclasses.asdict(figure) for figure in manifest.parity],
        "missed": missed,
    }


def _job(wanted: MatrixJob, files: tuple[Path, ...]) -> Job:
    return Job(
        (wanted.target,),
        wanted.precision,
        wanted.variant,
        checkpoint=files[0] if files else None,
        decoder_checkpoint=files[1] if files[1:] else None,
        video=wanted.video,
    )


def _source(variant: Variant) -> Source:
    layout = variant.layouts[0].name
    return Source(variant.repository, variant.paper, FILLED, "", layout)


def inspect_bundle(folder: Path) -> dict[str, dict[str, Any]]:
    """Collect `profiles.lab.matrix.facts.facts` of each graph's file."""
    bundle = Bundle(folder, read_manifest(folder))
    graphs = {graph.spec.name: graph for graph in bundle.manifest.graphs}
    return {name: facts(bundle.file(name), graph) for name, graph in graphs.items()}
