"""The order of a bundle's graphs, and which output feeds which input, from names alone.

    image -> [image_encoder] -> image_embeddings -> [mask_decoder] -> low_res_masks
                   point_coords, point_labels, ... -------^

An output feeds every input of the same name in a later graph. Graphs that run once an image come
first, then those that run once a prompt, then those that run once a frame. What a prompt's graph
gives reaches a frame's graph through the host, which chooses and keeps it: that is no feed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, get_args

from exporter.bundle.tensors import GraphSpec, Runs, TensorSpec

_RANK = {runs: rank for rank, runs in enumerate(get_args(Runs))}


class HasSpec(Protocol):
    """A graph in any form: torch, a file, a job for a runner."""

    @property
    def spec(self) -> GraphSpec:
        """Its inputs and outputs."""
        ...


G = TypeVar("G", bound=HasSpec)


@dataclass(frozen=True)
class Feed:
    """The source of an input: `output` of an earlier graph called `graph`."""

    graph: str
    output: TensorSpec


def order_graphs(graphs: Iterable[G]) -> tuple[G, ...]:
    """Sort graphs so that each comes after its feeders; otherwise keep the given order."""
    waiting = sorted(graphs, key=lambda graph: _RANK[graph.spec.runs])
    ordered: list[G] = []
    while waiting:
        ready = (graph for graph in waiting if not _fed_by(graph, waiting))
        following = next(ready, waiting[0])  # in a ring, each feeds the next run of another
        waiting.remove(following)
        ordered.append(following)
    return tuple(ordered)


def _fed_by(graph: HasSpec, others: Iterable[HasSpec]) -> bool:
    taken = {tensor.name for tensor in graph.spec.inputs}
    return any(
        other is not graph
        and other.spec.runs == graph.spec.runs
        and any(tensor.name in taken for tensor in other.spec.outputs)
        for other in others
    )


def feeds(graph: HasSpec, earlier: Iterable[HasSpec]) -> dict[str, Feed]:
    """Map the inputs that earlier graphs give to their sources.

    Args:
        graph: takes the inputs.
        earlier: graphs that ran before it, in order; the last one to give a name wins.
    """
    taken = {tensor.name for tensor in graph.spec.inputs}
    return {
        tensor.name: Feed(other.spec.name, tensor)
        for other in earlier
        for tensor in other.spec.outputs
        if tensor.name in taken and not (graph.spec.runs == "frame" and other.spec.runs == "prompt")
    }


def of_masks(graphs: Iterable[G]) -> tuple[G, ...]:
    """Sort the graphs that a prompt's mask takes: not the one that finds everything."""
    return tuple(graph for graph in order_graphs(graphs) if graph.spec.runs != "panoptic")


def repeated_graphs(graphs: Sequence[G]) -> tuple[G, ...]:
    """Find the graphs that answer each further prompt on an encoded image, in order.

    Empty if no graph runs once an image: every prompt takes all graphs.
    """
    if not any(graph.spec.runs == "image" for graph in graphs):
        return ()
    return tuple(graph for graph in order_graphs(graphs) if graph.spec.runs == "prompt")
