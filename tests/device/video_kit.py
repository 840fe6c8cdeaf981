"""The tiny video bundle with goldens of its memories' graphs, and its frames in numpy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from exporter.bundle.folder import Bundle, open_bundle, seal
from exporter.bundle.npz import list_arrays, read_array
from exporter.bundle.video import VideoRule
from tests.unit import video_bundle
from tests.unit.tiny_bundle import LOW

LONG = 10**9


def build_video(folder: Path, rule: VideoRule = video_bundle.RULE) -> Bundle:
    """Write, seal and open it."""
    video_bundle.build(folder, rule)
    path = folder / "goldens.npz"
    entries = list_arrays(path, lambda name: LONG, LONG)
    arrays = {name: read_array(path, entry) for name, entry in entries.items()}
    np.savez(path, **arrays, **_memories(rule, arrays["image_encoder/scene/image_embeddings"]))
    seal(folder, replace(video_bundle.manifest(folder, rule)))
    return open_bundle(folder)


def _memories(rule: VideoRule, embeddings: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    query = video_bundle.twin("memory_query", {"image_embeddings": embeddings})
    given = {
        "memory_query": {"image_embeddings": embeddings},
        "memory_encoder": {
            "image_embeddings": embeddings,
            "mask_logits": draw(1, 1, LOW, LOW),
            "from_prompt": np.ones(1, np.float32),
            "object_present": np.ones(1, np.float32),
        },
        "memory_attention": {
            **query,
            "memories": draw(1, rule.memory_slots, rule.memory_tokens, rule.memory_width),
            "memory_age": np.arange(rule.memory_slots, dtype=np.float32)[None],
            "object_pointers": draw(1, rule.pointer_slots, rule.pointer_width),
            "pointer_age": np.arange(rule.pointer_slots, dtype=np.float32)[None] / 15,
        },
    }
    return {
        f"{graph}/full/{name}": array
        for graph, inputs in given.items()
        for name, array in (inputs | video_bundle.twin(graph, inputs)).items()
    }


def follow(bundle: Bundle, frames: int) -> np.ndarray:
    """Masks (1, K, h, w) of the last frame; the object's bank is that of the goldens at first."""
    goldens, rule = bundle.goldens(), bundle.manifest.video
    encoder, decoder, _, _, attention = (graph.spec for graph in bundle.manifest.graphs)
    twin, bank = video_bundle.twin, goldens.inputs(attention, "full")
    memories, pointers = list(bank["memories"][0]), list(bank["object_pointers"][0])
    image = goldens.inputs(encoder, "scene")["image"]
    prompt = {
        t.name: np.zeros(t.shape, np.float32)
        for t in decoder.inputs
        if t.name != "image_embeddings"
    }
    prompt["point_labels"][:] = -2
    prompt["point_labels"][:, :2] = -1
    for _ in range(frames):
        encoded = twin("image_encoder", {"image": image})
        ages = [0.0, *range(rule.memory_slots - 1, 0, -1)]
        pointer_ages = [16.0, *range(rule.pointer_slots - 1, 0, -1)]
        given = {
            **twin("memory_query", encoded),
            "memories": np.stack(memories)[None],
            "memory_age": np.array([ages], np.float32),
            "object_pointers": np.stack(pointers)[None],
            "pointer_age": np.array([pointer_ages], np.float32) / 15,
        }
        seen = twin("memory_attention", given)["conditioned_embeddings"]
        found = twin("mask_decoder", {**prompt, "image_embeddings": seen})
        best = 1 + int(found["iou_predictions"][0, 1:].argmax())
        memory = twin(
            "memory_encoder",
            {
                **encoded,
                "mask_logits": found["low_res_masks"][:, best : best + 1],
                "from_prompt": np.zeros(1, np.float32),
                "object_present": np.ones(1, np.float32),
            },
        )["memory"][0]
        memories = [memories[0], *memories[2:], memory]
        pointers = [pointers[0], *pointers[2:], found["object_pointers"][0, best]]
    return found["low_res_masks"]
