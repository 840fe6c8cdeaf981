"""Networks that the cases of tracking follow objects with: rules, and graphs of a few numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np

from exporter.bundle.manifest import GraphFile, Manifest
from exporter.bundle.preprocess import Floats
from exporter.bundle.rules import LABELS, MaskRule, Preprocess, PromptRule, Stability
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.bundle.video import Pruning, VideoRule
from runtimes.golden_vectors.bundles import bare
from runtimes.golden_vectors.store import Case

GRID, LOW, SIDE, CHANNELS, WIDTH, TOKENS = 2, 8, 16, 2, 4, 4
STRETCH = Preprocess("stretch", SIDE, "pillow_bilinear", (0.0,) * 3, (0.0,) * 3, (1.0,) * 3)
LONGEST = replace(STRETCH, resize="longest_side", padded_by="graph", pad_value=(3.0, 2.0, 1.0))
SLOTS = PromptRule(1, 5, dict(LABELS), pad_without_box=True, pad_with_box=True)
MASK = MaskRule(0.0, 0, (1, 2, 3), "bilinear_once", LOW, Stability(1.0, 0.78), 4.0)
FULL = VideoRule(
    memory_slots=7, pointer_slots=16, prompted_slots=1, memory_frames=6, pointer_frames=15,
    pointer_scale=15.0, memory_tokens=GRID * GRID, memory_width=3, pointer_width=WIDTH, grid=GRID,
    published_memory_slots=7, published_pointer_slots=16, pointer_time=True,
)  # fmt: skip
POOLED = replace(
    FULL, memory_slots=4, pointer_slots=5, prompted_slots=2, memory_frames=2, pointer_frames=3,
    pointer_scale=3.0, pooled=True, stored="float16",
)  # fmt: skip
PRUNED = replace(FULL, memory_slots=6, pruning=Pruning(7, 2))
FEW = replace(
    FULL, memory_slots=2, pointer_slots=3, departure="2 of 7 memories", pointer_time=False,
    several_up_to=2, min_object_score=1.0, absent_logit=-64.0, padding_points=1,
    mask_prompt_logit=6.0,
)  # fmt: skip


@dataclass(frozen=True)
class Network:
    """A video bundle's rules.

    Attributes:
        video: manifest.video.
        preprocess: of frames.
        mask: from logits to masks.
        size: width and height of the frames.
        shares: whether a graph makes the query once a frame, for all objects.
    """

    video: VideoRule
    preprocess: Preprocess = STRETCH
    mask: MaskRule = MASK
    size: tuple[int, int] = (16, 12)
    shares: bool = True


NETWORKS = {
    "full": Network(FULL),
    "pooled": Network(
        POOLED, LONGEST, replace(MASK, upscale="bilinear", stability=None, logit_limit=None),
        (10, 14), shares=False,
    ),
    "pruned": Network(PRUNED),
    "few": Network(FEW),
}  # fmt: skip
_rng = np.random.default_rng(41)
HOST: dict[str, Floats] = {
    "no_object_pointer": np.array([1.5, -2.25, 0.125, 3.0], np.float32),
    "no_memory_embedding": np.array([0.75, -1.25], np.float32),
    "mask_downsample_weight": (_rng.integers(-32, 33, (1, 1, 4, 4)) / 64).astype(np.float32),
    "mask_downsample_bias": np.array([0.5], np.float32),
}


def manifest(network: Network) -> Manifest:
    """Make the manifest of a bundle of it."""
    graphs = tuple(GraphFile(spec, f"{spec.name}.onnx", 0) for spec in specs(network))
    return bare(graphs, network.preprocess, SLOTS, network.mask, video=network.video)


def described(network: Network) -> Case:
    """Write a network as README.md says."""
    return {
        "video": asdict(network.video),
        "preprocess": asdict(network.preprocess),
        "prompts": asdict(SLOTS),
        "mask": asdict(network.mask),
        "size": network.size,
        "graphs": [_line(spec) for spec in specs(network)],
        "host": HOST,
    }


def specs(network: Network) -> tuple[GraphSpec, ...]:
    """Describe the graphs of a network."""
    rule, one = network.video, _tensor
    padded = (one("resized_size", 1, 2),) if network.preprocess.padded_by == "graph" else ()
    embeddings = one("image_embeddings", 1, CHANNELS, GRID, GRID)
    fine = one("high_res_feats_0", 1, 1, 4, 4)
    prompts = (
        one("point_coords", 1, SLOTS.slots, 2), one("point_labels", 1, SLOTS.slots),
        one("mask_input", 1, 1, LOW, LOW), one("has_mask_input", 1),
    )  # fmt: skip
    answers = (
        one("low_res_masks", 1, TOKENS, LOW, LOW), one("iou_predictions", 1, TOKENS),
        one("object_score_logits", 1, 1), one("object_pointers", 1, TOKENS, WIDTH),
    )  # fmt: skip
    shown = (one("mask_logits", 1, 1, LOW, LOW), one("from_prompt", 1), one("object_present", 1))
    memory = one("memory", 1, rule.memory_tokens, rule.memory_width)
    query = one("query", 1, GRID * GRID, 2) if network.shares else embeddings
    graphs = [
        GraphSpec("image_encoder", (one("image", 1, 3, SIDE, SIDE), *padded),
                  (embeddings, fine), "image"),
        GraphSpec("mask_decoder", (embeddings, fine, *prompts), answers, "prompt"),
        GraphSpec("memory_encoder", (embeddings, *shown), (memory,), "frame"),
        _attention("memory_attention", network, query, rule.memory_slots),
    ]  # fmt: skip
    if network.shares:
        graphs.append(GraphSpec("memory_query", (embeddings,), (query,), "frame"))
    if rule.pooled:
        graphs.append(_attention("memory_attention_first", network, query, 1))
    return tuple(graphs)


def _attention(name: str, network: Network, query: TensorSpec, slots: int) -> GraphSpec:
    rule, one = network.video, _tensor
    bank = (
        one("memories", 1, slots, rule.memory_tokens, rule.memory_width),
        one("memory_age", 1, slots),
        one("object_pointers", 1, rule.pointer_slots, rule.pointer_width),
        one("pointer_age", 1, rule.pointer_slots),
    )
    found = one("conditioned_embeddings", 1, CHANNELS, GRID, GRID)
    return GraphSpec(name, (query, *bank), (found,), "frame")


def _tensor(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, shape, "float32", "NCHW"[: len(shape)])


def _line(spec: GraphSpec) -> str:
    """Write a graph as README.md says."""
    inputs, outputs = (
        ", ".join(f"{t.name} {'x'.join(map(str, t.shape))}" for t in tensors)
        for tensors in (spec.inputs, spec.outputs)
    )
    return f"{spec.name}: {inputs} -> {outputs}"
