"""The published predictor's loop for one object over graphs of numpy, with every frame kept."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.bundle.folder import Bundle
from exporter.bundle.preprocess import image_input
from runtimes.tracker import Tracker
from tests.unit import tiny_bundle, video_bundle
from tests.unit.video_bundle import HOST, SIZE, Twin, twin


def picture(frame: int, *, dark: bool = False) -> np.ndarray:
    rgb = np.random.default_rng(frame).integers(0, 256, (48, 80, 3), np.uint8)
    return rgb // 16 if dark else rgb


def tracker(bundle: Bundle, log: list | None = None, **options) -> Tracker:
    return Tracker(bundle, load=lambda name: Twin(name, log), **options)


class Published:
    """One object, tracked forward by the published rules; every frame is kept."""

    def __init__(self, frames: int | None = None) -> None:
        self.most = 16 if frames is None else min(frames, 16)
        self.prompted: dict[int, tuple] = {}
        self.tracked: dict[int, tuple] = {}

    def run(self, frame, embeddings, points, labels, mask=None, *, prompted=False):
        slots = np.full((1, 6), -2, np.float32)
        coords = np.zeros((1, 6, 2), np.float32)
        given = [*labels, -1] if labels else [-1, -1]
        slots[0, : len(given)] = given
        coords[0, : len(points)] = np.array(points).reshape(-1, 2) * (SIZE / 80, SIZE / 48)
        full = np.zeros((1, 1, 32, 32), np.float32) if mask is None else mask[None, None]
        out = twin(
            "mask_decoder",
            {
                "image_embeddings": embeddings,
                "point_coords": coords.astype(np.float32),
                "point_labels": slots,
                "mask_input": full.astype(np.float32),
                "has_mask_input": np.full(1, mask is not None, np.float32),
            },
        )
        masks, iou = out["low_res_masks"][0], out["iou_predictions"][0]
        token = 1 + int(np.argmax(iou[1:]))
        pointer = token
        if len(labels) > 1:
            area = [(masks[0] > edge).sum() for edge in (0.05, -0.05)]
            token, pointer = (0 if area[0] >= 0.98 * area[1] else token), 0
        score = float(out["object_score_logits"][0, 0])
        if score <= 0:
            return np.full((32, 32), -1024.0), HOST["no_object_pointer"], score
        return masks[token], out["object_pointers"][0, pointer], score

    def keep(self, frame, embeddings, found, *, prompted, from_prompt):
        logits, pointer, score = found
        memory = twin(
            "memory_encoder",
            {
                "image_embeddings": embeddings,
                "mask_logits": logits[None, None].astype(np.float32),
                "from_prompt": np.full(1, from_prompt, np.float32),
                "object_present": np.full(1, score > 0, np.float32),
            },
        )["memory"]
        (self.prompted if prompted else self.tracked)[frame] = memory, pointer

    def look(self, frame, embeddings):
        back = [(age, frame - age) for age in range(1, 7) if frame - age in self.tracked]
        memories = [(0, self.prompted[t][0]) for t in self.prompted]
        memories += [(age, self.tracked[t][0]) for age, t in back]
        pointers = [(frame - t, self.prompted[t][1]) for t in self.prompted]
        pointers += [
            (age, self.tracked[frame - age][1])
            for age in range(1, self.most)
            if frame - age in self.tracked
        ]
        held = np.concatenate([m for _, m in memories])[None]
        shown = np.stack([p for _, p in pointers])[None].astype(np.float32)
        given = {
            "query": twin("memory_query", {"image_embeddings": embeddings})["query"],
            "memories": held,
            "memory_age": np.array([[a for a, _ in memories]], np.float32),
            "object_pointers": shown,
            "pointer_age": np.array([[a / (self.most - 1) for a, _ in pointers]], np.float32),
        }
        return twin("memory_attention", given)["conditioned_embeddings"]


def encoded(rgb: np.ndarray) -> np.ndarray:
    return tiny_bundle.encode(image_input(rgb, video_bundle.PREPROCESS)[0])


def close(found, expected) -> None:
    logits, _, score = expected
    scale = np.abs(logits).max()
    np.testing.assert_allclose(found.low_res_mask, logits, atol=1e-5 * scale)
    assert found.score == pytest.approx(score, abs=1e-4)
    assert found.present == (score > 0)
