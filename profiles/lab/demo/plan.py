"""A training run of the demo model as data, and its batches drawn ahead. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.queues import Queue

from profiles.lab.demo.batches import Batch, batches


@dataclass(frozen=True)
class TrainingPlan:
    """A training run.

    Attributes:
        seed: decides scenes, prompts and first weights.
        steps: batches to train on, at most.
        minutes: time to train, at most. The learning rate is lowest when either is used up.
        images: images in a batch.
        prompts: prompted objects of an image.
        rate: highest learning rate.
        warmup: steps until the highest rate.
        decay: weight decay.
        average: the share of its old value that the weights' average keeps at each step.
    """

    seed: int = 0
    steps: int = 20000
    minutes: float = 600.0
    images: int = 4
    prompts: int = 4
    rate: float = 2e-3
    warmup: int = 60
    decay: float = 0.02
    average: float = 0.999

    def command(self) -> str:
        """Spell the command that runs this plan."""
        limits = f"--seed {self.seed} --steps {self.steps} --minutes {self.minutes:g}"
        return f"python -m profiles.lab.demo.train {limits}"

    def done(self, steps: int, seconds: float) -> float:
        """Share of the run that is over, 0..1."""
        return min(max(steps / self.steps, seconds / (60 * self.minutes)), 1.0)

    def rate_at(self, steps: int, seconds: float) -> float:
        """Learning rate: linear warm-up, then a cosine down to a hundredth."""
        cosine = 0.5 * (1 + math.cos(math.pi * self.done(steps, seconds)))
        return self.rate * min((steps + 1) / self.warmup, 0.01 + 0.99 * cosine)


def _produce(queue: Queue[Batch], plan: TrainingPlan, first: int) -> None:
    for batch in batches(plan.seed, first, plan.images, plan.prompts):
        queue.put(batch)


def produce(plan: TrainingPlan, first: int) -> Iterator[Batch]:
    """Generate `batches`, drawn ahead by another process."""
    context = get_context("spawn")
    queue: Queue[Batch] = context.Queue(8)
    worker = context.Process(target=_produce, args=(queue, plan, first), daemon=True)
    worker.start()
    try:
        while True:
            yield queue.get()
    finally:
        worker.terminate()
