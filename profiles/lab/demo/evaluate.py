"""Grade the demo model on held-out scenes: `python -m profiles.lab.demo.evaluate --scenes 200`."""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import PCG64, Generator
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from torch import Tensor

from exporter.demo import network
from exporter.graphs import graphs_of
from exporter.host_rules import prompt_rule
from exporter.models.layers import freeze
from exporter.models.sam import Sam
from exporter.scenes.prompts import Mask, Point, bounding_box, deepest_pixel, random_pixel
from exporter.scenes.scene import HELD_OUT, scene
from exporter.variants import load_variant
from profiles.lab.demo.batches import (
    BOX_HIGH,
    BOX_LOW,
    EMPTY,
    NOT_A_POINT,
    PAD,
    POINT_SLOTS,
    SLOTS,
    pad,
)

RESULTS = Path(__file__).parents[3] / "profiles" / "results" / "demo-accuracy.md"

SIZES = ((256, 256), (240, 320), (384, 256), (360, 640), (480, 480))
"""Height and width of the held-out scenes, in turn."""

EXAMPLES = """examples:
  python -m profiles.lab.demo.evaluate --scenes 200
  python -m profiles.lab.demo.evaluate --scenes 200 --write
  python -m profiles.lab.demo.evaluate --scenes 20 --weights /tmp/pilot.safetensors --json"""

Choice = Callable[[NDArray[np.float32]], int]
"""`iou_predictions` (M,) -> the token whose mask is the answer."""


def best_of_three(iou: NDArray[np.float32]) -> int:
    """Choose as `Segmenter` does with multimask on: the best prediction among tokens 1..3."""
    return 1 + int(np.argmax(iou[1:]))


def token_zero(iou: NDArray[np.float32]) -> int:
    """Choose as `Segmenter` does with multimask off."""
    del iou
    return 0


CHOICES: dict[str, Choice] = {"best of tokens 1-3": best_of_three, "token 0": token_zero}

POINT = "one point (deepest pixel)"
REFINED = "that mask again and a second point where it is wrong"


@dataclass(frozen=True)
class Prompt:
    """Points with their labels (1 or 0), a box or none, a previous mask or none.

    Coordinates are pixels of the scene; `mask` is (96, 96), logits.
    """

    points: tuple[tuple[Point, int], ...] = ()
    box: tuple[float, float, float, float] | None = None
    mask: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Prediction:
    """`low_res_masks` (M, 96, 96), `iou_predictions` (M,)."""

    low_res_masks: NDArray[np.float32]
    iou_predictions: NDArray[np.float32]


class Model:
    """The two static graphs in torch, with an image set once and prompted many times."""

    def __init__(self, sam: Sam) -> None:
        """Freeze `sam` in place."""
        freeze(sam)
        variant = load_variant("demo")
        encoder, decoder = graphs_of(sam, variant, prompt_rule(variant, 1, SLOTS))
        self.encoder, self.decoder = encoder.module, decoder.module
        self.embedding, self.size = torch.zeros(0), (0, 0)

    @property
    def scale(self) -> float:
        """Pixels of the network's input for one of the scene."""
        return network.IMAGE_SIZE / max(self.size)

    @torch.no_grad()
    def set_image(self, image: NDArray[np.uint8]) -> None:
        """Take an image, (H, W, 3) RGB."""
        self.size = image.shape[:2]
        pixels = torch.from_numpy(pad(Image.fromarray(image), PAD).copy())
        self.embedding = self.encoder(pixels.permute(2, 0, 1)[None].float())

    @torch.no_grad()
    def predict(self, prompt: Prompt) -> Prediction:
        """Predict every mask token's mask and IoU."""
        side = 4 * network.GRID
        given = 0.0 if prompt.mask is None else 1.0
        mask = np.zeros((side, side), np.float32) if prompt.mask is None else prompt.mask
        masks, iou = self.decoder(
            self.embedding, *self._slots(prompt), torch.from_numpy(mask)[None, None],
            torch.tensor([given]),
        )  # fmt: skip
        return Prediction(masks[0].numpy(), iou[0].numpy())

    def _slots(self, prompt: Prompt) -> tuple[Tensor, Tensor]:
        """Coordinates (1, N, 2) in pixels of the input, and labels (1, N)."""
        coords, labels = torch.zeros(1, SLOTS, 2), torch.full((1, SLOTS), EMPTY)
        for slot, (point, label) in enumerate(prompt.points):
            coords[0, slot], labels[0, slot] = torch.tensor(point), float(label)
        if prompt.box is None:
            labels[0, POINT_SLOTS] = NOT_A_POINT
        else:
            coords[0, POINT_SLOTS:] = torch.tensor(prompt.box).reshape(2, 2)
            labels[0, POINT_SLOTS:] = torch.tensor([BOX_LOW, BOX_HIGH])
        return coords * self.scale, labels

    def upscale(self, low_res_mask: NDArray[np.float32]) -> Mask:
        """(96, 96) logits -> (H, W): to the input's size, cropped, to the scene's size, > 0."""
        height, width = (round(side * self.scale) for side in self.size)
        logits = torch.from_numpy(low_res_mask)[None, None]
        logits = F.interpolate(logits, size=(network.IMAGE_SIZE,) * 2, mode="bilinear")
        logits = F.interpolate(logits[..., :height, :width], size=self.size, mode="bilinear")
        return (logits[0, 0] > 0).numpy()


def iou(found: Mask, wanted: Mask) -> float:
    """Intersection over union, 0..1, higher is better."""
    either = int((found | wanted).sum())
    return int((found & wanted).sum()) / either if either else 1.0


def first_prompts(rng: Generator, wanted: Mask) -> dict[str, Prompt]:
    """Make every kind of first prompt, by the name of its row."""
    deepest = (deepest_pixel(wanted), 1)
    others = tuple((random_pixel(rng, wanted), 1) for _ in range(2))
    return {
        "box": Prompt(box=bounding_box(wanted)),
        POINT: Prompt((deepest,)),
        "one point (any pixel inside)": Prompt(others[:1]),
        "three points inside": Prompt((deepest, *others)),
    }


def refine(model: Model, prompt: Prompt, answer: Prediction, wanted: Mask) -> Prompt:
    """Make a prompt of the chosen mask and a point where it is most wrong."""
    chosen = answer.low_res_masks[best_of_three(answer.iou_predictions)]
    wrong = model.upscale(chosen) != wanted
    if not wrong.any():
        return Prompt(prompt.points, mask=chosen)
    x, y = deepest_pixel(wrong)
    return Prompt((*prompt.points, ((x, y), int(wanted[int(y), int(x)]))), mask=chosen)


def object_scores(model: Model, rng: Generator, wanted: Mask) -> dict[str, float]:
    """Measure the IoU of one object from each kind of prompt; keys are the table's rows."""
    prompts = first_prompts(rng, wanted)
    prompts[REFINED] = refine(model, prompts[POINT], model.predict(prompts[POINT]), wanted)
    scores: dict[str, float] = {}
    for row, prompt in prompts.items():
        answer = model.predict(prompt)
        for rule, choose in CHOICES.items():
            token = choose(answer.iou_predictions)
            found = model.upscale(answer.low_res_masks[token])
            scores[f"{row}, {rule}"] = iou(found, wanted)
    return scores


def evaluate(model: Model, scenes: int) -> dict[str, list[float]]:
    """Measure the IoU of every object of the first `scenes` held-out scenes, by kind of prompt."""
    scores: dict[str, list[float]] = {}
    for number in range(scenes):
        found = scene(HELD_OUT + number, *SIZES[number % len(SIZES)])
        model.set_image(found.image)
        rng = Generator(PCG64([HELD_OUT, number]))
        for wanted in found.instances:
            for row, value in object_scores(model, rng, wanted).items():
                scores.setdefault(row, []).append(value)
    return scores


def table(scores: dict[str, list[float]]) -> str:
    """Format the results as Markdown."""
    lines = ["| prompt | mean IoU | median | 10th percentile | objects |", "|---|---|---|---|---|"]
    for row, values in scores.items():
        tenth, median = np.percentile(values, [10, 50])
        cells = (row, f"{np.mean(values):.3f}", f"{median:.3f}", f"{tenth:.3f}", str(len(values)))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


REPORT = """# Accuracy of the demo model

Mean IoU (0..1, higher is better) at the scene's own resolution, on scenes that training never
draws: seeds from {held_out} on, sizes {sizes} in turn. Written by

    {command}

{table}

The headline rule is `Segmenter`'s with multimask on: of the mask tokens 1..3 the one with the
highest `iou_predictions`. "Deepest pixel" is the farthest from the outside of the visible part.

Weights: sha256 `{digest}`, float16 in the file, float32 in this measurement, torch {torch}.
They come from

    {made}

({steps} steps, {minutes:.0f} minutes on one core shared with other work; torch {made_torch},
numpy {made_numpy}.) {history}
"""


def report(results: str, command: str, weights: Path) -> str:
    """Write the results page: the table, its command and the origin of the weights."""
    with safe_open(weights, framework="np") as opened:
        made = opened.metadata()
    return REPORT.format(
        held_out=f"{HELD_OUT:,}", sizes=", ".join(f"{h}x{w}" for h, w in SIZES), command=command,
        table=results, digest=hashlib.sha256(weights.read_bytes()).hexdigest(),
        torch=torch.__version__, made=made["command"], steps=made["steps"],
        minutes=float(made["seconds"]) / 60, made_torch=made["torch"], made_numpy=made["numpy"],
        history=made.get("history", ""),
    )  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """Make the argument parser."""
    made = argparse.ArgumentParser(
        prog="python -m profiles.lab.demo.evaluate",
        description="Measure the demo model on scenes it was not trained on.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--scenes", type=int, default=200, help="number of held-out scenes")
    made.add_argument("--weights", type=Path, default=network.WEIGHTS, help="the weights file")
    made.add_argument("--write", action="store_true", help=f"also write {RESULTS.name}")
    made.add_argument("--json", action="store_true", help="print means as JSON, not the table")
    return made


def main() -> None:
    """Parse, evaluate, print."""
    arguments = parser().parse_args()
    torch.set_num_threads(1)
    scores = evaluate(Model(network.load(arguments.weights)), arguments.scenes)
    means = {row: round(float(np.mean(values)), 4) for row, values in scores.items()}
    print(json.dumps(means, indent=2) if arguments.json else table(scores))
    if arguments.write:
        command = "python -m profiles.lab.demo.evaluate " + shlex.join(sys.argv[1:])
        RESULTS.write_text(report(table(scores), command, arguments.weights))


if __name__ == "__main__":
    main()
