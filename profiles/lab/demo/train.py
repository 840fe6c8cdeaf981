"""Train the demo model: `python -m profiles.lab.demo.train --minutes 60 --state build/demo.pt`.

One process draws scenes and prompts, this one trains on one thread. The state is written every
minute or so; the same command with `--resume` continues where it stopped.

With glibc, MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592 in the environment
saves a fifth of the time: otherwise each tensor's pages are returned and requested again.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from exporter.demo import network
from exporter.models.layers import Normalise
from exporter.models.mask_decoder import TwoWayBlock, Upscale2x
from exporter.models.sam import Sam
from profiles.lab.demo.batches import FIRST_CORRECTION, Batch
from profiles.lab.demo.muon import Muon
from profiles.lab.demo.plan import TrainingPlan, produce

EXAMPLES = """examples:
  python -m profiles.lab.demo.train --minutes 60 --state build/demo.pt
  python -m profiles.lab.demo.train --minutes 60 --state build/demo.pt --resume
  python -m profiles.lab.demo.train --steps 200 --output /tmp/pilot.safetensors"""


@dataclass(frozen=True)
class Prompts:
    """The decoder's inputs: (B, N, 2), (B, N), (B, 1, 96, 96) or None for no mask, (B,)."""

    coords: Tensor
    labels: Tensor
    mask_input: Tensor | None
    has_mask_input: Tensor


def decode(sam: Sam, embedding: Tensor, asked: Prompts) -> tuple[Tensor, Tensor]:
    """Decode (I, C, h, w) with B = I * P prompts: logits (B, M, 96, 96), predicted IoU (B, M).

    Positions are float32 whatever autocast says: bfloat16 has too few digits for a pixel.
    """
    encoder, batch = sam.prompt_encoder, len(asked.coords)
    with torch.autocast("cpu", enabled=False):
        prompts, empty = encoder(asked.coords, asked.labels)
        position = encoder.dense_position()
        output = sam.mask_decoder.output_tokens(batch)
    tokens = torch.cat([output, prompts], dim=1)
    bias = torch.cat([torch.zeros(batch, output.shape[1]), empty], dim=1)[:, None, None]
    image = embedding.float().flatten(2).transpose(1, 2)
    image = image.repeat_interleave(batch // len(embedding), dim=0)
    if asked.mask_input is None:
        image = image + encoder.no_mask_embed.weight
    else:
        image = image + encoder.dense(asked.mask_input, asked.has_mask_input)
    masks, iou = sam.mask_decoder(image, position, tokens, bias)
    return masks.float(), iou.float()


@dataclass(frozen=True)
class Losses:
    """Losses of one decoding: the total, the mean real IoU (0..1) of token 0 and of the choice."""

    total: Tensor
    first_iou: float
    chosen_iou: float


def losses(masks: Tensor, iou: Tensor, target: Tensor) -> Losses:
    """Compute losses: token 0 alone; of tokens 1..3 mostly the best; every predicted IoU.

    Args:
        masks: (B, M, 96, 96) logits.
        iou: (B, M) predicted.
        target: (B, 1, 96, 96) covered shares in 0..1.
    """
    area = target.sum((2, 3))
    wanted = target.expand_as(masks)
    probability = masks.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(masks, wanted, reduction="none")
    entropy = (entropy * (probability - target).abs()).sum((2, 3))
    overlap = (probability * target).sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (probability.sum((2, 3)) + area + 1)
    each = entropy / (area + 50) + dice
    real = real_iou(masks, target)
    several = each[:, 1:]
    shape = each[:, 0] + several.min(dim=1).values + 0.2 * several.mean(dim=1)
    total = shape.mean() + F.mse_loss(iou, real)
    best = real[:, 1:].gather(1, iou[:, 1:].argmax(dim=1, keepdim=True))
    return Losses(total, float(real[:, 0].mean()), float(best.mean()))


@torch.no_grad()
def real_iou(masks: Tensor, target: Tensor) -> Tensor:
    """Intersection over union at the low resolution, (B, M), 0..1."""
    found, wanted = masks > 0, target > 0.5
    both = (found & wanted).sum((2, 3)).float()
    either = (found | wanted).sum((2, 3)).float()
    return both / either.clamp(min=1)


@torch.no_grad()
def correct(
    asked: Prompts, masks: Tensor, iou: Tensor, target: Tensor, slot: int, chance: torch.Generator
) -> Prompts:
    """Make the next prompt: a point where the chosen mask is wrong and, mostly, that mask."""
    rows = torch.arange(len(masks))
    token = 1 + iou[:, 1:].argmax(dim=1)
    token = torch.where(torch.rand(len(masks), generator=chance) < 0.5, token, 0)
    chosen = masks[rows, token]
    wanted = target[:, 0] > 0.5
    wrong = ((chosen > 0) != wanted).float().flatten(1) + 1e-6
    place = (wrong * torch.rand(wrong.shape, generator=chance)).argmax(dim=1)
    coords, labels = asked.coords.clone(), asked.labels.clone()
    side = chosen.shape[-1]
    cell = network.IMAGE_SIZE / side
    x, y = (place % side).float(), (place // side).float()
    coords[:, slot] = (torch.stack([x, y], dim=1) + 0.5) * cell - 0.5
    labels[:, slot] = wanted.flatten(1)[rows, place].float()
    given = (torch.rand(len(masks), generator=chance) < 0.75).float()
    return Prompts(coords, labels, chosen[:, None] * given[:, None, None, None], given)


class DenseHead(nn.Module):
    """A training loss on the embedding without any prompt.

    A few prompts teach an image encoder slowly. Every pixel teaches it where objects end, and every
    pair of cells whether they belong to the same object.
    """

    DESCRIPTOR = 16
    CELLS = 192

    def __init__(self) -> None:
        super().__init__()
        self.scale = 4
        self.project = nn.Conv2d(network.WIDTH, self.scale**2 + self.DESCRIPTOR, 1)

    def forward(self, embedding: Tensor, owners: Tensor, chance: torch.Generator) -> Tensor:
        """Embedding (I, C, h, w) and each pixel's owner (I, 4h, 4w) -> the loss."""
        projected = self.project(embedding)
        edges = F.pixel_shuffle(projected[:, : self.scale**2], self.scale)[:, 0]
        wanted = torch.zeros_like(edges)
        wanted[:, :, 1:] += owners[:, :, 1:] != owners[:, :, :-1]
        wanted[:, 1:] += owners[:, 1:] != owners[:, :-1]
        edge_loss = F.binary_cross_entropy_with_logits(edges, wanted.clamp(max=1))
        cells = torch.randint(network.GRID**2, (self.CELLS,), generator=chance)
        descriptors = projected[:, self.scale**2 :].flatten(2)[:, :, cells].transpose(1, 2)
        middles = owners[:, 2 :: self.scale, 2 :: self.scale].flatten(1)[:, cells]
        return 4 * edge_loss + pair_loss(descriptors, middles)


def pair_loss(descriptors: Tensor, owners: Tensor) -> Tensor:
    """Pull descriptors (I, n, d) together if their owners (I, n) are the same, apart if not."""
    distance = (descriptors[:, :, None] - descriptors[:, None]).square().sum(-1)
    same = (owners[:, :, None] == owners[:, None]).float()
    each = F.binary_cross_entropy_with_logits(2.0 - distance, same, reduction="none")
    apart = 1 - same
    return (each * same).sum() / same.sum() + (each * apart).sum() / apart.sum().clamp(min=1)


@torch.no_grad()
def initialise(sam: Sam) -> Sam:
    """Set first weights, in place, from which a short training learns at once.

    Queries and keys between tokens and image begin as the same, stronger projection: a token
    attends to places near its own position before anything is learnt. Upscaling keeps variance.
    """
    for module in sam.mask_decoder.transformer.layers:
        layer = cast(TwoWayBlock, module)
        for attention in (layer.cross_attn_token_to_image, layer.cross_attn_image_to_token):
            attention.k_proj.weight.mul_(2.0)
            attention.q_proj.weight.copy_(attention.k_proj.weight)
    for index in (0, 3):
        weight = cast(Upscale2x, sam.mask_decoder.output_upscaling[index]).weight
        weight.normal_(std=weight.shape[0] ** -0.5)
    return sam


def is_matrix(name: str, weight: nn.Parameter) -> bool:
    """Tell whether Muon trains a weight: no embedding, bias table, depthwise or first layer."""
    tables = ("_embed.", "_embeddings.", "iou_token.", "mask_tokens.", "attention_biases")
    if weight.ndim < 2 or any(part in name for part in tables):
        return False
    return weight.shape[0] >= 8 and weight[0].numel() >= 16 and weight[0].numel() != 27


class Trainer:
    """The network, its averaged copy and the optimisers; `step` trains on one batch."""

    def __init__(self, plan: TrainingPlan) -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.steps, self.seconds = plan, 0, 0.0
        self.sam = initialise(network.build()).train()
        self.sam.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.sam).eval().requires_grad_(False)
        self.dense = DenseHead()
        self.normalise = Normalise(network.MEAN, network.STD)
        matrices = [p for name, p in self.sam.named_parameters() if is_matrix(name, p)]
        chosen = {id(p) for p in matrices}
        others = [p for p in self.sam.parameters() if id(p) not in chosen]
        others.extend(self.dense.parameters())
        self.optimisers: tuple[torch.optim.Optimizer, ...] = (
            Muon(matrices, lr=plan.rate, decay=plan.decay),
            torch.optim.AdamW(others, lr=plan.rate, weight_decay=0.0, fused=True),
        )

    def step(self, batch: Batch) -> tuple[float, float, float]:
        """Train once. Returns, of the first prompt: loss, mean IoU of token 0 and of the choice."""
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
            for group in optimiser.param_groups:
                group["lr"] = self.plan.rate_at(self.steps, self.seconds)
        # Measured: with heads of 8 channels the plain attention is faster than the fused one.
        with sdpa_kernel(SDPBackend.MATH):
            result = self._backward(batch)
        nn.utils.clip_grad_norm_(self.sam.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self.steps += 1
        self._update_average()
        return result

    def _backward(self, batch: Batch) -> tuple[float, float, float]:
        """Encode once, decode one to three times, gather the gradients."""
        image = self.normalise(torch.from_numpy(batch.images).permute(0, 3, 1, 2).float())
        target = torch.from_numpy(batch.targets).float()[:, None] / 255
        coords, labels = torch.from_numpy(batch.coords), torch.from_numpy(batch.labels)
        asked = Prompts(coords, labels, None, torch.zeros(len(labels)))
        chance = torch.Generator().manual_seed(self.plan.seed * 1_000_003 + self.steps)
        rounds = self._rounds(chance)
        found: list[Losses] = []
        owners = torch.from_numpy(batch.owners)
        with torch.autocast("cpu", torch.bfloat16):
            embedding = self.sam(image.contiguous(memory_format=torch.channels_last))
        leaf = embedding.detach().float().requires_grad_()
        weight = 1 - 0.8 * self.plan.done(self.steps, self.seconds)
        (weight * self.dense(leaf, owners, chance)).backward()
        for turn in range(rounds):
            with torch.autocast("cpu", torch.bfloat16):
                masks, iou = decode(self.sam, leaf, asked)
            found.append(losses(masks, iou, target))
            found[-1].total.backward()  # type: ignore[no-untyped-call]
            if turn + 1 < rounds:
                asked = correct(asked, masks, iou, target, FIRST_CORRECTION + turn, chance)
        embedding.backward(leaf.grad.to(embedding.dtype))
        return float(found[0].total.detach()), found[0].first_iou, found[0].chosen_iou

    def _rounds(self, chance: torch.Generator) -> int:
        """Number of decodings: one at first, when no mask is worth correcting; later 1 to 3."""
        shares = torch.tensor([0.55, 0.35, 0.1])
        drawn = 1 + int(torch.multinomial(shares, 1, generator=chance))
        return drawn if self.plan.done(self.steps, self.seconds) > 0.2 else 1

    @torch.no_grad()
    def _update_average(self) -> None:
        keep = min(self.plan.average, (1 + self.steps) / (10 + self.steps))
        averaged, current = self.average.state_dict(), self.sam.state_dict()
        pairs = [(kept, current[name]) for name, kept in averaged.items()]
        real = [pair for pair in pairs if pair[0].dtype.is_floating_point]
        torch._foreach_lerp_([kept for kept, _ in real], [new for _, new in real], 1 - keep)
        for kept, new in pairs:
            if not kept.dtype.is_floating_point:
                kept.copy_(new)

    def save_state(self, path: Path) -> None:
        """Save everything needed to resume."""
        state = {
            "plan": asdict(self.plan), "steps": self.steps, "seconds": self.seconds,
            "sam": self.sam.state_dict(), "average": self.average.state_dict(),
            "dense": self.dense.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }  # fmt: skip
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def load_state(self, path: Path) -> None:
        """Resume from `save_state`."""
        state = torch.load(path, weights_only=True)
        self.steps, self.seconds = state["steps"], state["seconds"]
        self.sam.load_state_dict(state["sam"])
        self.average.load_state_dict(state["average"])
        self.dense.load_state_dict(state["dense"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)

    def save_weights(self, path: Path) -> None:
        """Write the averaged weights as float16, with their command; whole or not at all."""
        tensors = {
            name: (value.half() if value.dtype.is_floating_point else value).contiguous()
            for name, value in self.average.state_dict().items()
        }
        made = {
            "command": self.plan.command(), "plan": json.dumps(asdict(self.plan)),
            "steps": str(self.steps), "seconds": f"{self.seconds:.0f}", "torch": torch.__version__,
            "numpy": np.__version__, "python": platform.python_version(),
        }  # fmt: skip
        partial = path.with_suffix(".partial")
        save_file(tensors, partial, metadata=made)
        partial.chmod(0o644)
        partial.replace(path)


def train(trainer: Trainer, arguments: argparse.Namespace) -> None:
    """Train to the last step or the last minute, saving regularly and at the end."""
    plan, sums, count = trainer.plan, np.zeros(3), 0
    then = saved = time.perf_counter()
    for batch in produce(plan, trainer.steps):
        sums, count = sums + trainer.step(batch), count + 1
        now = time.perf_counter()
        trainer.seconds, then = trainer.seconds + now - then, now
        over = plan.done(trainer.steps, trainer.seconds) >= 1.0
        if trainer.steps % 50 == 0 or over:
            print(progress(trainer, sums / count), flush=True)
            sums, count = np.zeros(3), 0
        if over or now - saved > 90:
            save(trainer, arguments)
            saved = now
        if over:
            break


def save(trainer: Trainer, arguments: argparse.Namespace) -> None:
    """Write the state, if wanted, and the weights."""
    if arguments.state:
        trainer.save_state(arguments.state)
    trainer.save_weights(arguments.output)


def progress(trainer: Trainer, means: NDArray[np.float64]) -> str:
    """Format one line: the run's progress and the means of `Trainer.step`'s results."""
    loss, first, chosen = means
    return (
        f"step {trainer.steps}/{trainer.plan.steps}  {trainer.seconds / 60:.1f} min  "
        f"loss {loss:.3f}  IoU token 0 {first:.3f}  chosen {chosen:.3f}"
    )


def parser() -> argparse.ArgumentParser:
    """Make the argument parser."""
    made = argparse.ArgumentParser(
        prog="python -m profiles.lab.demo.train",
        description="Train the demo model on procedural scenes.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--seed", type=int, default=0, help="of scenes, prompts and first weights")
    made.add_argument("--steps", type=int, default=TrainingPlan.steps, help="batches of 4 images")
    made.add_argument("--minutes", type=float, default=TrainingPlan.minutes, help="at most")
    made.add_argument("--state", type=Path, help="written regularly")
    made.add_argument("--resume", action="store_true", help="go on from --state")
    made.add_argument("--output", type=Path, default=network.WEIGHTS, help="the weights file")
    return made


def main() -> None:
    """Parse, train."""
    arguments = parser().parse_args()
    torch.set_num_threads(1)
    # A SIGTERM then also ends the process that draws the scenes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    plan = TrainingPlan(seed=arguments.seed, steps=arguments.steps, minutes=arguments.minutes)
    trainer = Trainer(plan)
    if arguments.resume:
        trainer.load_state(arguments.state)
    train(trainer, arguments)


if __name__ == "__main__":
    main()
