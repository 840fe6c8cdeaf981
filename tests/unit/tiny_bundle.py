"""A real bundle of 20 KB: two ONNX graphs that run in a millisecond, and a numpy twin of them.

The encoder averages 8 x 8 pixels. The decoder draws discs around foreground points and holes around
background points, so its masks follow the prompts as SAM's do, and every number can be foretold.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from exporter.bundle.folder import seal
from exporter.bundle.manifest import (
    HASH,
    SCHEMA_VERSION,
    GraphFile,
    Licence,
    Manifest,
    Source,
    canonical,
    content_hash,
)
from exporter.bundle.rules import LABELS, MaskRule, Preprocess, PromptRule
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.end_to_end import record_end_to_end
from exporter.errors import BundleError

SIZE, SIDE, LOW, SLOTS, TOKENS = 64, 8, 32, 6, 4
RADIUS = 16.0
PAD = (123.675, 116.28, 103.53)
SCALE = np.array([1.0, 0.8, 1.2, 1.5], np.float32)
OFFSET = np.array([0.0, 0.5, -0.2, 0.2], np.float32)
BASE_IOU = np.array([0.6, 0.5, 0.9, 0.7], np.float32)
WEIGHTS = {1: 1.0, 0: -1.0, 2: 0.5, 3: 0.5}
GRID = ((np.arange(LOW) + 0.5) * (SIZE / LOW)).astype(np.float32)
GROW = np.kron(np.eye(SIDE, dtype=np.float32), np.ones((LOW // SIDE, 1), np.float32))


@dataclass(frozen=True)
class Recipe:
    """What is unusual about a tiny bundle.

    Attributes:
        batch: prompt sets in one decoder call.
        layout: of the `image` input, `NCHW` or `NHWC`.
        single: the mask rule's.
        precision: what the manifest claims.
        flaw: a lowering bug: `scaled` logits, `deaf` to prompts, `nan`, or an encoder too `bright`.
        takes_mask: whether the decoder has `mask_input` and `has_mask_input`.
        score: the mask rule's.
    """

    batch: int = 1
    layout: str = "NCHW"
    single: int = 0
    precision: str = "fp32"
    flaw: str = ""
    takes_mask: bool = True
    score: str = "iou_predictions"


def encode(image):
    """(1, 3, S, S) in 0..255 -> (1, 3, SIDE, SIDE)."""
    cells = image.reshape(1, 3, SIDE, SIZE // SIDE, SIDE, SIZE // SIDE)
    return (cells.mean(axis=(3, 5)) / 255).astype(np.float32)


def decode(image_embeddings, point_coords, point_labels, mask_input, has_mask_input):
    """The decoder in numpy: `low_res_masks` (B, M, LOW, LOW) and `iou_predictions` (B, M)."""
    weight = np.vectorize(lambda label: WEIGHTS.get(int(label), 0.0))(point_labels)
    dx = (point_coords[..., 0, None, None] - GRID[None, None, None, :]) ** 2
    dy = (point_coords[..., 1, None, None] - GRID[None, None, :, None]) ** 2
    disc = (weight[..., None, None] * (1 - (dx + dy) / RADIUS**2)).sum(axis=1)[:, None]
    glow = 0.1 * GROW @ image_embeddings.mean(axis=1, keepdims=True) @ GROW.T
    earlier = 0.1 * mask_input * has_mask_input[:, None, None, None]
    masks = disc * SCALE[None, :, None, None] + OFFSET[None, :, None, None] + glow + earlier
    iou = BASE_IOU + 0.01 * weight.sum(axis=1, keepdims=True)
    return masks.astype(np.float32), iou.astype(np.float32)


def build(folder: Path, recipe: Recipe | None = None) -> Manifest:
    """Write the bundle into a new `folder` and seal it."""
    recipe = recipe or Recipe()
    folder.mkdir(parents=True)
    encoder, decoder = specs(recipe)
    onnx.save(_encoder(encoder, recipe), folder / "image_encoder.onnx")
    onnx.save(_decoder(decoder, recipe), folder / "mask_decoder.onnx")
    store(folder, goldens(recipe.batch), manifest(recipe, folder))
    (folder / "glue").mkdir()
    (folder / "glue" / "Segmenter.kt").write_text("class Segmenter\n")
    return seal(folder, manifest(recipe, folder))


def specs(recipe: Recipe) -> tuple[GraphSpec, GraphSpec]:
    shape = (1, 3, SIZE, SIZE) if recipe.layout == "NCHW" else (1, SIZE, SIZE, 3)
    embeddings = _tensor("image_embeddings", 1, 3, SIDE, SIDE)
    b = recipe.batch
    inputs = (
        embeddings,
        _tensor("point_coords", b, SLOTS, 2),
        _tensor("point_labels", b, SLOTS),
        _tensor("mask_input", b, 1, LOW, LOW),
        _tensor("has_mask_input", b),
    )[: 5 if recipe.takes_mask else 3]
    outputs = (_tensor("low_res_masks", b, TOKENS, LOW, LOW), _tensor("iou_predictions", b, TOKENS))
    image = TensorSpec("image", shape, "float32", recipe.layout)
    return (
        GraphSpec("image_encoder", (image,), (embeddings,), "image"),
        GraphSpec("mask_decoder", inputs, outputs, "prompt"),
    )


def manifest(recipe: Recipe, folder: Path) -> Manifest:
    files = ("image_encoder.onnx", "mask_decoder.onnx")
    graphs = tuple(
        GraphFile(spec, file, (folder / file).stat().st_size if (folder / file).exists() else 0)
        for spec, file in zip(specs(recipe), files, strict=True)
    )
    return Manifest(
        schema_version=SCHEMA_VERSION,
        variant="tiny",
        family="tiny",
        target="onnx",
        precision=recipe.precision,
        platform="any",
        licence=Licence("Apache-2.0", "https://example.org/licence", commercial_use=True),
        source=Source("https://example.org", "none", "tiny.pt", "0" * 64, "plain"),
        graphs=graphs,
        preprocess=Preprocess(
            "longest_side", SIZE, "pillow_bilinear", PAD, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        ),
        prompts=PromptRule(recipe.batch, SLOTS, LABELS, pad_without_box=True),
        mask=MaskRule(0.0, recipe.single, (1, 2, 3), "bilinear", LOW, score=recipe.score),
        parity=(),
        tools={"onnx": onnx.__version__},
        files={},
        created="2026-11-22T12:00:00Z",
    )


def goldens(batch: int) -> dict[str, np.ndarray]:
    """Inputs and the numpy twin's outputs, in the layout that an export stores."""
    image = np.random.default_rng(0).integers(0, 256, (1, 3, SIZE, SIZE), np.uint8)
    embeddings = encode(image.astype(np.float32))
    stored = {
        "image_encoder/scene/image": image,
        "image_encoder/scene/image_embeddings": embeddings,
        "mask_decoder/*/image_embeddings": embeddings,
        "mask_decoder/*/mask_input": np.zeros((batch, 1, LOW, LOW), np.float32),
        "mask_decoder/*/has_mask_input": np.zeros(batch, np.float32),
    }
    for case, prompts in {
        "click_left": [(12, 20, 1)],
        "click_right": [(48, 40, 1)],
        "point": [(30, 30, 1), (10, 50, 0)],
        "box": [(8, 8, 2), (40, 50, 3)],
        "mask": [(20, 20, 1)],
    }.items():
        slots = np.full((batch, SLOTS, 3), (0, 0, -2), np.float32)
        slots[:, : len(prompts)] = prompts
        own = {"point_coords": slots[..., :2], "point_labels": slots[..., 2]}
        if case == "mask":
            noise = np.random.default_rng(1).standard_normal((batch, 1, LOW, LOW))
            own["mask_input"] = noise.astype(np.float32)
            own["has_mask_input"] = np.ones(batch, np.float32)
        stored |= {f"mask_decoder/{case}/{name}": array for name, array in own.items()}
        zeros = {n: stored[f"mask_decoder/*/{n}"] for n in ("mask_input", "has_mask_input")}
        masks, iou = decode(embeddings, **{**zeros, **own})
        stored[f"mask_decoder/{case}/low_res_masks"] = masks
        stored[f"mask_decoder/{case}/iou_predictions"] = iou
    return stored


def store(folder: Path, arrays: dict[str, np.ndarray], made: Manifest, twin=None) -> None:
    """Write goldens, and the picture from end to end as the numpy twin answers it."""
    try:
        ends = record_end_to_end(made, twin or _twin, arrays)
    except (BundleError, IndexError):  # a test left something out: let the rest be whole
        ends = record_end_to_end(made, _twin, goldens(made.prompts.batch))
    np.savez(folder / "goldens.npz", **arrays, **ends)


def _twin(graph: str, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if graph == "image_encoder":
        return {"image_embeddings": encode(given["image"])}
    batch = len(given["point_labels"])
    zeros = {
        "mask_input": np.zeros((batch, 1, LOW, LOW), np.float32),
        "has_mask_input": np.zeros(batch, np.float32),
    }
    masks, iou = decode(**{**zeros, **given})
    return {"low_res_masks": masks, "iou_predictions": iou}


def reseal(folder: Path, recipe: Recipe | None = None, **changes) -> Manifest:
    """Seal again after a deliberate change, so that hashes are not what a test trips over."""
    return seal(folder, replace(manifest(recipe or Recipe(), folder), **changes))


def rewrite(folder: Path, change) -> None:
    """Edit a manifest's data and make its hash anew, as whoever means it would."""
    path = folder / "manifest.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(hashed(data))


def hashed(data: dict) -> str:
    """The text of a manifest's data, with the hash of its content."""
    return canonical(data | {HASH: content_hash(data)})


def _tensor(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, shape, "float32", "NCHW"[: len(shape)])


def _encoder(spec: GraphSpec, recipe: Recipe) -> onnx.ModelProto:
    cell = SIZE // SIDE
    source = "nchw" if recipe.layout == "NHWC" else "image"
    first = [helper.make_node("Transpose", ["image"], ["nchw"], perm=[0, 3, 1, 2])]
    pool = {"kernel_shape": [cell, cell], "strides": [cell, cell]}
    nodes = [
        *(first if recipe.layout == "NHWC" else []),
        helper.make_node("AveragePool", [source], ["mean"], **pool),
        helper.make_node("Div", ["mean", "full"], ["image_embeddings"]),
    ]
    return onnx_graph(spec, nodes, {"full": np.float32(2.55 if recipe.flaw == "bright" else 255)})


def _decoder(spec: GraphSpec, recipe: Recipe) -> onnx.ModelProto:
    constants = {
        **{f"label_{label}": np.float32(label) for label in WEIGHTS},
        **{f"weight_{label}": np.float32(weight) for label, weight in WEIGHTS.items()},
        "nothing": np.float32(0),
        "x_at": np.array([0]),
        "y_at": np.array([1]),
        "axis_2": np.array([2]),
        "axis_3": np.array([3]),
        "axes_23": np.array([2, 3]),
        "slots": np.array([1]),
        "image_axes": np.array([1, 2, 3]),
        "grid": GRID,
        "one": np.float32(1),
        "area": np.float32(RADIUS**2),
        "tenth": np.float32(0.1),
        "hundredth": np.float32(0.01),
        "scale": SCALE[None, :, None, None] * np.float32(0.9 if recipe.flaw == "scaled" else 1),
        "offset": OFFSET[None, :, None, None],
        "base": BASE_IOU[None],
        "grow": GROW,
        "grow_t": np.ascontiguousarray(GROW.T),
        "loss": np.float32({"nan": np.nan}.get(recipe.flaw, 0.0)),
        "hearing": np.float32(0.0 if recipe.flaw == "deaf" else 1.0),
    }
    nodes, weight = [], "nothing"
    for label in WEIGHTS:
        nodes += [
            helper.make_node("Equal", ["point_labels", f"label_{label}"], [f"is_{label}"]),
            helper.make_node("Where", [f"is_{label}", f"weight_{label}", weight], [f"w_{label}"]),
        ]
        weight = f"w_{label}"
    earlier = [
        ("Unsqueeze", ["has_mask_input", "image_axes"], "has"),
        ("Mul", ["mask_input", "has"], "earlier_full"),
        ("Mul", ["earlier_full", "tenth"], "earlier"),
    ]
    steps = [
        ("Mul", [weight, "hearing"], "weight"),
        ("Gather", ["point_coords", "x_at"], "x"),
        ("Gather", ["point_coords", "y_at"], "y"),
        ("Sub", ["x", "grid"], "x_off"),
        ("Sub", ["y", "grid"], "y_off"),
        ("Mul", ["x_off", "x_off"], "x_square"),
        ("Mul", ["y_off", "y_off"], "y_square"),
        ("Unsqueeze", ["x_square", "axis_2"], "dx"),
        ("Unsqueeze", ["y_square", "axis_3"], "dy"),
        ("Add", ["dx", "dy"], "distance"),
        ("Div", ["distance", "area"], "relative"),
        ("Sub", ["one", "relative"], "disc"),
        ("Unsqueeze", ["weight", "axes_23"], "weight_4d"),
        ("Mul", ["weight_4d", "disc"], "weighted"),
        ("ReduceSum", ["weighted", "slots"], "drawn"),
        ("Mul", ["drawn", "scale"], "scaled"),
        ("Add", ["scaled", "offset"], "shifted"),
        ("ReduceSum", ["image_embeddings", "slots"], "embedded"),
        ("MatMul", ["grow", "embedded"], "taller"),
        ("MatMul", ["taller", "grow_t"], "grown"),
        ("Mul", ["grown", "glow_scale"], "glow"),
        *(earlier if recipe.takes_mask else []),
        ("Add", ["shifted", "glow"], "glowing"),
        ("Add", ["glowing", "earlier" if recipe.takes_mask else "nothing"], "clean"),
        ("Add", ["clean", "loss"], "low_res_masks"),
        ("ReduceSum", ["weight", "slots"], "total"),
        ("Mul", ["total", "hundredth"], "bonus"),
        ("Add", ["base", "bonus"], "iou_predictions"),
    ]
    for op, inputs, output in steps:
        axis = {"axis": 2} if op == "Gather" else {}
        nodes.append(helper.make_node(op, inputs, [output], **axis))
    return onnx_graph(spec, nodes, {**constants, "glow_scale": np.float32(0.1 / 3)})


def onnx_graph(spec: GraphSpec, nodes: list, constants: dict) -> onnx.ModelProto:
    def info(tensor: TensorSpec):
        return helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.shape)

    graph = helper.make_graph(
        nodes,
        spec.name,
        [info(tensor) for tensor in spec.inputs],
        [info(tensor) for tensor in spec.outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
