"""What an order's graphs are run on in torch: goldens, and samples if the precision wants them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from exporter.bundle.goldens import GOLDENS
from exporter.bundle.rules import DrawnPrompts, PromptRule
from exporter.bundle.video import HOST_DATA, Stored, VideoRule
from exporter.bundle.volume import VolumeRule
from exporter.job import Order
from exporter.progress import Progress
from exporter.variants import Drawn, VolumeSlots

if TYPE_CHECKING:
    from torch import nn

    from exporter.bundle.manifest import Manifest
    from exporter.bundle.preprocess import Floats
    from exporter.compensation import Compensation
    from exporter.evaluation import Asked
    from exporter.goldens import Arrays
    from exporter.graphs import Graph
    from exporter.samples import Samples


def record_goldens(order: Order, graphs: Sequence[Graph], report: Progress) -> Arrays:
    """Run the graphs in torch on the golden inputs."""
    from exporter.goldens import record

    report(f"{order.variant.name}: recording goldens in torch")
    if order.prompts is not None and volume_of(order) is not None:
        from exporter.volume_goldens import record_volume

        return record_volume(graphs, order.prompts, order.mask)
    goldens = record(without_memory(order, graphs), rule_of(order), order.mask)
    if order.variant.video is not None:
        from exporter.memory_goldens import record_memory

        goldens |= record_memory(graphs, goldens, order.mask, order.variant.video)
    return goldens


def video_of(order: Order) -> VideoRule | None:
    """How the bundle's host follows objects; it keeps memories as exactly as the graphs compute."""
    rule = order.variant.video
    stored: Stored = "float32" if order.precision.weights == "float32" else "float16"
    return None if rule is None else dataclasses.replace(rule, stored=stored)


def volume_of(order: Order) -> VolumeRule | None:
    """How the bundle's host segments volumes; None if it is for pictures."""
    prompting = order.variant.prompting
    return prompting.rule if isinstance(prompting, VolumeSlots) else None


def store_arrays(folder: Path, goldens: Arrays, host_data: Mapping[str, Floats]) -> None:
    """Write a bundle's goldens, and what the host of a video needs of the network, if it has one.

    Sorted: equal jobs give equal bytes, whatever order sets came in.
    """
    np.savez_compressed(folder / GOLDENS, allow_pickle=False, **dict(sorted(goldens.items())))
    if host_data:
        np.savez(folder / HOST_DATA, allow_pickle=False, **dict(sorted(host_data.items())))


def without_memory(order: Order, graphs: Sequence[Graph]) -> Sequence[Graph]:
    """Leave out the graphs that take what earlier frames left: no single picture gives that."""
    if order.variant.video is None:
        return graphs
    return [graph for graph in graphs if graph.spec.runs != "frame"]


def record_video(
    manifest: Manifest, graphs: Sequence[Graph], host_data: Mapping[str, Floats], report: Progress
) -> Arrays:
    """Follow an object through some frames in torch; nothing if the bundle is for pictures."""
    if manifest.video is None:
        return {}
    from exporter.chain import record_chain
    from exporter.goldens import run

    by_name = {graph.spec.name: graph for graph in graphs}
    report(f"{manifest.variant}: recording a video in torch")
    pointer = host_data["no_object_pointer"]
    return record_chain(lambda name, given: run(by_name[name], given), manifest, pointer)


def host_data_of(order: Order, network: nn.Module) -> dict[str, Floats]:
    """Take what the host of a video needs off a frozen network; empty for pictures."""
    if order.variant.video is None:
        return {}
    from exporter.host_data import host_data

    return host_data(network)


def rule_of(order: Order) -> PromptRule | DrawnPrompts | None:
    """How prompts reach the graphs."""
    drawn = order.variant.prompting
    return drawn.rule if isinstance(drawn, Drawn) else order.prompts


def samples_of(
    order: Order, graphs: Sequence[Graph], report: Progress
) -> AbstractContextManager[Samples | None]:
    """Record the pictures that the precision is calibrated and judged on; None if it is not."""
    from exporter.samples import Sampling, record_samples

    precision = order.precision
    if not precision.judged:
        return nullcontext()
    graphs = without_memory(order, graphs)
    used = any(target.calibrates(precision, order.options) for target in order.targets)
    rounded = [graph for graph in graphs if used and order.precision_of(graph.spec).calibrated]
    calibrated = tuple(graph.spec.name for graph in rounded)
    if calibrated and order.chosen is None:
        report("calibrating on procedural scenes; --calibration DIR takes pictures of your own")
    sampling = Sampling(
        rule_of(order), order.mask, order.variant.preprocess, calibrated, order.ranges, order.chosen
    )
    return record_samples(graphs, sampling, report)


def compensations_of(
    order: Order, graphs: Sequence[Graph], samples: Samples | None
) -> dict[str, Compensation]:
    """Prepare the rounding of weights, for the graphs whose precision has it."""
    from exporter.compensation import Compensation

    return {
        graph.spec.name: Compensation(graph, samples.calibration.files)
        for graph in graphs
        if samples is not None and order.precision_of(graph.spec).compensates
    }


def asked_of(
    order: Order, graphs: Sequence[Graph], draft: Manifest, report: Progress
) -> AbstractContextManager[Asked | None]:
    """Ask torch about the user's pictures; None if none were given."""
    if order.judged is None:
        return nullcontext()
    from exporter.evaluation import ask_torch

    plain = dataclasses.replace(draft, preprocess=order.variant.preprocess)
    return ask_torch(order.judged, without_memory(order, graphs), plain, report)
