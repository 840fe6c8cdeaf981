"""Train the demo's head that proposes points: `python -m profiles.lab.demo.train_proposer`.

It learns on the embedding of the trained demo network, which stays as it is: a heat map whose peaks
are the deepest pixels of objects, with CenterNet's loss (arXiv 1904.07850, section 3). One thread;
two minutes of a core for 3,000 scenes, kept in `--examples`, and four for the training.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import PCG64, Generator
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from exporter.demo import network
from exporter.models.layers import Normalise, freeze
from exporter.models.point_proposer import PointProposer
from exporter.models.sam import Sam
from exporter.scenes.prompts import deepest_pixel
from profiles.lab.demo.batches import PAD, SIZE, pad, training_scene

MOST = 8
"""Objects of a scene, at most seven, and a row for none."""
BATCH = 32
WARM = 0.01
"""Score of every cell before training: few hold an object's middle."""


@dataclass(frozen=True)
class Plan:
    """A training run.

    Attributes:
        seed: decides scenes, batches and first weights.
        scenes: to train on.
        steps: of 32 scenes.
        rate: highest learning rate, of one cycle.
        decay: weight decay.
        spread: standard deviation of a target's peak, in cells.
    """

    seed: int = 7
    scenes: int = 3000
    steps: int = 1700
    rate: float = 4e-3
    decay: float = 0.02
    spread: float = 1.0


def examples(plan: Plan, store: Path) -> tuple[Tensor, Tensor]:
    """Give every scene's embedding and the deepest pixels of its objects, from the store if there.

    Returns:
        (N, C, h, w) float16, and (N, `MOST`, 2) x, y in pixels of the input, -1 for no object.
    """
    if not store.exists():
        sam = network.load()
        freeze(sam)
        made = [_example(sam, plan.seed, number) for number in range(plan.scenes)]
        store.parent.mkdir(exist_ok=True)
        np.savez(store, e=np.stack([a for a, _ in made]), p=np.stack([b for _, b in made]))
    with np.load(store) as arrays:
        return torch.from_numpy(arrays["e"]), torch.from_numpy(arrays["p"])


@torch.no_grad()
def _example(sam: Sam, seed: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    shown = training_scene(Generator(PCG64([seed, number])))
    image = torch.from_numpy(pad(Image.fromarray(shown.image), PAD).copy())
    pixels = image.permute(2, 0, 1)[None].float()
    embedding = sam(Normalise(network.MEAN, network.STD)(pixels))[0].half().numpy()
    points = np.full((MOST, 2), -1, np.float32)
    scale = SIZE / max(shown.image.shape)
    for at, mask in enumerate(shown.instances):
        points[at] = (np.array(deepest_pixel(mask)) + 0.5) * scale
    return embedding, points


def targets(points: Tensor, spread: float) -> Tensor:
    """Draw each object's peak: (N, K, 2) in pixels of the input -> (N, h, w), 1 in its cell."""
    grid, real = network.GRID, points[..., 0] >= 0
    places = points * (grid / SIZE)
    middles = torch.arange(grid) + 0.5
    across = (middles - places[..., :1]).square()
    down = (middles - places[..., 1:]).square()
    heat = torch.exp(-(down[..., :, None] + across[..., None, :]) / (2 * spread**2))
    drawn = (heat * real[..., None, None]).amax(1)
    cells = places.long().clamp(0, grid - 1)
    at, which = real.nonzero(as_tuple=True)
    drawn[at, cells[at, which, 1], cells[at, which, 0]] = 1
    return drawn


def loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """CenterNet's: focal, and lenient near a peak; (N, h, w) -> a number an object."""
    score, peak = logits.sigmoid(), (wanted == 1).float()
    hit = peak * (1 - score).square() * F.logsigmoid(logits)
    miss = (1 - peak) * (1 - wanted) ** 4 * score.square() * F.logsigmoid(-logits)
    return -(hit + miss).sum() / peak.sum()


def train(plan: Plan, embeddings: Tensor, wanted: Tensor) -> PointProposer:
    """Train a head from the plan's seed."""
    torch.manual_seed(plan.seed)
    head = PointProposer(network.WIDTH)
    with torch.no_grad():
        cast("Tensor", head.last.bias).fill_(float(np.log(WARM / (1 - WARM))))
    optimiser = torch.optim.AdamW(head.parameters(), lr=plan.rate, weight_decay=plan.decay)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, plan.rate, total_steps=plan.steps + 1)
    chance = torch.Generator().manual_seed(plan.seed)
    start, sums = time.perf_counter(), 0.0
    for step in range(1, plan.steps + 1):
        chosen = torch.randint(len(embeddings), (BATCH,), generator=chance)
        found = loss(head.logits(embeddings[chosen].float())[:, 0], wanted[chosen])
        optimiser.zero_grad()
        found.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        rates.step()
        sums += float(found.detach())
        if step % 100 == 0:
            spent = time.perf_counter() - start
            print(f"step {step}/{plan.steps}  {spent:.0f} s  loss {sums / 100:.3f}", flush=True)
            sums = 0.0
    return head.eval()


def save(head: PointProposer, plan: Plan, path: Path) -> None:
    """Write the weights as float16, with their command; whole or not at all."""
    tensors = {name: value.half().contiguous() for name, value in head.state_dict().items()}
    made = {
        "command": "python -m profiles.lab.demo.train_proposer", "plan": json.dumps(asdict(plan)),
        "torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version(),
    }  # fmt: skip
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata=made)
    partial.chmod(0o644)
    partial.replace(path)


def main() -> None:
    """Parse, train, save."""
    parser = argparse.ArgumentParser(
        "python -m profiles.lab.demo.train_proposer", description=__doc__
    )
    parser.add_argument("--examples", type=Path, default=Path("build/proposals.npz"))
    parser.add_argument("--scenes", type=int, default=Plan.scenes)
    parser.add_argument("--steps", type=int, default=Plan.steps)
    parser.add_argument("--output", type=Path, default=network.PROPOSER)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plan = Plan(scenes=arguments.scenes, steps=arguments.steps)
    embeddings, points = examples(plan, arguments.examples)
    save(train(plan, embeddings, targets(points, plan.spread)), plan, arguments.output)


if __name__ == "__main__":
    main()
