"""Real bundles of one small ONNX graph: one that finds four objects, one that takes drawn prompts.

Whatever the image, the detector finds the same; the other one's masks are the pictures it is given.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from exporter.bundle.folder import seal
from exporter.bundle.manifest import GraphFile, Manifest
from exporter.bundle.rules import DetectionRule, DrawnPrompts, MaskRule, Preprocess
from exporter.bundle.tensors import GraphSpec, TensorSpec
from tests.unit.tiny_bundle import SIZE, Recipe, store
from tests.unit.tiny_bundle import manifest as two_graphs

CELLS, SIDE = 84, 16
RULE = DetectionRule(
    confidence=0.4,
    nms_iou=0.9,
    max_detections=5,
    border=5.0,
    full_box_iou=0.9,
    strides=(8, 16, 32),
    prototypes=2,
)
DRAWN = DrawnPrompts(box_channel=0, point_channel=1, radius=2.0, background_points=False)
PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

# Box, score, coefficients; one row is a twin of the first, one scores too low.
ROWS = (
    ((10, 20, 30, 40), 0.9, (1, 0)),
    ((10, 20, 30, 40.5), 0.8, (1, 0)),
    ((12, 22, 28, 38), 0.7, (0, 1)),
    ((12, 22, 28, 38), 0.4, (0, 1)),
    ((2, 1, 63, 62), 0.5, (1, 1)),
)


def outputs() -> dict[str, np.ndarray]:
    """What the detector gives: prototype 1 is everywhere, prototype 2 on the left half."""
    boxes, scores = np.zeros((1, CELLS, 4), np.float32), np.zeros((1, CELLS), np.float32)
    coefficients = np.zeros((1, CELLS, 2), np.float32)
    for i, (box, score, row) in enumerate(ROWS):
        boxes[0, 7 * i], scores[0, 7 * i], coefficients[0, 7 * i] = box, score, row
    prototypes = np.ones((1, 2, SIDE, SIDE), np.float32)
    prototypes[0, 1, :, SIDE // 2 :] = -1
    return {
        "boxes": boxes,
        "scores": scores,
        "coefficients": coefficients,
        "prototypes": prototypes,
    }


def build_detector(folder: Path) -> Manifest:
    """Write the bundle that takes no prompt."""
    made = outputs()
    constants = {f"{name}_constant": array for name, array in made.items()}
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
    ]
    nodes += [helper.make_node("Add", [f"{n}_constant", "zero"], [n]) for n in made]
    spec = GraphSpec("segmenter", (_image(),), tuple(_like(n, a) for n, a in made.items()), "image")
    preprocess = Preprocess("letterbox", SIZE, "opencv_bilinear", (114.0,) * 3, *PLAIN)
    mask = MaskRule(0.0, -1, (), "letterbox_bilinear", SIDE)
    goldens = {"segmenter/*/image": np.zeros((1, 3, SIZE, SIZE), np.uint8)}
    goldens |= {f"segmenter/scene/{name}": array for name, array in made.items()}
    changes = {"preprocess": preprocess, "mask": mask, "detections": RULE}
    constants["nothing"] = np.float32(0)
    return _write(folder, spec, nodes, constants, goldens, changes, lambda *_: made)


def build_drawn(folder: Path) -> Manifest:
    """Write the bundle whose masks are: the click, the box, their sum and difference, less 0.5."""
    low = SIZE // 2
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    mix = np.array([[0, 1], [1, 0], [1, 1], [1, -1]], np.float32).reshape(4, 2, 1, 1)
    nodes = [
        helper.make_node("MaxPool", ["prompt_masks"], ["low"], **pool),
        helper.make_node("Conv", ["low", "mix"], ["mixed"]),
        helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
        helper.make_node("Sub", ["mixed", "half"], ["shifted"]),
        helper.make_node("Add", ["shifted", "zero"], ["low_res_masks"]),
        helper.make_node("Add", ["iou", "zero"], ["iou_predictions"]),
    ]
    constants = {
        "mix": mix,
        "nothing": np.float32(0),
        "half": np.float32(0.5),
        "iou": np.array([[0.95, 0.6, 0.9, 0.7]], np.float32),
    }
    drawn = TensorSpec("prompt_masks", (1, 2, SIZE, SIZE), "float32", "NCHW")
    results = (
        TensorSpec("low_res_masks", (1, 4, low, low), "float32", "BMHW"),
        TensorSpec("iou_predictions", (1, 4), "float32", "BM"),
    )
    spec = GraphSpec("segmenter", (_image(), drawn), results, "prompt")
    preprocess = Preprocess("stretch", SIZE, "float_bilinear_plain", (0.0,) * 3, *PLAIN)
    mask = MaskRule(0.0, -1, (1, 2, 3), "bicubic_once", low)
    changes = {"preprocess": preprocess, "mask": mask, "drawn_prompts": DRAWN}
    goldens = {"segmenter/*/image": np.zeros((1, 3, SIZE, SIZE), np.uint8)}

    def twin(_, given):
        pooled = given["prompt_masks"].reshape(1, 2, low, 2, low, 2).max(axis=(3, 5))
        masks = np.einsum("mk,bkhw->bmhw", mix[..., 0, 0], pooled) - 0.5
        return {"low_res_masks": masks.astype(np.float32), "iou_predictions": constants["iou"]}

    for case, at in {"click_a": 10, "click_b": 40}.items():
        given = np.zeros((1, 2, SIZE, SIZE), np.float32)
        given[0, 0], given[0, 1, at : at + 4, at : at + 4] = 1, 1
        goldens[f"segmenter/{case}/prompt_masks"] = given
        made = twin("segmenter", {"prompt_masks": given})
        goldens |= {f"segmenter/{case}/{name}": array for name, array in made.items()}
    return _write(folder, spec, nodes, constants, goldens, changes, twin)


def _image() -> TensorSpec:
    return TensorSpec("image", (1, 3, SIZE, SIZE), "float32", "NCHW")


def _like(name: str, array: np.ndarray) -> TensorSpec:
    return TensorSpec(name, array.shape, "float32", "NCHW"[: array.ndim])


def _write(folder, spec, nodes, constants, goldens, changes, twin) -> Manifest:
    folder.mkdir(parents=True)

    def info(tensor: TensorSpec):
        return helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.shape)

    weights = [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()]
    graph = helper.make_graph(
        nodes, spec.name, [info(t) for t in spec.inputs], [info(t) for t in spec.outputs], weights
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(
        helper.make_model(graph, opset_imports=opset, ir_version=9), folder / "segmenter.onnx"
    )
    size = (folder / "segmenter.onnx").stat().st_size
    graphs = (GraphFile(spec, "segmenter.onnx", size),)
    whole = replace(two_graphs(Recipe(), folder), graphs=graphs, prompts=None, **changes)
    store(folder, goldens, whole, twin)
    return seal(folder, whole)
