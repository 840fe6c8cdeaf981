"""A real video bundle of 40 KB: the tiny bundle with a memory, and a numpy twin of every graph.

A memory's token is `from_prompt, object_present, the mask in that cell, the picture in that cell`.
Attention adds what the filled slots hold to the picture, so every age, slot and pointer shows in
the mask. A dark frame has no object: its score is negative.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from exporter.bundle.folder import Bundle, open_bundle, seal
from exporter.bundle.manifest import GraphFile, Manifest
from exporter.bundle.rules import MaskRule, Preprocess, Stability
from exporter.bundle.tensors import GraphSpec
from exporter.bundle.video import VideoRule
from tests.unit import tiny_bundle as tiny
from tests.unit.tiny_bundle import LOW, SIDE, SIZE

CELLS, WIDTH = SIDE * SIDE, 4
COLOURS = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
TOKENS = 0.1 * np.arange(1, 5, dtype=np.float32)
DARK = 0.1
PREPROCESS = Preprocess("stretch", SIZE, "pillow_bilinear", (0.0,) * 3, (0.0,) * 3, (1.0,) * 3)
RULE = VideoRule(
    memory_slots=7,
    pointer_slots=16,
    prompted_slots=1,
    memory_frames=6,
    pointer_frames=15,
    pointer_scale=15.0,
    memory_tokens=CELLS,
    memory_width=WIDTH,
    pointer_width=WIDTH,
    grid=SIDE,
    published_memory_slots=7,
    published_pointer_slots=16,
    pointer_time=True,
)
HOST = {
    "no_object_pointer": np.full(WIDTH, -0.5, np.float32),
    "no_memory_embedding": np.array([0.01, 0.02, 0.03], np.float32),
    "mask_downsample_weight": np.linspace(-1, 2, 16, dtype=np.float32).reshape(1, 1, 4, 4),
    "mask_downsample_bias": np.array([0.25], np.float32),
}


def build(folder: Path, rule: VideoRule = RULE, **changes: object) -> Bundle:
    """Write the bundle into a new `folder`, seal and open it."""
    folder.mkdir(parents=True)
    for spec in specs(rule):
        onnx.save(_model(spec), folder / f"{spec.name}.onnx")
    np.savez(folder / rule.host_data, **HOST)
    tiny.store(folder, tiny.goldens(1), tiny.manifest(tiny.Recipe(), folder))
    seal(folder, manifest(folder, rule, **changes))
    return open_bundle(folder)


def manifest(folder: Path, rule: VideoRule = RULE, **changes: object) -> Manifest:
    plain = tiny.manifest(tiny.Recipe(), folder)
    files = [(spec, folder / f"{spec.name}.onnx") for spec in specs(rule)]
    prompts = plain.prompts
    assert prompts is not None
    made = replace(
        plain,
        graphs=tuple(GraphFile(spec, path.name, path.stat().st_size) for spec, path in files),
        preprocess=PREPROCESS,
        prompts=replace(prompts, pad_with_box=True),
        mask=MaskRule(0.0, 0, (1, 2, 3), "bilinear_once", LOW, Stability(0.05, 0.98), 32.0),
        video=rule,
    )
    return replace(made, **changes)


def specs(rule: VideoRule = RULE) -> tuple[GraphSpec, ...]:
    encoder, decoder = tiny.specs(tiny.Recipe())
    embeddings, one = encoder.outputs[0], tiny._tensor
    bank = (
        one("memories", 1, rule.memory_slots, CELLS, WIDTH),
        one("memory_age", 1, rule.memory_slots),
        one("object_pointers", 1, rule.pointer_slots, WIDTH),
        one("pointer_age", 1, rule.pointer_slots),
    )
    seen = (one("object_score_logits", 1, 1), one("object_pointers", 1, 4, WIDTH))
    given = (
        embeddings,
        one("mask_logits", 1, 1, LOW, LOW),
        one("from_prompt", 1),
        one("object_present", 1),
    )
    query = one("query", 1, 3, SIDE, SIDE)
    conditioned = (one("conditioned_embeddings", 1, 3, SIDE, SIDE),)
    return (
        encoder,
        replace(decoder, outputs=(*decoder.outputs, *seen)),
        GraphSpec("memory_encoder", given, (one("memory", 1, CELLS, WIDTH),), "frame"),
        GraphSpec("memory_query", (embeddings,), (query,), "frame"),
        GraphSpec("memory_attention", (query, *bank), conditioned, "frame"),
    )


def twin(name: str, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Any graph in numpy."""
    if name == "image_encoder":
        return {"image_embeddings": tiny.encode(given["image"])}
    if name == "mask_decoder":
        masks, iou = tiny.decode(**given)
        mean = given["image_embeddings"].mean()
        pointers = TOKENS[:, None] + mean * COLOURS
        score = np.full((1, 1), 10 * (mean - DARK), np.float32)
        return {
            "low_res_masks": masks,
            "iou_predictions": iou,
            "object_score_logits": score,
            "object_pointers": pointers[None].astype(np.float32),
        }
    if name == "memory_encoder":
        return {"memory": _remember(**given)}
    if name == "memory_query":
        return {"query": given["image_embeddings"] * np.float32(0.5)}
    return {"conditioned_embeddings": _attend(**given)}


def _remember(image_embeddings, mask_logits, from_prompt, object_present):
    cells = (1 / (1 + np.exp(-mask_logits))).reshape(SIDE, LOW // SIDE, SIDE, LOW // SIDE)
    tokens = np.stack(
        [
            np.broadcast_to(from_prompt, CELLS),
            np.broadcast_to(object_present, CELLS),
            cells.mean(axis=(1, 3)).ravel(),
            image_embeddings.mean(axis=1).ravel(),
        ],
        axis=1,
    )
    return tokens[None].astype(np.float32)


def _attend(query, memories, memory_age, object_pointers, pointer_age):
    filled, pointed = (np.clip(age + 1, 0, 1) for age in (memory_age[0], pointer_age[0]))
    filled, pointed = np.floor(filled), np.floor(pointed)
    held = (memories[0].sum(axis=2) * (filled / (1 + memory_age[0] ** 2))[:, None]).sum(axis=0)
    shown = (object_pointers[0].sum(axis=1) * pointed * (1 + pointer_age[0])).sum()
    grid = 0.05 * held.reshape(1, 1, SIDE, SIDE) + 0.002 * shown
    return (query + grid).astype(np.float32)


class Twin:
    """A loaded graph that is computed in numpy, and keeps what it was given."""

    def __init__(self, name: str, log: list | None = None) -> None:
        self.name, self.log = name, log

    def run(self, inputs):
        if self.log is not None:
            self.log.append((self.name, {key: array.copy() for key, array in inputs.items()}))
        return twin(self.name, dict(inputs))


def _model(spec: GraphSpec) -> onnx.ModelProto:
    if spec.name == "image_encoder":
        return tiny._encoder(spec, tiny.Recipe())
    if spec.name == "mask_decoder":
        return _decoder(spec)
    steps = {
        "memory_encoder": _MEMORY_ENCODER,
        "memory_query": [("Mul", ["image_embeddings", "half"], "query")],
        "memory_attention": _ATTENTION,
    }[spec.name]
    return tiny.onnx_graph(spec, [_node(*step) for step in steps], _CONSTANTS)


def _decoder(spec: GraphSpec) -> onnx.ModelProto:
    plain = tiny._decoder(tiny.specs(tiny.Recipe())[1], tiny.Recipe())
    known = {initial.name for initial in plain.graph.initializer}
    plain.graph.node.extend(_node(*step) for step in _SEEN)
    plain.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in _CONSTANTS.items()
        if name not in known
    )
    plain.graph.output.extend(
        helper.make_tensor_value_info(t.name, onnx.TensorProto.FLOAT, t.shape)
        for t in spec.outputs[2:]
    )
    return plain


def _node(op, inputs, output, attributes=None) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [output], **(attributes or {}))


_CONSTANTS = {
    "half": np.float32(0.5),
    "unit": np.float32(1),
    "nought": np.float32(0),
    "ten": np.float32(10),
    "dark": np.float32(DARK),
    "colours": COLOURS[None, None],
    "tokens": TOKENS[None, :, None],
    "row": np.array([1, 1]),
    "flat": np.array([1, CELLS, 1]),
    "spread": np.ones((1, CELLS, 1), np.float32),
    "plane": np.array([1, 1, SIDE, SIDE]),
    "one_axis": np.array([1]),
    "two_axis": np.array([2]),
    "last": np.array([3]),
    "held_weight": np.float32(0.05),
    "shown_weight": np.float32(0.002),
}
_SEEN = [
    ("ReduceMean", ["image_embeddings"], "average", {"keepdims": 0}),
    ("Reshape", ["average", "row"], "average_row"),
    ("Sub", ["average_row", "dark"], "light"),
    ("Mul", ["light", "ten"], "object_score_logits"),
    ("Mul", ["average", "colours"], "coloured"),
    ("Add", ["coloured", "tokens"], "object_pointers"),
]
_MEMORY_ENCODER = [
    ("Sigmoid", ["mask_logits"], "inside"),
    ("AveragePool", ["inside"], "cells", {"kernel_shape": [4, 4], "strides": [4, 4]}),
    ("Reshape", ["cells", "flat"], "cell_tokens"),
    ("ReduceMean", ["image_embeddings"], "grey", {"axes": [1], "keepdims": 1}),
    ("Reshape", ["grey", "flat"], "grey_tokens"),
    ("Mul", ["spread", "from_prompt"], "prompt_tokens"),
    ("Mul", ["spread", "object_present"], "present_tokens"),
    (
        "Concat",
        ["prompt_tokens", "present_tokens", "cell_tokens", "grey_tokens"],
        "memory",
        {"axis": 2},
    ),
]
_ATTENTION = [
    ("Add", ["memory_age", "unit"], "later"),
    ("Clip", ["later", "nought", "unit"], "clipped"),
    ("Floor", ["clipped"], "filled"),
    ("Mul", ["memory_age", "memory_age"], "square"),
    ("Add", ["square", "unit"], "wane"),
    ("Div", ["filled", "wane"], "weight"),
    ("ReduceSum", ["memories", "last"], "sums"),
    ("Unsqueeze", ["weight", "two_axis"], "slot_weight"),
    ("Unsqueeze", ["slot_weight", "last"], "slot_weight_4d"),
    ("Mul", ["sums", "slot_weight_4d"], "weighted"),
    ("ReduceSum", ["weighted", "one_axis"], "held"),
    ("Reshape", ["held", "plane"], "held_plane"),
    ("Mul", ["held_plane", "held_weight"], "held_part"),
    ("Add", ["pointer_age", "unit"], "pointer_later"),
    ("Clip", ["pointer_later", "nought", "unit"], "pointer_clipped"),
    ("Floor", ["pointer_clipped"], "pointed"),
    ("Mul", ["pointed", "pointer_later"], "pointer_weight"),
    ("Unsqueeze", ["pointer_weight", "two_axis"], "pointer_weight_3d"),
    ("Mul", ["object_pointers", "pointer_weight_3d"], "pointers"),
    ("ReduceSum", ["pointers"], "shown", {"keepdims": 0}),
    ("Mul", ["shown", "shown_weight"], "shown_part"),
    ("Add", ["query", "held_part"], "with_memory"),
    ("Add", ["with_memory", "shown_part"], "conditioned_embeddings"),
]
