"""Train the demo's memory: `python -m profiles.lab.demo.train_memory --minutes 30`.

The image encoder is frozen; memory, heads, prompt encoder and mask decoder learn, the last two from
the image demo's weights. First the clips are drawn and encoded, to build/clips; then one thread
trains. Both go on where they stopped, the second with `--resume`.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import PCG64, Generator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from exporter.demo import network
from exporter.errors import CheckpointError
from exporter.models.sam2_video import SamVideo
from exporter.scenes.scene import HELD_OUT
from profiles.lab.demo.clip_store import FRAMES, ClipStore, Encoder, Samples, no_prompt
from profiles.lab.demo.muon import Muon
from profiles.lab.demo.train import is_matrix, losses, real_iou
from profiles.lab.demo.unrolled import Decoded, Remembered, Unrolled, chosen, initialise

JUDGED_FROM = HELD_OUT + 500_000
"""First seed of the clips that choose among the states of a run; the figures have others."""
JUDGED, JUDGED_OBJECTS = 24, 32
FEW_PIXELS = 4.0
"""Of 96 x 96: an object that shows less is not seen."""
PARTS = (0.4, 0.75)
"""Shares of a run after which its samples get longer."""
TABLES = ("maskmem_tpos_enc", "no_obj_", "dwconv", "mask_downsample")


@dataclass(frozen=True)
class MemoryPlan:
    """A training run.

    Attributes:
        seed: of samples and first weights.
        clips: to train on; their seeds begin at 0.
        steps: at most.
        minutes: at most; the learning rate is lowest when either is used up.
        objects: followed in one step.
        frames: that each is followed through, in three parts of the run: few frames teach to find
            an object again, more of them to live with one's own mistakes.
        rate: highest learning rate of what is new.
        decoder: share of it that the decoder has.
        decay: weight decay.
        average: the share of its old value that the weights' average keeps at each step.
        warmup: steps until the highest rate.
    """

    seed: int = 0
    clips: int = 1000
    steps: int = 6000
    minutes: float = 30.0
    objects: int = 8
    frames: tuple[int, int, int] = (4, 6, 8)
    rate: float = 2e-3
    decoder: float = 0.4
    decay: float = 0.02
    average: float = 0.99
    warmup: int = 40

    def done(self, steps: int, seconds: float) -> float:
        """Share of the run that is over, 0..1."""
        return min(max(steps / self.steps, seconds / (60 * self.minutes)), 1.0)

    def frames_at(self, steps: int, seconds: float) -> int:
        """Frames of a step's samples."""
        done = self.done(steps, seconds)
        return self.frames[(done >= PARTS[0]) + (done >= PARTS[1])]

    def rate_at(self, steps: int, seconds: float) -> float:
        """Learning rate: linear warm-up, then a cosine down to a hundredth."""
        cosine = 0.5 * (1 + math.cos(math.pi * self.done(steps, seconds)))
        return self.rate * min((steps + 1) / self.warmup, 0.01 + 0.99 * cosine)


def follow(
    model: Unrolled, samples: Samples, trusted: Tensor | None = None
) -> Iterator[tuple[Decoded, Tensor]]:
    """Follow B objects through their frames; yields what was decoded and the targets of each.

    Args:
        model: the network.
        samples: of them.
        trusted: (B,) 1 for objects whose presence is taken from the targets; None for nobody's.
    """
    kept = Remembered([], [])
    frames = zip(samples.embeddings, samples.targets, strict=True)
    trusted = torch.zeros(len(samples.labels)) if trusted is None else trusted
    for at, (embedding, target) in enumerate(frames):
        if at == 0:
            decoded = model.decode(embedding, samples.coords, samples.labels)
        else:
            told = model.condition(embedding, kept)
            decoded = model.decode(told, *no_prompt(len(embedding)))
        yield decoded, target
        if at + 1 < len(samples.embeddings):
            guessed = (decoded.score.detach()[:, 0] > 0).float()
            present = torch.lerp(guessed, is_seen(target), trusted)
            model.remember(kept, embedding, decoded, present)


def is_seen(target: Tensor) -> Tensor:
    """(B, 1, 96, 96) -> (B,): 1 if the object is seen, else 0."""
    return (target.sum((1, 2, 3)) > FEW_PIXELS).float()


def frame_loss(decoded: Decoded, target: Tensor, *, prompted: bool) -> Tensor:
    """Add up a frame's losses: masks and their IoU where there is an object, and the score."""
    seen = is_seen(target)
    score = F.binary_cross_entropy_with_logits(decoded.score[:, 0], seen)
    there = seen > 0
    if not there.any():
        return score
    masks, iou, wanted = decoded.masks[there], decoded.iou[there], target[there]
    if prompted:
        return losses(masks, iou, wanted).total + score
    # One answer is right: every token shall give it.
    probability, each = masks.sigmoid(), wanted.expand_as(masks)
    entropy = F.binary_cross_entropy_with_logits(masks, each, reduction="none")
    entropy = (entropy * (probability - wanted).abs()).sum((2, 3))
    overlap, area = (probability * wanted).sum((2, 3)), wanted.sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (probability.sum((2, 3)) + area + 1)
    shape = 2 * (entropy / (area + 50) + dice).mean()
    return shape + F.mse_loss(iou, real_iou(masks, wanted)) + score


@torch.no_grad()
def similarity(decoded: Decoded, target: Tensor) -> Tensor:
    """(B,): IoU of the answers at the low resolution; of an absent object 1 for an empty mask."""
    rows = torch.arange(len(target))
    masks = decoded.masks[rows, chosen(decoded)][:, None]
    masks = torch.where(decoded.score[:, :, None, None] > 0, masks, -1.0)
    found, wanted = masks > 0, target > 0.5
    both, either = (found & wanted).sum((1, 2, 3)), (found | wanted).sum((1, 2, 3))
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)


class Trainer:
    """The network, its averaged copy and the optimisers."""

    def __init__(self, plan: MemoryPlan) -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.steps, self.seconds, self.best = plan, 0, 0.0, 0.0
        self.sam = network.build_video()
        # What the demo for pictures has not is drawn by `initialise`; all that it has is taken.
        odd = self.sam.load_state_dict(load_file(network.WEIGHTS), strict=False).unexpected_keys
        if odd:
            raise CheckpointError(f"{network.WEIGHTS} has {odd[0]}, which the network has not")
        initialise(self.sam)
        self.sam.image_encoder.requires_grad_(False)
        self.average = copy.deepcopy(self.sam).eval().requires_grad_(False)
        self.model, self.judged = Unrolled(self.sam), Unrolled(self.average)
        self.optimisers = self._optimisers()

    def _optimisers(self) -> tuple[torch.optim.Optimizer, ...]:
        sets: dict[tuple[bool, float], list[nn.Parameter]] = {}
        for name, weight in self.sam.named_parameters():
            if not weight.requires_grad or name.startswith("mask_downsample"):
                continue
            new = not name.startswith(("prompt_encoder.", "mask_decoder.")) or "obj_" in name
            matrix = is_matrix(name, weight) and not any(part in name for part in TABLES)
            sets.setdefault((matrix, 1.0 if new else self.plan.decoder), []).append(weight)
        groups: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
        for (matrix, scale), weights in sets.items():
            groups[matrix].append({"params": weights, "scale": scale})
        return (
            Muon(groups[True], lr=self.plan.rate, decay=self.plan.decay),
            torch.optim.AdamW(groups[False], lr=self.plan.rate, weight_decay=0.0, fused=True),
        )

    def step(self, samples: Samples, rng: Generator) -> tuple[float, float]:
        """Train once. Returns the loss of a frame, and the mean IoU of those after the first."""
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
            for group in optimiser.param_groups:
                group["lr"] = group["scale"] * self.plan.rate_at(self.steps, self.seconds)
        share = 1 - self.plan.done(self.steps, self.seconds)
        trusted = torch.from_numpy(rng.random(len(samples.labels)) < share).float()
        total, met = torch.zeros(()), []
        for at, (decoded, target) in enumerate(follow(self.model, samples, trusted)):
            total = total + frame_loss(decoded, target, prompted=at == 0)
            if at:
                met.append(float(similarity(decoded, target).mean()))
        total = total / len(samples.embeddings)
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.sam.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self.steps += 1
        self._update_average()
        return float(total.detach()), float(np.mean(met))

    @torch.no_grad()
    def _update_average(self) -> None:
        keep = min(self.plan.average, (1 + self.steps) / (10 + self.steps))
        pairs = zip(self.average.parameters(), self.sam.parameters(), strict=True)
        learnt = [(old, new) for old, new in pairs if new.requires_grad]
        torch._foreach_lerp_(
            [old for old, _ in learnt], [new.detach() for _, new in learnt], 1 - keep
        )

    @torch.no_grad()
    def judge(self, samples: Samples) -> float:
        """Measure the mean IoU of the average's answers after the first frame, 0..1."""
        met = [similarity(*each) for each in follow(self.judged, samples)]
        return float(torch.stack(met[1:]).mean())

    def save_state(self, path: Path) -> None:
        """Save everything needed to resume."""
        state = {
            "plan": asdict(self.plan), "steps": self.steps, "seconds": self.seconds,
            "best": self.best, "sam": self.sam.state_dict(), "average": self.average.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }  # fmt: skip
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def load_state(self, path: Path) -> None:
        """Resume from `save_state`."""
        state = torch.load(path, weights_only=True)
        self.steps, self.seconds, self.best = state["steps"], state["seconds"], state["best"]
        self.sam.load_state_dict(state["sam"])
        self.average.load_state_dict(state["average"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)

    def save_weights(self, path: Path, command: str) -> None:
        """Write the averaged weights but the image encoder's as float16; whole or not at all."""
        save_weights(self.average, path, {
            "command": command, "plan": json.dumps(asdict(self.plan)),
            "steps": str(self.steps), "seconds": f"{self.seconds:.0f}",
            "held_out_iou": f"{self.best:.4f}", "judged": str(JUDGED_OBJECTS),
        })  # fmt: skip


def save_weights(sam: SamVideo, path: Path, made: dict[str, str]) -> None:
    """Write what a video has besides the image encoder, with how it was made."""
    tensors = {
        name: value.half().contiguous()
        for name, value in sam.state_dict().items()
        if not name.startswith(network.ENCODER_NAME)
    }
    versions = {
        "torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version(),
    }  # fmt: skip
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata=made | versions)
    partial.chmod(0o644)
    partial.replace(path)


def fill(store: ClipStore, encoder: Encoder) -> None:
    """Draw and encode the clips that are not there yet."""
    start, before = time.perf_counter(), store.filled
    while store.fill(encoder):
        now = store.filled
        if now % 100 == 0:
            spent = time.perf_counter() - start
            print(f"clip {now}/{store.count}  {spent / (now - before):.2f} s each", flush=True)


def train(
    trainer: Trainer, store: ClipStore, judged: Samples, arguments: argparse.Namespace
) -> None:
    """Train to the last step or minute; keep the weights that do best on held-out clips."""
    plan, sums, count = trainer.plan, np.zeros(2), 0
    then = saved = time.perf_counter()
    over = False
    while not over:
        rng = Generator(PCG64([plan.seed, trainer.steps]))
        frames = plan.frames_at(trainer.steps, trainer.seconds)
        samples = store.draw(rng, plan.objects, frames)
        sums, count = sums + trainer.step(samples, rng), count + 1
        now = time.perf_counter()
        trainer.seconds, then = trainer.seconds + now - then, now
        over = plan.done(trainer.steps, trainer.seconds) >= 1.0
        if over or now - saved > 60 * arguments.every:
            found = trainer.judge(judged)
            loss, met = sums / count
            print(
                f"step {trainer.steps}  {trainer.seconds / 60:.1f} min  loss {loss:.3f}  "
                f"IoU {met:.3f}  held out {found:.3f}",
                flush=True,
            )
            if found > trainer.best:
                trainer.best = found
                trainer.save_weights(arguments.output, command(plan))
            trainer.save_state(arguments.state)
            sums, count, saved = np.zeros(2), 0, time.perf_counter()


def command(plan: MemoryPlan) -> str:
    """Spell the command that runs a plan."""
    limits = f"--clips {plan.clips} --steps {plan.steps} --minutes {plan.minutes:g}"
    return f"python -m profiles.lab.demo.train_memory --seed {plan.seed} {limits}"


def main() -> None:
    """Parse, draw, train."""
    parser = argparse.ArgumentParser(
        "python -m profiles.lab.demo.train_memory", description=__doc__
    )
    add = parser.add_argument
    add("--seed", type=int, default=MemoryPlan.seed)
    add("--clips", type=int, default=MemoryPlan.clips, help=f"of {FRAMES} frames")
    add("--steps", type=int, default=MemoryPlan.steps)
    add("--minutes", type=float, default=MemoryPlan.minutes, help="of training, at most")
    add("--every", type=float, default=2.0, help="minutes between two judgements")
    add("--folder", type=Path, default=Path("build/clips"), help="of the drawn clips")
    add("--state", type=Path, default=Path("build/memory.pt"), help="written regularly")
    add("--resume", action="store_true", help="go on from --state")
    add("--output", type=Path, default=network.MEMORY, help="the weights file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plan = MemoryPlan(
        seed=arguments.seed, clips=arguments.clips, steps=arguments.steps,
        minutes=arguments.minutes,
    )  # fmt: skip
    encoder = Encoder()
    store = ClipStore(arguments.folder / "train", 0, plan.clips)
    held_out = ClipStore(arguments.folder / "held_out", JUDGED_FROM, JUDGED)
    fill(held_out, encoder)
    fill(store, encoder)
    judged = held_out.draw(Generator(PCG64(0)), JUDGED_OBJECTS, FRAMES)
    trainer = Trainer(plan)
    if arguments.resume:
        trainer.load_state(arguments.state)
    train(trainer, store, judged, arguments)


if __name__ == "__main__":
    main()
