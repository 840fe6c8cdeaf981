"""What an order's graphs are run on in torch: goldens, and samples if the precision wants them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from exporter.bundle.rules import DrawnPrompts, PromptRule
from exporter.job import Order
from exporter.progress import Progress
from exporter.variants import Drawn

if TYPE_CHECKING:
    from exporter.bundle.manifest import Manifest
    from exporter.compensation import Compensation
    from exporter.evaluation import Asked
    from exporter.goldens import Arrays
    from exporter.graphs import Graph
    from exporter.samples import Samples


def record_goldens(order: Order, graphs: Sequence[Graph], report: Progress) -> Arrays:
    """Run the graphs in torch on the golden inputs."""
    from exporter.goldens import record

    report(f"{order.variant.name}: recording goldens in torch")
    return record(graphs, rule_of(order), order.mask)


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
    calibrated = tuple(g.spec.name for g in graphs if order.precision_of(g.spec).calibrated)
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
    return ask_torch(order.judged, graphs, plain, report)
