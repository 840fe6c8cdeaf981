"""A real bundle whose decoder rates masks in one graph and makes them in another (`--everything`).

The tiny bundle's decoder, cut: what it makes of the image alone runs once a picture. Predicted IoUs
fall with x, so that the masks of some clicks need not be made. A head may propose points, where
the picture is brightest.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnx.utils import Extractor

from exporter.bundle.folder import seal
from exporter.bundle.manifest import GraphFile, Manifest
from exporter.bundle.tensors import GraphSpec, TensorSpec
from tests.unit.tiny_bundle import (
    LOW,
    SIZE,
    SLOTS,
    TOKENS,
    Recipe,
    _decoder,
    goldens,
    manifest,
    onnx_graph,
    specs,
    store,
)
from tests.unit.tiny_bundle import build as build_whole

CLICKS = ("point_coords", "point_labels")
FALL = 0.1
"""Of the predicted IoU from the left border to the right."""


def build_halves(folder: Path, *, proposes: bool = False) -> Manifest:
    """Write the bundle, with the head if it `proposes`, into a new `folder` and seal it."""
    recipe = Recipe(takes_mask=False)
    build_whole(folder, recipe)
    (folder / "mask_decoder.onnx").rename(folder / "whole.onnx")
    model = onnx.shape_inference.infer_shapes(_falling(_decoder(specs(recipe)[1], recipe)))
    image, *_ = specs(recipe)
    graphs = [GraphFile(image, "image_encoder.onnx", 0)]
    for spec in _specs(image.outputs[0]):
        names = ([t.name for t in spec.inputs], [t.name for t in spec.outputs])
        onnx.save(Extractor(model).extract_model(*names), folder / f"{spec.name}.onnx")
        graphs.append(GraphFile(spec, f"{spec.name}.onnx", 0))
    (folder / "whole.onnx").unlink()
    if proposes:
        graphs.append(_add_head(folder, image.outputs[0]))
    sized = (replace(g, bytes=(folder / g.file).stat().st_size) for g in graphs)
    made = replace(manifest(recipe, folder), graphs=tuple(sized))
    store(folder, _goldens(folder, made), made, partial(_run, folder))
    return seal(folder, made)


def _run(folder: Path, graph: str, given: dict[str, Any]) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(folder / f"{graph}.onnx")
    taken = {each.name: given[each.name] for each in session.get_inputs()}
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, taken), strict=True))


def _goldens(folder: Path, made: Manifest) -> dict[str, np.ndarray[Any, Any]]:
    """Clicks of the whole bundle, and what each graph of this one makes of them."""
    whole = goldens(1)
    image = whole["image_encoder/scene/image"]
    known = {"image": image.astype(np.float32)}
    stored = {"image_encoder/scene/image": image}
    for graph in [each.spec for each in made.graphs]:
        for case in ("scene",) if graph.runs == "image" else ("click_left", "click_right", "point"):
            if graph.name == "token_decoder":
                own = {n: whole[f"mask_decoder/{case}/{n}"] for n in CLICKS}
                stored |= {f"{graph.name}/{case}/{n}": array for n, array in own.items()}
                known |= own
            elif graph.name == "mask_head":
                known["shifted"] = stored[f"token_decoder/{case}/shifted"]
            outputs = _run(folder, graph.name, known)
            known |= outputs
            for tensor in (
                graph.inputs if graph.name not in ("image_encoder", "token_decoder") else ()
            ):
                stored[f"{graph.name}/{case}/{tensor.name}"] = known[tensor.name]
            stored |= {f"{graph.name}/{case}/{n}": array for n, array in outputs.items()}
    return stored


def _specs(embedded: TensorSpec) -> tuple[GraphSpec, ...]:
    def tensor(name: str, *shape: int) -> TensorSpec:
        return TensorSpec(name, shape, "float32", "NCHW"[: len(shape)])

    glow = tensor("glow", 1, 1, LOW, LOW)
    shifted = tensor("shifted", 1, TOKENS, LOW, LOW)
    clicks = (tensor("point_coords", 1, SLOTS, 2), tensor("point_labels", 1, SLOTS))
    iou = tensor("iou_predictions", 1, TOKENS)
    masks = tensor("low_res_masks", 1, TOKENS, LOW, LOW)
    return (
        GraphSpec("image_side", (embedded,), (glow,), "image"),
        GraphSpec("token_decoder", clicks, (iou, shifted), "prompt"),
        GraphSpec("mask_head", (shifted, glow), (masks,), "prompt"),
    )


def _add_head(folder: Path, embedded: TensorSpec) -> GraphFile:
    """Write the head: the mean of the embedding's channels."""
    scores = TensorSpec("point_scores", (1, 1, *embedded.shape[2:]), "float32", "NCHW")
    spec = GraphSpec("point_proposer", (embedded,), (scores,), "image")
    node = helper.make_node("ReduceMean", [embedded.name], [scores.name], axes=[1], keepdims=1)
    onnx.save(onnx_graph(spec, [node], {}), folder / f"{spec.name}.onnx")
    return GraphFile(spec, f"{spec.name}.onnx", 0)


def _falling(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take the share of x in the width, times `FALL`, off the predicted IoUs."""
    graph = model.graph
    (last,) = (node for node in graph.node if "iou_predictions" in node.output)
    last.output[:] = ["level"]
    constants = {"fall": np.float32(FALL / SIZE), "last_axis": np.array([-1])}
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()
    )
    graph.node.extend(
        [
            helper.make_node("ReduceMax", ["x"], ["right"], axes=[1, 2], keepdims=0),
            helper.make_node("Unsqueeze", ["right", "last_axis"], ["right_2d"]),
            helper.make_node("Mul", ["right_2d", "fall"], ["fallen"]),
            helper.make_node("Sub", ["level", "fallen"], ["iou_predictions"]),
        ]
    )
    return model
