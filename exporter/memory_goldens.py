"""Goldens of the graphs that remember: banks of one scene's own masks, full and with empty slots.

Every mask that the decoder found on the scene becomes a memory, so what the slots hold is what the
network itself puts there. Empty slots hold the rest of them: nothing of it may show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from exporter.bundle.goldens import SHARED, Goldens, key
from exporter.bundle.preprocess import Floats
from exporter.bundle.rules import MaskRule
from exporter.bundle.video import ALONE, FEW, FULL, VideoRule
from exporter.goldens import run
from exporter.graphs import Graph

Arrays = dict[str, npt.NDArray[np.generic]]
DECODER, ENCODER, QUERY = "mask_decoder", "memory_encoder", "memory_query"


def record_memory(
    graphs: Sequence[Graph], goldens: Mapping[str, npt.NDArray[np.generic]], mask: MaskRule,
    rule: VideoRule,
) -> Arrays:  # fmt: skip
    """Run the graphs of frames in torch.

    Args:
        graphs: all of the network's.
        goldens: of those that see one picture: `exporter.goldens.record`.
        mask: the bundle's.
        rule: the bundle's.

    Returns:
        Key -> array, as in `exporter.bundle.goldens`.
    """
    by_name = {graph.spec.name: graph for graph in graphs}
    held = Goldens.of(dict(goldens))
    embeddings = held.expected(by_name["image_encoder"].spec, "scene", "image_embeddings")
    given: dict[str, Floats] = {"image_embeddings": embeddings}
    shared = {ENCODER: given, QUERY: given}
    masks = list(_masks(held, by_name[DECODER], mask))
    cases: dict[str, dict[str, dict[str, Floats]]] = {
        ENCODER: dict(_remembered(masks, rule)),
        QUERY: {"scene": {}},
    }
    query = run(by_name[QUERY], given)
    memories = np.concatenate(
        [
            run(by_name[ENCODER], given | _mask_inputs(each, prompted=at == 0))["memory"]
            for at, (each, _) in enumerate(masks)
        ]
    )
    pointers = np.concatenate([each for _, each in masks])
    for name, graph in by_name.items():
        shapes = {tensor.name: tensor.shape for tensor in graph.spec.inputs}
        if "memories" in shapes:
            shared[name] = query | {
                "memories": _filled(memories, shapes["memories"][1], rule),
                "object_pointers": _filled(pointers, rule.pointer_slots, rule),
            }
            cases[name] = banks(shapes["memories"][1], rule)
    made: Arrays = {}
    for name, common in shared.items():
        made |= {key(name, SHARED, each): array for each, array in common.items()}
        taken = {tensor.name for tensor in by_name[name].spec.inputs}
        for case, inputs in cases[name].items():
            own = {each: array for each, array in inputs.items() if each in taken}
            outputs = run(by_name[name], common | own)
            made |= {key(name, case, each): array for each, array in (own | outputs).items()}
    return made


def banks(slots: int, rule: VideoRule) -> dict[str, dict[str, Floats]]:
    """Name cases of ages: every slot full, some, and as few as a first frame leaves."""
    memory = np.arange(slots, dtype=np.float32)[None] % (rule.memory_frames + 1)
    pointer = np.arange(rule.pointer_slots, dtype=np.float32)[None] / rule.pointer_scale
    found: dict[str, dict[str, Floats]] = {}
    for name, kept in ((FULL, slots), (FEW, max(1, slots // 2)), (ALONE, 1)):
        memory_age, pointer_age = np.full_like(memory, -1), np.full_like(pointer, -1)
        memory_age[:, :kept] = memory[:, :kept]
        most = rule.pointer_slots if name == FULL else kept
        pointer_age[:, :most] = pointer[:, :most]
        found[name] = {"memory_age": memory_age, "pointer_age": pointer_age}
    return found


def _masks(held: Goldens, decoder: Graph, rule: MaskRule) -> Iterator[tuple[Floats, Floats]]:
    """The best mask (h, w) of every prompt, and the pointers (M, C) of its tokens."""
    tokens = list(rule.multi)
    for case in held.cases(DECODER):
        logits = held.expected(decoder.spec, case, "low_res_masks")[0]
        iou = held.expected(decoder.spec, case, "iou_predictions")[0]
        best = tokens[int(iou[tokens].argmax())]
        yield logits[best], held.expected(decoder.spec, case, "object_pointers")[0]


def _mask_inputs(logits: Floats, *, prompted: bool) -> dict[str, Floats]:
    return {
        "mask_logits": logits[None, None],
        "from_prompt": np.full(1, prompted, np.float32),
        "object_present": np.ones(1, np.float32),
    }


def _remembered(
    masks: Sequence[tuple[Floats, Floats]], rule: VideoRule
) -> Iterator[tuple[str, dict[str, Floats]]]:
    first, second = masks[0][0], masks[1][0]
    yield "prompted", _mask_inputs(first, prompted=True)
    yield "tracked", _mask_inputs(second, prompted=False)
    absent = _mask_inputs(np.full_like(first, rule.absent_logit), prompted=False)
    yield "absent", absent | {"object_present": np.zeros(1, np.float32)}


def _filled(values: Floats, slots: int, rule: VideoRule) -> Floats:
    """Repeat values until every slot has one, in the type that hosts keep them in."""
    rounded = values.astype(np.float16).astype(np.float32)
    return np.ascontiguousarray(np.resize(rounded, (slots, *values.shape[1:]))[None])
