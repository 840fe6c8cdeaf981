"""The tracker over our torch graphs beside the published video predictor's own masks.

`tests/conformance/test_video.py` holds the graphs to it; this holds the host's half: ages, slots,
which mask, whose pointer, what is remembered. `python -m tests.conformance` does the same through
the commands.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from exporter.bundle.folder import Bundle
from exporter.bundle.manifest import GraphFile
from exporter.checkpoints.fit import load_strict
from exporter.graphs import Graph, Named, graphs_of
from exporter.host_data import host_data
from exporter.host_rules import prompt_rule
from exporter.models.layers import freeze
from exporter.variants import load_variant
from exporter.variants._video import with_memory
from runtimes.tracker import Tracker
from tests.conformance import fill, published_case
from tests.conformance.published_case import PublishedCase
from tests.unit import video_bundle

MASKS = 5e-3  # of the absolute maximum: the case's own tolerance for masks, scores and pointers
PIXELS = 0.999

pytestmark = pytest.mark.conformance


class TorchGraph:
    """A graph that torch runs."""

    def __init__(self, graph: Graph) -> None:
        self._module = Named(graph)

    def run(self, inputs: Any) -> dict[str, Any]:
        given = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in inputs.items()}
        with torch.no_grad():
            return {name: found.numpy() for name, found in self._module(**given).items()}


def tracker(case: PublishedCase, salt: str, folder) -> Tracker:
    facts = case.facts | {"fill": {"salt": salt}}
    variant = with_memory(load_variant(case.name))
    checkpoint = PublishedCase(case.name, facts, case.outputs).checkpoint()
    network = freeze(load_strict(variant, checkpoint)[0])
    prompts = prompt_rule(variant)
    graphs = {graph.spec.name: graph for graph in graphs_of(network, variant, prompts)}
    plain = video_bundle.build(folder / "plain")
    np.savez(folder / "video.npz", **host_data(network))
    manifest = replace(
        plain.manifest,
        graphs=tuple(GraphFile(graph.spec, "none", 0) for graph in graphs.values()),
        preprocess=variant.preprocess,
        prompts=prompts,
        mask=variant.mask,
        video=variant.video,
    )
    return Tracker(Bundle(folder, manifest), load=lambda name: TorchGraph(graphs[name]))


@pytest.mark.parametrize(("name", "key"), [("efficienttam_ti_512x512", "video")])
def test_the_published_video(name, key, tmp_path):
    case = published_case.load(name)
    facts = case.facts[key]
    follow = tracker(case, facts["fill"]["salt"], tmp_path)
    for frame, seed in enumerate(facts["seeds"]):
        picture = fill.picture(seed, facts["height"], facts["width"])
        if frame == 0:
            follow.start(picture, frames=len(facts["seeds"]))
            asked = facts["prompt"]
            found = follow.add_object("1", asked["points"], asked["labels"])
        else:
            found = follow.track(picture)["1"]
        score = np.full((1, 1), found.score, np.float32)
        for output, ours in (
            ("low_res_masks", found.low_res_mask[None, None]),
            ("object_score_logits", score),
        ):
            stored, part, most = case.stored(f"{key}.frame{frame}.{output}", ours)
            np.testing.assert_allclose(part, stored, atol=MASKS * most, rtol=0, err_msg=output)
        stored, part, _ = case.stored(f"{key}.frame{frame}.mask", found.mask[None, None])
        assert np.mean(stored == part) >= PIXELS
