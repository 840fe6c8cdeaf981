"""Everything of a picture as work for a device: its graphs once, then every prompt of a grid."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from exporter.bundle.flow import order_graphs, repeated_graphs
from exporter.bundle.folder import Bundle
from exporter.bundle.layouts import Array, to_layout
from exporter.bundle.manifest import Manifest
from exporter.bundle.preprocess import Bytes, Frame, image_input, resized_size
from exporter.bundle.prompts import Prompts, pack
from exporter.bundle.rules import PromptRule
from exporter.bundle.tensors import TensorSpec
from exporter.errors import RequestError
from runtimes.everything.settings import SAM2, Settings
from runtimes.everything.steps.grids import point_grid
from runtimes.remote.job import (
    EVERYTHING,
    Gate,
    GraphJob,
    Library,
    Link,
    RunnerCase,
    RunnerJob,
    Sweep,
)
from runtimes.remote.plans import DevicePlan, Draft, Setting, links
from runtimes.remote.report import EverythingRun

IOU = "iou_predictions"
CLICKS = ("point_coords", "point_labels")


@runtime_checkable
class AsksEverything(Protocol):
    """A `runtimes.device.Bench` whose runner asks for everything."""

    def run_everything(self, bundle: Bundle, rgb: Bytes, side: int) -> EverythingRun:
        """Encode a picture (H, W, 3), and ask for side x side points of it."""
        ...


def everything_plan(
    bundle: Bundle, library: Library, setting: Setting, rgb: Bytes, side: int
) -> DevicePlan:
    """Encode a picture, then ask for each point of a grid.

    If predicted IoUs come from a graph before the one that makes masks, that one runs for prompts
    alone of which a mask passes the published threshold, as in `runtimes.everything`.

    Args:
        bundle: with an encoder and a decoder with prompt slots.
        library: the runtime on the device.
        setting: its `runs` are how often all of it is done.
        rgb: (H, W, 3) uint8.
        side: points a side of the grid.

    Raises:
        RequestError: the bundle takes no clicks on an encoded picture.
    """
    rule, draft = click_rule(bundle), Draft(bundle, bundle.goldens())
    image, frame = image_input(rgb, bundle.manifest.preprocess)
    rows = _rows(rule, frame, side)
    given: dict[str, Array] = {"image": image, "resized_size": resized_size(frame)}
    given |= {name: rows[name][0] for name in CLICKS}
    jobs: list[GraphJob] = []
    for graph in order_graphs(bundle.manifest.graphs):
        fed = links(graph, jobs)
        own = [tensor for tensor in graph.spec.inputs if tensor.name not in fed]
        inputs: dict[str, Any] = {t.name: draft.tensor(_own(given, t)) for t in own}
        jobs.append(draft.entry(graph, (RunnerCase("everything", inputs | fed),)))
    repeat = [job.spec for job in repeated_graphs(jobs)]
    sweeps = tuple(
        Sweep(spec.name, tensor.name, draft.tensor(rows[tensor.name]))
        for spec in repeat
        for tensor in spec.inputs
        if tensor.name in CLICKS
    )
    job = RunnerJob(
        mode=EVERYTHING,
        runtime=library.runtime,
        library=library.file,
        version=library.version,
        graphs=tuple(jobs),
        repeat=tuple(spec.name for spec in repeat),
        prompts=len(rows[CLICKS[0]]),
        sweeps=sweeps,
        gates=_gates(bundle.manifest, jobs, rule),
        **vars(setting),
    )
    return DevicePlan(job, draft.files)


def click_rule(bundle: Bundle) -> PromptRule:
    """Return how clicks fill the slots. RequestError if there are none."""
    rule = bundle.manifest.prompts
    if rule is None or bundle.manifest.video is not None:
        raise RequestError(
            f"{bundle.path.name} takes no clicks on an encoded picture: its time for everything is "
            "that of its graphs, without --mode"
        )
    return rule


def _rows(rule: PromptRule, frame: Frame, side: int) -> dict[str, Array]:
    """Make the slots of each call (calls, B, N, 2) and (calls, B, N): B clicks a call."""
    points = point_grid(side) * np.array(frame.original)
    packed = [pack(Prompts(((x, y),), (1,)), frame, rule) for x, y in points.tolist()]
    packed += [packed[-1]] * (-len(packed) % rule.batch)
    coords, labels = (np.concatenate(parts) for parts in zip(*packed, strict=True))
    calls = len(packed) // rule.batch
    return {
        CLICKS[0]: coords.reshape(calls, rule.batch, *coords.shape[1:]),
        CLICKS[1]: labels.reshape(calls, rule.batch, *labels.shape[1:]),
    }


def _own(given: dict[str, Array], tensor: TensorSpec) -> Array:
    """Lay an input out as its graph takes it; without an earlier mask, its inputs are zeros."""
    if tensor.name not in given:
        zeros: npt.NDArray[Any] = np.zeros(tensor.shape, tensor.dtype)
        return zeros
    return to_layout(given[tensor.name], tensor)


def _gates(manifest: Manifest, jobs: list[GraphJob], rule: PromptRule) -> tuple[Gate, ...]:
    """Say when masks are worth their graph: it comes after the one that rates them."""
    rated = [job.spec for job in jobs if any(out.name == IOU for out in job.spec.outputs)]
    makes = jobs[-1].spec
    if not rated or rated[0].name == makes.name:
        return ()
    (tokens,) = (out.shape[-1] for out in rated[0].outputs if out.name == IOU)
    rows = range(rule.batch)
    places = tuple(row * tokens + token for row in rows for token in manifest.mask.multi)
    # As `runtimes.everything.bundles`: SAM 2's predictor is the one that pads a box as well.
    least = SAM2["pred_iou_thresh"] if rule.pad_with_box else Settings.pred_iou_thresh
    return (Gate(makes.name, Link(rated[0].name, IOU), float(np.float32(least)), places),)
