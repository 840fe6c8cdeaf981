"""A bank in slots against the published computation, which takes lists of any length."""

from __future__ import annotations

import contextlib
import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from exporter.graphs import centred, channels_last
from exporter.models.layers import freeze
from exporter.models.memory_bank import MemorySize, Pooling, memory_positions
from exporter.models.memory_encoder import MASK_SCALE, signs
from exporter.models.positions import sine_positions
from exporter.models.sam import Geometry
from exporter.models.sam2_video import Sam2Video
from profiles.lab.bench.published_memory_encoder import PublishedMemoryEncoder
from tests.unit.small_networks import filled, noise

GRID = 8
KINDS = {
    "plain": MemorySize(GRID),
    "2.1": MemorySize(GRID, pointer_time=True, marks_absence=True),
    "edgetam": MemorySize(GRID, depth=2, latents=4),
    "pooled logits": MemorySize(GRID, pooling="logits"),
    "pooled keys": MemorySize(GRID, pooling="keys"),
}
CLOSE = 2e-6  # of the absolute maximum: float32 sums in another order


class Nothing(torch.nn.Module):
    """An image encoder that has only what the memory takes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.no_mem_embed = torch.nn.Parameter(torch.zeros(1, 1, 256))


@pytest.fixture(params=KINDS)
def network(request: pytest.FixtureRequest) -> Sam2Video:
    size = KINDS[request.param]
    sam = Sam2Video(Nothing(), size, Geometry(16 * GRID, GRID))
    return freeze(filled(sam, request.param))


def bank(network: Sam2Video, memories: int, pointers: int) -> list[Tensor]:
    size = network.size
    ages = torch.arange(memories, dtype=torch.float32)[None]
    shares = torch.arange(pointers, dtype=torch.float32)[None] / 15
    held = noise(1, memories, size.tokens, size.memory_width)
    return [held, ages, noise(1, pointers, size.width), shares]


def padded(given: list[Tensor], memories: int, pointers: int, rubbish: float) -> list[Tensor]:
    """The same bank in more slots, empty ones full of rubbish."""
    held, ages, shown, shares = given
    more, others = memories - held.shape[1], pointers - shown.shape[1]
    return [
        torch.cat([held, torch.full((1, more, *held.shape[2:]), rubbish)], 1),
        F.pad(ages, (0, more), value=-1.0),
        torch.cat([shown, torch.full((1, others, shown.shape[2]), rubbish)], 1),
        F.pad(shares, (0, others), value=-1.0),
    ]


def test_slots_give_what_lists_give(network: Sam2Video) -> None:
    image = noise(1, 256, GRID, GRID)
    for memories, pointers in ((2, 1), (3, 3), (7, 16)):
        given = bank(network, memories, pointers)
        slots = padded(given, 7, 16, 0.0)
        with torch.no_grad():
            ours = network.condition(network.query(image), *slots)
            expected = published(network, image, *given)
        assert (ours - expected).abs().max() <= CLOSE * expected.abs().max()


def test_one_memory_is_not_pooled(network: Sam2Video) -> None:
    image, given = noise(1, 256, GRID, GRID), bank(network, 1, 2)
    with torch.no_grad():
        ours = network.condition(network.query(image), *given)
        expected = published(network, image, *given)
    assert (ours - expected).abs().max() <= CLOSE * expected.abs().max()


def test_rubbish_in_empty_slots_is_invisible(network: Sam2Video) -> None:
    image, given = noise(1, 256, GRID, GRID), bank(network, 3, 2)
    with torch.no_grad():
        query = network.query(image)
        clean, dirty = (network.condition(query, *padded(given, 7, 16, x)) for x in (0.0, 1e3))
        full = network.condition(query, *padded(bank(network, 7, 16), 7, 16, 0.0))
    assert torch.equal(clean, dirty)
    assert (full - clean).abs().max() > 1e-2 * clean.abs().max()


def test_slots_have_no_order(network: Sam2Video) -> None:
    image, given = noise(1, 256, GRID, GRID), padded(bank(network, 5, 4), 7, 16, 9.0)
    order, others = torch.tensor([3, 0, 6, 5, 1, 4, 2]), torch.randperm(16)
    turned = [given[0][:, order], given[1][:, order], given[2][:, others], given[3][:, others]]
    with torch.no_grad():
        query = network.query(image)
        one, other = (network.condition(query, *each) for each in (given, turned))
    assert (one - other).abs().max() <= CLOSE * one.abs().max()


def test_a_prompted_mask_is_cut_exactly() -> None:
    logits = torch.tensor([-1e3, -1e-8, 0.0, 1e-20, 1e-8, 5.0, 1e4])
    assert signs(logits).tolist() == [-1, -1, -1, 1, 1, 1, 1]


def test_a_tracked_mask_is_the_published_share() -> None:
    logits = torch.linspace(-30, 30, 601, dtype=torch.float64)
    share = 20 * logits.sigmoid() - 10
    assert (MASK_SCALE * torch.tanh(logits / 2) - share).abs().max() < 1e-12


def test_an_absent_object_shows_in_the_memory_of_2_1_alone(network: Sam2Video) -> None:
    image, logits = noise(1, 256, GRID, GRID), noise(1, 1, 4 * GRID, 4 * GRID)
    with torch.no_grad():
        there, gone = (
            network.remember(image, logits, torch.zeros(1), torch.full((1,), present))
            for present in (1.0, 0.0)
        )
    assert there.shape == (1, network.size.tokens, 64)
    assert torch.equal(there, gone) is not network.size.marks_absence


FORMS = {
    "plain": (),
    "onnx": (centred,),
    "tflite": (centred, channels_last),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["plain", "2.1", "edgetam"])
def test_every_form_of_the_memory_encoder_is_the_published_one(kind: str, form: str) -> None:
    sam = filled(Sam2Video(Nothing(), KINDS[kind], Geometry(16 * GRID, GRID)), kind)
    theirs, ours = PublishedMemoryEncoder(copy.deepcopy(sam)), freeze(sam)
    image, logits = noise(1, 256, GRID, GRID), 8 * noise(1, 1, 4 * GRID, 4 * GRID)
    present = torch.zeros(1) if KINDS[kind].marks_absence else None
    with torch.no_grad(), contextlib.ExitStack() as switched:
        for each in FORMS[form]:
            switched.enter_context(each(ours))
        made = ours.remember(image, logits, torch.zeros(1), present)
        expected = theirs(image, logits, present)
    assert (made - expected).abs().max() <= CLOSE * expected.abs().max()


def published(
    network: Sam2Video,
    image: Tensor,
    memories: Tensor,
    ages: Tensor,
    pointers: Tensor,
    shares: Tensor,
) -> Tensor:
    """The published computation: lists, complex turns, values projected one by one."""
    size = network.size
    rows = network.maskmem_tpos_enc.flatten(1)
    times = torch.stack([rows[-1] if age == 0 else rows[int(age) - 1] for age in ages[0]])
    position = memory_positions(size)[None] + times[:, None]
    cut = pointers[0].reshape(-1, 4, size.memory_width)
    pointed = torch.zeros_like(cut)
    if network.obj_ptr_tpos_proj is not None:
        half = size.width // 2
        pairs = torch.arange(half) // 2
        angles = shares[0][:, None] / 10_000 ** (2 * pairs / half)
        sines = torch.cat([angles.sin(), angles.cos()], -1)
        pointed = pointed + network.obj_ptr_tpos_proj(sines)[:, None]
    memory = torch.cat([memories[0].flatten(0, 1), cut.flatten(0, 1)])
    place = torch.cat([position.flatten(0, 1), pointed.flatten(0, 1)])
    count = cut.shape[0] * 4
    x = (image - network.no_memory.reshape(1, -1, 1, 1)).flatten(2)[0].t()
    x = x + 0.1 * sine_positions(GRID, size.width)
    for layer in network.memory_attention.layers:
        y = layer.norm1(x)
        q, k = layer.self_attn.q_proj(y), layer.self_attn.k_proj(y)
        attended = plain(spin(q, GRID), spin(k, GRID), layer.self_attn.v_proj(y))
        x = x + layer.self_attn.out_proj(attended)
        cross, y = layer.cross_attn_image, layer.norm2(x)
        k, v = cross.k_proj(memory + place), cross.v_proj(memory)
        k = torch.cat([turned(k[:-count], size, memories.shape[1]), k[-count:]])
        pooling: Pooling = size.pooling if memories.shape[1] > 1 else "none"
        attended = pooled(spin(cross.q_proj(y), GRID), k, v, count, pooling)
        x = x + cross.out_proj(attended)
        x = x + layer.linear2(F.relu(layer.linear1(layer.norm3(x))))
    return network.memory_attention.norm(x).t().reshape(1, size.width, GRID, GRID)


def plain(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=bias)[0]


def pooled(q: Tensor, k: Tensor, v: Tensor, count: int, pooling: Pooling) -> Tensor:
    if pooling == "none":
        return plain(q, k, v)

    def small(x: Tensor) -> Tensor:
        maps = x[:-count].reshape(-1, GRID, GRID, x.shape[-1]).permute(0, 3, 1, 2)
        return F.avg_pool2d(maps, 2).flatten(2).transpose(1, 2).flatten(0, 1)

    more = 2 * torch.log(torch.tensor(2.0))
    keys, values = small(k), small(v)
    bias = torch.zeros(1, len(keys) + count)
    if pooling == "keys":
        keys = keys + more
    else:
        bias[:, : len(keys)] = more
    return plain(q, torch.cat([keys, k[-count:]]), torch.cat([values, v[-count:]]), bias)


def turned(k: Tensor, size: MemorySize, memories: int) -> Tensor:
    """Turn each memory's keys by its own grid; the first square of a perceiver's has none."""
    parts = k.reshape(memories, size.tokens, -1)
    if not size.latents:
        return torch.cat([spin(each, GRID) for each in parts])
    first = size.latents**2
    halves = ((each[:first], spin(each[first:], size.latents)) for each in parts)
    return torch.cat(list(itertools.chain.from_iterable(halves)))


def spin(x: Tensor, grid: int) -> Tensor:
    """Turn pairs of neighbouring channels as complex numbers."""
    width = x.shape[-1]
    rates = 1.0 / 10_000 ** (torch.arange(0, width, 4)[: width // 4].float() / width)
    places = torch.arange(grid * grid)
    angles = torch.cat([torch.outer(p.float(), rates) for p in (places % grid, places // grid)], -1)
    pairs = torch.view_as_complex(x.float().reshape(len(x), -1, 2))
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(1)
