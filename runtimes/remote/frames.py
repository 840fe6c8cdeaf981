"""A tracked frame as work for a device: the image's graphs once, then those of each object.

    image_encoder -> memory_query -> then for each object, with a bank of its own:
    memory_attention -> mask_decoder -> memory_encoder -> back to the bank

What is the host's in `runtimes.tracker` and takes time is done by the runner as well: the mask is
chosen by predicted IoU, the bank moves on by a frame. The object is there on every frame.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from exporter.bundle.folder import Bundle
from exporter.bundle.goldens import Goldens
from exporter.bundle.layouts import Array, to_layout
from exporter.bundle.manifest import GraphFile
from exporter.bundle.rules import LABELS, MaskRule
from exporter.bundle.tensors import GraphSpec
from exporter.bundle.video import FULL, MEMORY_ATTENTION, VideoRule
from runtimes.frames import frame_count
from runtimes.remote.job import (
    FRAME,
    Best,
    Given,
    GraphJob,
    Kept,
    Library,
    Link,
    RunnerCase,
    RunnerJob,
)
from runtimes.remote.plans import DevicePlan, Draft, Setting, links, require_same
from runtimes.tracking.graphs import DECODER, ENCODER, MEMORY_ENCODER, MEMORY_QUERY, video_rule

ONCE = (ENCODER, MEMORY_QUERY)
EACH = (MEMORY_ATTENTION, DECODER, MEMORY_ENCODER)
MEMORIES, POINTERS = "memories", "object_pointers"


def frame_plan(bundle: Bundle, library: Library, setting: Setting, objects: int) -> DevicePlan:
    """Track objects from frame to frame, every slot of their banks filled.

    Args:
        bundle: with a memory.
        library: the runtime on the device.
        setting: how often (see `frame_count`), and how long it is warmed up.
        objects: at least one.

    Raises:
        BundleError: it has no memory, its goldens have no full bank, or two of its graphs hand a
            tensor on in different forms.
    """
    rule, draft = video_rule(bundle), Draft(bundle, bundle.goldens())
    known = {graph.spec.name for graph in bundle.manifest.graphs}
    jobs: list[GraphJob] = []
    for name in (name for name in (*ONCE, *EACH) if name in known):
        graph = bundle.manifest.graph(name)
        given = _inputs(draft, graph, jobs, bundle.manifest.mask, rule)
        jobs.append(draft.entry(graph, (RunnerCase("frame", given),)))
    job = RunnerJob(
        mode=FRAME,
        runtime=library.runtime,
        library=library.file,
        version=library.version,
        graphs=tuple(jobs),
        repeat=EACH,
        objects=objects,
        kept=_kept(bundle.manifest.mask, rule),
        **{**vars(setting), "runs": frame_count(setting.runs, objects)},
    )
    return DevicePlan(job, draft.files)


def frame_arrays(goldens: Goldens, spec: GraphSpec, rule: VideoRule) -> dict[str, Array]:
    """Make what a graph of a tracked frame is given from outside: canonical arrays by name.

    A picture and a full bank of the goldens, their prompt for a frame that has none, and no mask
    from before.

    Raises:
        BundleError: the goldens have no full bank.
    """
    if spec.name == ENCODER:
        return dict(goldens.inputs(spec, goldens.cases(ENCODER)[0]))
    if spec.name == MEMORY_ATTENTION:
        bank = {name: goldens.expected(spec, FULL, name) for name in (MEMORIES, POINTERS)}
        return {**bank, **_ages(rule)}
    made: dict[str, Array] = {t.name: np.zeros(t.canonical_shape, np.float32) for t in spec.inputs}
    if spec.name == DECODER:
        made["point_labels"][:] = LABELS["empty"]
        made["point_labels"][:, : rule.padding_points] = LABELS["not_a_point"]
    if spec.name == MEMORY_ENCODER:
        made["object_present"] = np.ones(1, np.float32)
    return made


def _inputs(
    draft: Draft, graph: GraphFile, earlier: list[GraphJob], mask: MaskRule, rule: VideoRule
) -> dict[str, Given]:
    spec = graph.spec
    given: dict[str, Given] = {**links(graph, earlier)}
    if spec.name == DECODER:
        given["image_embeddings"] = _conditioned(spec, earlier)
    if spec.name == MEMORY_ENCODER:
        given["mask_logits"] = _best("low_res_masks", mask)
    own = [tensor for tensor in spec.inputs if tensor.name not in given]
    arrays = frame_arrays(draft.goldens, spec, rule)
    return given | {t.name: draft.tensor(to_layout(arrays[t.name], t)) for t in own}


def _conditioned(spec: GraphSpec, earlier: list[GraphJob]) -> Link:
    """What memory attention gives stands for the image's embeddings."""
    name = "conditioned_embeddings"
    outputs = (t for job in earlier for t in job.spec.outputs if t.name == name)
    taken = next(t for t in spec.inputs if t.name == "image_embeddings")
    require_same(spec, taken, MEMORY_ATTENTION, replace(next(outputs), name=taken.name))
    return Link(MEMORY_ATTENTION, name)


def _best(output: str, mask: MaskRule) -> Best:
    return Best(DECODER, output, "iou_predictions", mask.multi)


def _kept(mask: MaskRule, rule: VideoRule) -> tuple[Kept, ...]:
    memory, pointer = _firsts(rule)
    return (
        Kept(MEMORY_ATTENTION, MEMORIES, memory, Link(MEMORY_ENCODER, "memory")),
        Kept(MEMORY_ATTENTION, POINTERS, pointer, _best(POINTERS, mask)),
        Kept(MEMORY_ATTENTION, "memory_age", memory),
        Kept(MEMORY_ATTENTION, "pointer_age", pointer),
    )


def _firsts(rule: VideoRule) -> tuple[int, int]:
    """Find the first slots of tracked frames, behind prompted ones: of memories, of pointers."""
    slots = rule.memory_slots, rule.pointer_slots
    first, second = (min(rule.prompted_slots, each - 1) for each in slots)
    return first, second


def _ages(rule: VideoRule) -> dict[str, Array]:
    """Ages of a full bank: prompted frames, then tracked ones, the oldest first."""
    memory, pointer = _firsts(rule)
    memories = [0.0] * memory + list(range(rule.memory_slots - memory, 0, -1))
    back = rule.pointer_slots - pointer
    pointers = np.array([back + 1] * pointer + list(range(back, 0, -1)), np.float32)
    return {
        "memory_age": np.array([memories], np.float32),
        "pointer_age": (pointers / rule.pointer_scale)[None].astype(np.float32),
    }
