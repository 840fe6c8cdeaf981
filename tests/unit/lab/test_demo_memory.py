"""The memory that training unrolls is the one that is exported."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from exporter.demo import network
from exporter.models.layers import freeze
from profiles.lab.demo.clip_store import no_prompt
from profiles.lab.demo.train_memory import frame_loss, similarity
from profiles.lab.demo.unrolled import (
    ABSENT,
    Decoded,
    Remembered,
    Unrolled,
    chosen,
    initialise,
)

CLOSE = 5e-4
"""Logits are large with the first weights: sums in another order differ by 1e-4 of the largest."""
FRAMES, LOST = 5, 2


def bank(kept: Remembered, row: int) -> list[Tensor]:
    """What is kept of one object in slots, as a host fills them; empty ones hold rubbish."""
    slots, pointers = network.FRAMES_BACK + 1, network.POINTERS_BACK + 1
    memories = torch.full((1, slots, network.GRID**2, network.MEMORY_WIDTH), 9.0)
    held = torch.full((1, pointers, network.WIDTH), 9.0)
    ages, pointer_ages = torch.full((1, slots), -1.0), torch.full((1, pointers), -1.0)
    now = len(kept.memories)
    for slot, frame in enumerate([0, *range(now - 1, max(0, now - slots), -1)]):
        memories[0, slot], ages[0, slot] = kept.memories[frame][row], now - frame if slot else 0
        held[0, slot], pointer_ages[0, slot] = kept.pointers[frame][row], 0.5
    for slot, frame in enumerate(range(max(1, now - network.POINTERS_BACK), now), start=1):
        held[0, slot], pointer_ages[0, slot] = kept.pointers[frame][row], 0.5
    return [memories, ages, held, pointer_ages]


def test_the_batched_form_follows_as_the_exported_one_does() -> None:
    torch.manual_seed(0)
    sam = network.build_video().eval()
    initialise(sam)
    batched = Unrolled(copy.deepcopy(sam))
    freeze(sam)
    kept, told = Remembered([], []), None
    for at, embedding in enumerate(torch.randn(FRAMES, 2, network.WIDTH, 24, 24)):
        with torch.no_grad():
            if at:
                told = batched.condition(embedding, kept)
                ours = sam.condition(sam.query(embedding[1:]), *bank(kept, 1))
                assert (ours - told[1:]).abs().max() < CLOSE * told.abs().max()
            decoded = batched.decode(embedding if told is None else told, *no_prompt(2))
            present = torch.tensor([1.0, float(at != LOST)])
            batched.remember(kept, embedding, decoded, present)
            logits = decoded.masks[1:, chosen(decoded)[1:]]
            logits = torch.full_like(logits, ABSENT) if at == LOST else logits
            prompted = torch.full((1,), float(at == 0))
            found = sam.remember(embedding[1:], logits, prompted, present[1:])
            assert (found[0] - kept.memories[-1][1]).abs().max() < CLOSE * found.abs().max()
    assert torch.equal(kept.pointers[LOST][1], sam.no_obj_ptr[0])


def test_a_frame_without_the_object_is_right_only_if_its_mask_is_empty() -> None:
    masks = torch.full((2, 4, 96, 96), 5.0)
    score = torch.tensor([[-1.0], [1.0]])
    decoded = Decoded(masks, torch.zeros(2, 4), score, torch.zeros(2, 4, 64))
    nothing = torch.zeros(2, 1, 96, 96)
    assert similarity(decoded, nothing).tolist() == [1.0, 0.0]
    there = torch.ones(2, 1, 96, 96)
    assert similarity(decoded, there).tolist() == [0.0, 1.0]
    assert frame_loss(decoded, nothing, prompted=False) > 0
