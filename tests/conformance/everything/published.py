"""The cases of the published mask generators: options, what was asked, and what was kept."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.conformance.everything.scene import Scene, ScenePredictor

CASES = Path(__file__).parent / "cases"
GENERATORS = ("sam", "sam2", "tinysam", "mobilesam_v2")


class Recorder(ScenePredictor):
    """The stand-in, with what it was asked in the order it was asked."""

    def __init__(self, scene: Scene, frame: str) -> None:
        super().__init__(scene, frame)
        self.crops: list[tuple[int, int, int, int]] = []
        self.asked: list[np.ndarray[Any, Any]] = []
        self.per_call: list[tuple[int, int]] = []

    def set_image(self, rgb):
        super().set_image(rgb)
        height, width = rgb.shape[:2]
        self.crops.append((self.x0, self.y0, self.x0 + width, self.y0 + height))

    def points(self, points, multimask=True, mask_input=None):
        self._note(points)
        return super().points(points, multimask, mask_input)

    def boxes(self, boxes):
        self._note(boxes)
        return super().boxes(boxes)

    def _note(self, prompts):
        self.asked.append(np.array(prompts))
        self.per_call.append((len(self.crops) - 1, len(prompts)))


@dataclass(frozen=True)
class Case:
    generator: str
    name: str
    facts: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.generator}-{self.name}"

    def array(self, name: str) -> np.ndarray[Any, Any]:
        with np.load(CASES / f"{self.generator}.npz") as stored:
            return stored[f"{self.name}.{name}"]

    def runs(self, name: str = "rle") -> list[np.ndarray[Any, Any]]:
        flat, starts = self.array(name), self.array(f"{name}_starts")
        return [flat[a:b] for a, b in itertools.pairwise(starts)]

    def predictor(self) -> Recorder:
        return Recorder(Scene(**self.facts["scene"]), self.facts["frame"])


def cases(generator: str) -> list[Case]:
    text = (CASES / f"{generator}.json").read_text()
    return [Case(generator, name, facts) for name, facts in json.loads(text)["cases"].items()]


def step(name: str) -> Case:
    return next(case for case in cases("steps") if case.name == name)
