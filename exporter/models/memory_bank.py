"""An object's bank of memories and pointers, as memory attention takes it.

Reference: facebookresearch/sam2, `sam2/modeling/sam2_base.py`,
`_prepare_memory_conditioned_features`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models.layers import linear_of
from exporter.models.positions import sine_positions, sine_rates

KEY_BIAS = 1e4
"""Taken from the logits of an empty slot: exp(-1e4) is 0, and float16 holds 1e4."""
POOLED_LOGIT = 2 * math.log(2)
"""Added for keys that stand for 2 x 2 tokens, so that they weigh like four."""

Pooling = Literal["none", "logits", "keys"]


@dataclass(frozen=True)
class MemorySize:
    """Shape of the parts that remember.

    Attributes:
        grid: side of the image's embedding, in cells.
        depth: layers of memory attention.
        latents: side of each of the two squares of tokens that a perceiver condenses a memory into
            (EdgeTAM); 0 for one token a cell.
        pooling: what EfficientTAM does to keys once there are two memories: averages 2 x 2 of them
            and adds `POOLED_LOGIT` to their logits, or to every channel of the keys.
        pointer_time: whether pointers know how old they are (SAM 2.1).
        marks_absence: whether a memory says that its object was not seen (SAM 2.1).
        times: rows of the table of a memory's age.
    """

    grid: int = 64
    depth: int = 4
    latents: int = 0
    pooling: Pooling = "none"
    pointer_time: bool = False
    marks_absence: bool = False
    width: int = 256
    memory_width: int = 64
    hidden: int = 2048
    times: int = 7

    @property
    def tokens(self) -> int:
        """Tokens of one memory."""
        return 2 * self.latents**2 if self.latents else self.grid**2

    @property
    def pointer_tokens(self) -> int:
        """Tokens of the memory's width that an object pointer is cut into."""
        return self.width // self.memory_width

    @property
    def mask_upscale(self) -> int:
        """Side of a mask as the memory encoder takes it, over that of `low_res_masks`.

        Every halving there makes four times the channels.
        """
        halvings = math.ceil(math.log(self.width, 4))
        return 2**halvings // 4


@dataclass(frozen=True)
class Bank:
    """What every layer sees of a bank.

    Attributes:
        memories: (1, M, T, C) with positions; keys are made of it.
        pointers: (1, 1, tokens of P pointers, C) the same of pointers.
        values: (1, 1, K, C).
        bias: (1, 1, 1, K) of the logits.
        pooling: of the keys of memories; `values` and `bias` are pooled already.
    """

    memories: Tensor
    pointers: Tensor
    values: Tensor
    bias: Tensor
    pooling: Pooling = "none"


class BankEncoder(nn.Module):
    """Slots and their ages -> a `Bank`, without booleans.

    Args:
        size: of the network.
        time_rows: the published `maskmem_tpos_enc` (times, 1, 1, C): a memory of d frames before is
            row d - 1, one of a prompted frame the last.
        pointer_time: the published `obj_ptr_tpos_proj`, or None if pointers have no age.
    """

    position: Tensor
    ages: Tensor
    rates: Tensor

    def __init__(self, size: MemorySize, time_rows: Tensor, pointer_time: nn.Linear | None) -> None:
        super().__init__()
        self.size = size
        rows = time_rows.flatten(1)
        by_age = torch.cat([rows[-1:], rows[:-1]]).t()
        self.time = linear_of(by_age, torch.zeros(size.memory_width))
        self.pointer_time = pointer_time
        for name, table in (
            ("position", memory_positions(size)[None, None]),
            ("ages", torch.arange(size.times, dtype=torch.float32)),
            ("rates", sine_rates(size.width)),
        ):
            self.register_buffer(name, table.clone(), persistent=False)

    def forward(
        self,
        memories: Tensor,
        memory_age: Tensor,
        object_pointers: Tensor,
        pointer_age: Tensor,
    ) -> Bank:
        """Encode a bank.

        Args:
            memories: (1, M, T, C).
            memory_age: (1, M): 0 prompted, d frames away, -1 empty.
            object_pointers: (1, P, width).
            pointer_age: (1, P): a share of the frames that are looked back, -1 empty.
        """
        size, slots, width = self.size, memories.shape[1], memories.shape[-1]
        pooling = size.pooling if slots > 1 else "none"
        pointers = object_pointers.reshape(1, 1, -1, width)
        pooled = memories if pooling == "none" else pool(memories, size.grid)
        values = torch.cat([pooled.reshape(1, 1, -1, width), pointers], dim=2)
        times = self.memory_times(memory_age).unsqueeze(2)
        bias = spread(empty_bias(memory_age), pooled.shape[2])
        if pooling == "logits":
            bias = bias + POOLED_LOGIT
        bias = torch.cat([bias, spread(empty_bias(pointer_age), size.pointer_tokens)], dim=3)
        keys = memories + self.position + times
        return Bank(keys, self._aged(pointers, pointer_age), values, bias, pooling)

    def memory_times(self, age: Tensor) -> Tensor:
        """(1, M) -> (1, M, C): the row of each memory's age; zeros for an empty slot."""
        # relu(1 - |a - b|) is (a == b) for whole numbers.
        out: Tensor = self.time(F.relu(1.0 - (age.unsqueeze(-1) - self.ages).abs()))
        return out

    def pointer_times(self, age: Tensor) -> Tensor:
        """(1, P) -> (1, P, C)."""
        if self.pointer_time is None:
            return torch.zeros(*age.shape, self.size.memory_width)
        angles = age.unsqueeze(-1) * self.rates
        out: Tensor = self.pointer_time(torch.cat([angles.sin(), angles.cos()], dim=-1))
        return out

    def _aged(self, pointers: Tensor, age: Tensor) -> Tensor:
        if self.pointer_time is None:
            return pointers
        times = torch.cat([self.pointer_times(age)] * self.size.pointer_tokens, dim=-1)
        return pointers + times.reshape(pointers.shape)


def memory_positions(size: MemorySize) -> Tensor:
    """(T, C): what is added to a memory's keys for the place of each token."""
    if not size.latents:
        return sine_positions(size.grid, size.memory_width)
    square = sine_positions(size.latents, size.memory_width)
    return torch.cat([torch.zeros_like(square), square])  # the first square has no places


def empty_bias(age: Tensor) -> Tensor:
    """(1, slots) ages -> (1, slots): 0, or a large negative number for an empty slot."""
    return F.relu(-age) * -KEY_BIAS


def spread(bias: Tensor, tokens: int) -> Tensor:
    """(1, slots) -> (1, 1, 1, slots * tokens); a product, for XNNPACK has no broadcast."""
    return F.linear(bias.unsqueeze(-1), torch.ones(tokens, 1)).reshape(1, 1, 1, -1)


def pool(x: Tensor, grid: int) -> Tensor:
    """Average 2 x 2 cells: (1, M, grid * grid, C) -> (1, M, grid * grid / 4, C)."""
    _, slots, _, width = x.shape
    rows = x.reshape(slots * grid // 2, 2 * grid * width)
    rows = rows[:, : grid * width] + rows[:, grid * width :]
    cells = rows.reshape(slots * grid * grid // 4, 2 * width)
    cells = (cells[:, :width] + cells[:, width:]) * 0.25
    return cells.reshape(1, slots, grid * grid // 4, width)
