"""A real bundle for volumes, of a cube of 16 voxels: two ONNX graphs and a numpy twin of them.

Its masks are balls around foreground voxels with holes around background ones, so that axes,
crops and turns show in them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from exporter.bundle.folder import seal
from exporter.bundle.manifest import GraphFile, Manifest
from exporter.bundle.rules import LABELS, MaskRule, Preprocess, PromptRule
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.bundle.volume import VolumeRule
from exporter.bundle.voxels import Clicks, Cube, decoder_inputs
from exporter.volume_end_to_end import record_volume_end_to_end
from tests.unit.tiny_bundle import onnx_graph
from tests.unit.volume_manifest import manifest_of

SIZE, LOW, SLOTS, RADIUS = 16, 8, 4, 4.5
SCALE = np.array([1.0, 0.8, 1.2, 1.5], np.float32)
IOU = np.array([[0.6, 0.5, 0.9, 0.7]], np.float32)
PROMPTS = PromptRule(1, SLOTS, LABELS, pad_without_box=True)
_MIDDLES = ((np.arange(LOW) + 0.5) * SIZE / LOW - 0.5).astype(np.float32)
GRID = np.stack(np.meshgrid(*[_MIDDLES] * 3, indexing="ij"), -1).reshape(1, 1, -1, 3)
CELLS = (LOW * LOW, LOW)


def encode(volume):
    return {"image_embeddings": volume.reshape(1, 2, 2, -1).mean(-1, keepdims=True)}


def decode(image_embeddings, point_coords, point_labels, mask_input, has_mask_input):
    weight = np.maximum(1 - np.abs(point_labels - 1), 0) - np.maximum(1 - np.abs(point_labels), 0)
    square = ((GRID - point_coords[:, :, None]) ** 2).sum(-1)
    balls = (weight[..., None] * np.maximum(1 - square / np.float32(RADIUS**2), -1)).sum(1)
    whole = balls.reshape(1, 1, *CELLS) + np.float32(0.1) * mask_input
    whole = whole + np.float32(0.5) * (has_mask_input - 1) + 0 * image_embeddings.sum()
    masks = whole * SCALE[None, :, None, None]
    return {"low_res_masks": masks.astype(np.float32), "iou_predictions": IOU}


def twin(graph, given):
    if graph == "volume_encoder":
        return encode(given["volume"])
    names = ("image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input")
    return decode(*(given[name] for name in names))


def build(folder: Path) -> Manifest:
    """Write the bundle into a new `folder` and seal it."""
    folder.mkdir(parents=True)
    for spec, made in zip(SPECS, (_encoder(), _decoder()), strict=True):
        onnx.save(made, folder / f"{spec.name}.onnx")
    files = [
        GraphFile(spec, f"{spec.name}.onnx", (folder / f"{spec.name}.onnx").stat().st_size)
        for spec in SPECS
    ]
    made = manifest_of(
        (),
        files,
        variant="tiny",
        family="tiny",
        preprocess=Preprocess("crop", SIZE, "none", (0.0,) * 3, (0.0,) * 3, (1.0,) * 3),
        mask=MaskRule(0.0, 0, (1, 2, 3), "trilinear", LOW),
        prompts=PROMPTS,
        volume=VolumeRule(SIZE, LOW, 1.5),
    )
    arrays = goldens()
    ends = record_volume_end_to_end(made, twin, arrays)
    np.savez(folder / "goldens.npz", **arrays, **ends)
    return seal(folder, made)


def goldens():
    volume = np.random.default_rng(0).standard_normal((1, SIZE, SIZE, SIZE), np.float32)
    embedded = encode(volume)
    found = {"volume_encoder/scene/volume": volume}
    found |= {f"volume_encoder/scene/{name}": array for name, array in embedded.items()}
    found |= {f"mask_decoder/*/{name}": array for name, array in embedded.items()}
    cube = Cube((SIZE,) * 3, (0, 0, 0), SIZE)
    clicks = {
        "click_a": Clicks(((4, 5, 6),), (1,)),
        "click_b": Clicks(((11, 10, 3),), (1,)),
        "full": Clicks(((4, 5, 6), (8, 8, 8), (11, 10, 3)), (1, 0, 1)),
    }
    for case, each in clicks.items():
        given = decoder_inputs(each, cube, PROMPTS, LOW, None)
        outputs = twin("mask_decoder", embedded | given)
        found |= {f"mask_decoder/{case}/{n}": array for n, array in (given | outputs).items()}
    return found


def _tensor(name: str, layout: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, shape, "float32", layout)


_EMBEDDED = _tensor("image_embeddings", "NCHW", 1, 2, 2, 1)
SPECS = (
    GraphSpec(
        "volume_encoder", (_tensor("volume", "NDHW", 1, SIZE, SIZE, SIZE),), (_EMBEDDED,), "image"
    ),
    GraphSpec(
        "mask_decoder",
        (
            _EMBEDDED,
            _tensor("point_coords", "BN3", 1, SLOTS, 3),
            _tensor("point_labels", "BN", 1, SLOTS),
            _tensor("mask_input", "NCHW", 1, 1, *CELLS),
            _tensor("has_mask_input", "B", 1),
        ),
        (_tensor("low_res_masks", "BMHW", 1, 4, *CELLS), _tensor("iou_predictions", "BM", 1, 4)),
        "prompt",
    ),
)


def _encoder() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Reshape", ["volume", "parts"], ["rows"]),
        helper.make_node("ReduceMean", ["rows"], ["image_embeddings"], axes=[3], keepdims=1),
    ]
    return onnx_graph(SPECS[0], nodes, {"parts": np.array([1, 2, 2, -1])})


def _decoder() -> onnx.ModelProto:
    constants = {
        "grid": GRID,
        "one": np.float32(1),
        "area": np.float32(RADIUS**2),
        "tenth": np.float32(0.1),
        "half": np.float32(0.5),
        "none": np.float32(0),
        "least": np.float32(-1),
        "axis_1": np.array([1]),
        "axis_2": np.array([2]),
        "axis_3": np.array([3]),
        "cells": np.array([1, 1, *CELLS]),
        "all": np.array([0, 1, 2, 3]),
        "scale": SCALE[None, :, None, None],
        "iou": IOU,
    }
    steps = [
        ("Sub", ["point_labels", "one"], "from_1"),
        ("Abs", ["from_1"], "far_1"),
        ("Sub", ["one", "far_1"], "near_1"),
        ("Relu", ["near_1"], "is_1"),
        ("Abs", ["point_labels"], "far_0"),
        ("Sub", ["one", "far_0"], "near_0"),
        ("Relu", ["near_0"], "is_0"),
        ("Sub", ["is_1", "is_0"], "weight_2d"),
        ("Unsqueeze", ["weight_2d", "axis_2"], "weight"),
        ("Unsqueeze", ["point_coords", "axis_2"], "places"),
        ("Sub", ["grid", "places"], "off"),
        ("Mul", ["off", "off"], "off_squared"),
        ("ReduceSum", ["off_squared", "axis_3"], "square_4d"),
        ("Squeeze", ["square_4d", "axis_3"], "square"),
        ("Div", ["square", "area"], "relative"),
        ("Sub", ["one", "relative"], "endless"),
        ("Max", ["endless", "least"], "ball"),
        ("Mul", ["weight", "ball"], "weighted"),
        ("ReduceSum", ["weighted", "axis_1"], "balls"),
        ("Reshape", ["balls", "cells"], "drawn"),
        ("Mul", ["mask_input", "tenth"], "earlier"),
        ("Add", ["drawn", "earlier"], "refined"),
        ("Sub", ["has_mask_input", "one"], "lacks"),
        ("Mul", ["lacks", "half"], "loss"),
        ("Add", ["refined", "loss"], "whole"),
        ("ReduceSum", ["image_embeddings", "all"], "glow"),
        ("Mul", ["glow", "none"], "dark"),
        ("Add", ["whole", "dark"], "lit"),
        ("Mul", ["lit", "scale"], "low_res_masks"),
        ("Identity", ["iou"], "iou_predictions"),
    ]
    nodes = [helper.make_node(op, inputs, [output]) for op, inputs, output in steps]
    return onnx_graph(SPECS[1], nodes, constants)
