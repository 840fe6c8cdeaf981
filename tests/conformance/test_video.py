"""Our memory in torch against what the published code computed with it.

Units are sharper than a video for positions and times; a video shows that they fit together, and
that slots of a fixed bank give what a list of memories gives. Tolerances are those of the cases.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from exporter.checkpoints.fit import load_strict
from exporter.following import Kept, Rules, follow, prune
from exporter.goldens import run
from exporter.graphs import graphs_of
from exporter.host_data import host_data
from exporter.host_rules import prompt_rule
from exporter.models.layers import freeze
from exporter.models.memory_bank import POOLED_LOGIT, Bank, memory_positions, pool
from exporter.models.sam2_video import Sam2Video
from exporter.variants import Variant, load_variant
from exporter.variants._video import with_memory
from tests.conformance import fill, published_case
from tests.conformance.published_case import PublishedCase

UNIT = 1e-5  # of the absolute maximum: attention alone, one forward pass
POSITION = 1e-5
CLOSE, SHARE = 1e-3, 0.97  # of what follows from a mask that was made binary
MASKS = 5e-3  # of the absolute maximum: masks, scores, pointers
KINDS = (
    *("efficienttam_ti_512x512", "edgetam", "efficienttam_ti_1", "efficienttam_ti_2"),
    *("sam2_1_hiera_tiny", "surgical_sam2"),
)
"""One of each kind of memory."""
EVERY = "SAM_EXPORT_EVERY_VIDEO" in os.environ
"""Set it to follow the videos of all kinds and to try the units of all cases: some minutes."""
VIDEOS = KINDS if EVERY else KINDS[:1]

pytestmark = pytest.mark.conformance


@dataclass
class Ran:
    """A case's network, with the weights of its units."""

    case: PublishedCase
    variant: Variant
    network: Sam2Video


def built(case: PublishedCase, variant: Variant, salt: str) -> Sam2Video:
    """A frozen network with a salt's weights."""
    facts = case.facts | {"fill": {"salt": salt}}
    checkpoint = PublishedCase(case.name, facts, case.outputs).checkpoint()
    network, _ = load_strict(variant, checkpoint)
    return freeze(network)


def names() -> list[str]:
    return [
        name for name in published_case.names() if "memory" in published_case.facts(name)["arch"]
    ]


@pytest.fixture(scope="module", params=names() if EVERY else KINDS)
def ran(request: pytest.FixtureRequest) -> Iterator[Ran]:
    case = published_case.load(request.param)
    if "memory_units" not in case.facts:
        pytest.skip("the case has no units")
    variant = with_memory(load_variant(case.name))
    yield Ran(case, variant, built(case, variant, case.facts["fill"]["salt"]))
    gc.collect()


def _normal(facts: dict[str, Any]) -> dict[str, np.ndarray]:
    stream = np.random.RandomState(facts["seed"])
    return {
        name: stream.standard_normal(shape).astype(np.float32)
        for name, shape in facts["shapes"].items()
    }


def test_attention_alone(ran: Ran) -> None:
    """On made-up positions: layers, turns, pooling, and the weight of pooled keys."""
    facts = ran.case.facts["memory_units"]["memory_attention_unit"]
    given, tokens = _normal(facts), facts["object_pointer_tokens"]
    given["memory"][-tokens:] *= 2
    size, frames = ran.network.size, facts["memory_frames"]
    values = torch.from_numpy(given["memory"])[:, 0]
    keys = values + torch.from_numpy(given["memory_pos"])[:, 0]
    memories = values[:-tokens].reshape(1, frames, -1, size.memory_width)
    seen = memories if size.pooling == "none" else pool(memories, size.grid)
    both = torch.cat([seen.reshape(1, 1, -1, size.memory_width), values[-tokens:][None, None]], 2)
    bias = torch.zeros(1, 1, 1, both.shape[2])
    if size.pooling == "logits":
        bias[..., :-tokens] = POOLED_LOGIT
    bank = Bank(
        keys[:-tokens].reshape(memories.shape), keys[-tokens:][None, None], both, bias, size.pooling
    )
    start = torch.from_numpy(given["curr"] + 0.1 * given["curr_pos"]).permute(1, 0, 2)[None]
    attention = ran.network.memory_attention
    with torch.no_grad():
        found = attention(attention.first(start), bank)[0].permute(1, 0, 2).numpy()
    expected, ours, most = ran.case.stored("memory_attention_unit.output", found)
    assert np.abs(ours - expected).max() <= UNIT * most


def test_the_times_of_memories_and_pointers(ran: Ran) -> None:
    """A list of tokens and their positions, of a made-up bank with two prompted frames."""
    facts = ran.case.facts["memory_units"]["memory_sequence"]
    now, prompted = facts["frame"], facts["conditioning_frames"]
    stream = np.random.RandomState(facts["seed"])
    held = [
        {name: stream.standard_normal(s).astype(np.float32) for name, s in facts["shapes"].items()}
        for _ in range(now)
    ]
    rule = ran.variant.video
    assert rule is not None
    listed = [*prompted, *(f for f in range(now - 6, now) if f not in prompted)]
    if rule.pruning is not None:
        kept = prune(
            [Kept(f, _tokens(held[f]["maskmem_features"]), held[f]["obj_ptr"][0]) for f in listed],
            rule.pruning,
        )
        listed = [each.frame for each in kept]
    ages = torch.tensor([[0.0 if f in prompted else now - f for f in listed]])
    near = [f for f in range(now - 1, -1, -1) if f not in prompted and now - f <= 15]
    pointed = [*prompted, *near]
    scale = min(facts["frames_in_video"] - 1, 15)
    with torch.no_grad():
        times = ran.network.bank.memory_times(ages)[0].numpy()
        shares = torch.tensor([[(now - f) / scale for f in pointed]])
        pointer_times = ran.network.bank.pointer_times(shares)[0].numpy()
    memory = [_tokens(held[f]["maskmem_features"]) for f in listed]
    places = [
        _tokens(held[f]["maskmem_pos_enc"]) + time for f, time in zip(listed, times, strict=True)
    ]
    cut = [held[f]["obj_ptr"].reshape(4, -1) for f in pointed]
    places += [np.repeat(time[None], 4, axis=0) for time in pointer_times]
    for name, ours in (
        ("memory_sequence.memory", np.concatenate(memory + cut)),
        ("memory_sequence.memory_pos", np.concatenate(places)),
    ):
        expected, part, most = ran.case.stored(name, ours[:, None])
        assert np.abs(part - expected).max() <= POSITION * most, name


def _tokens(held: np.ndarray) -> np.ndarray:
    """(1, T, C), or a map (1, C, h, w) -> (T, C)."""
    return held[0] if held.ndim == 3 else held[0].reshape(held.shape[1], -1).T


@pytest.mark.parametrize("part", ["video", "video_absent"])
@pytest.mark.parametrize("name", VIDEOS)
def test_a_video(name: str, part: str) -> None:
    case = published_case.load(name)
    if part not in case.facts:
        pytest.skip("the case has none")
    video = case.facts[part]
    variant = with_memory(load_variant(name))
    network = built(case, variant, video["fill"]["salt"])
    prompts = prompt_rule(variant)
    assert prompts is not None
    assert variant.video is not None
    graphs = {graph.spec.name: graph for graph in graphs_of(network, variant, prompts)}
    no_pointer = host_data(network)["no_object_pointer"]
    rules = Rules(variant.preprocess, prompts, variant.mask, variant.video, no_pointer)
    pictures = [fill.picture(seed, video["height"], video["width"]) for seed in video["seeds"]]
    click = tuple(video["prompt"]["points"][0])
    steps = follow(lambda each, given: run(graphs[each], given), rules, pictures, click)
    for at, step in enumerate(steps):
        memory = step.memory[None]
        if not network.size.latents:
            grid = network.size.grid
            memory = memory.transpose(0, 2, 1).reshape(1, -1, grid, grid)
        close = {"maskmem_features": memory}
        if at:
            close["memory_attention"] = step.embeddings
        for output, ours in close.items():
            if f"{part}.frame{at}.{output}" in case.outputs:
                _check_close(case, f"{part}.frame{at}.{output}", ours)
        whole = {
            "low_res_masks": step.logits[None, None],
            "object_score_logits": np.full((1, 1), step.score, np.float32),
            "obj_ptr": step.pointer.reshape(1, -1),
            "iou": step.decoded["iou_predictions"][:, 1:],
        }
        for output, ours in whole.items():
            expected, shown, most = case.stored(f"{part}.frame{at}.{output}", ours)
            assert np.abs(shown - expected).max() <= MASKS * most, (at, output)


def _check_close(case: PublishedCase, name: str, ours: np.ndarray) -> None:
    expected, part, most = case.stored(name, ours)
    error = np.abs(part - expected)
    assert (error <= CLOSE * most).mean() >= SHARE, name
    assert error.mean() <= CLOSE * most, name


def test_the_positions_of_a_memory() -> None:
    """What the published code keeps beside each memory is a constant of our graph."""
    for name in ("efficienttam_ti_512x512", "edgetam"):
        case = published_case.load(name)
        network = load_variant(name).memory.layouts[0].build()
        places = memory_positions(network.size)[None].numpy()
        if not network.size.latents:
            grid = network.size.grid
            places = places.transpose(0, 2, 1).reshape(1, -1, grid, grid)
        expected, part, most = case.stored("video.frame0.maskmem_pos_enc", places)
        assert np.abs(part - expected).max() <= POSITION * most
