"""RAP-SAM against the published code: from the uint8 image to the masks and the classes.

Every graph is the exported one, at the size that the published code gives the case's picture. The
tolerances are the case's: three hard thresholds lie inside, and float noise of 1e-6 in the features
moves the last masks by 1.4e-4 of their largest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from exporter.bundle.preprocess import Frame, image_input, resized_size, upscale
from exporter.bundle.prompts import Prompts, pack
from exporter.checkpoints.fit import load_strict
from exporter.classifier import PanopticRule
from exporter.graphs import Graph, Named, graphs_of
from exporter.host_rules import prompt_rule, with_classes
from exporter.models.layers import freeze
from exporter.models.rap_sam import RapSam
from exporter.variants import Variant, load_variant
from exporter.variants._sizes import resize
from tests.conformance import published_case
from tests.conformance.published_case import PublishedCase

EXACT = 1e-4  # of the array's absolute maximum: before the first threshold
LOGITS = 3e-3  # of the array's absolute maximum; absolute for IoUs
PIXELS = 0.998  # share of the stored mask pixels that agree
PREPROCESSED = 1e-3  # absolute

pytestmark = pytest.mark.conformance
Arrays = dict[str, np.ndarray[Any, Any]]


@dataclass
class Ran:
    """The case's picture, encoded."""

    case: PublishedCase
    variant: Variant
    network: RapSam
    frame: Frame
    image: np.ndarray[Any, Any]
    features: torch.Tensor

    def graph(self, name: str, batch: int = 1) -> Graph:
        graphs = graphs_of(self.network, self.variant, prompt_rule(self.variant, batch))
        return next(graph for graph in graphs if graph.spec.name == name)


@pytest.fixture(scope="module", params=published_case.panoptic_names())
def ran(request: pytest.FixtureRequest) -> Ran:
    case = published_case.load(request.param)
    height, width = case.facts["arch"]["input_size"]
    variant = resize(load_variant(case.name), (height, width))
    network, _ = load_strict(variant, case.checkpoint())
    assert isinstance(network, RapSam)
    freeze(network)
    texts = case.classifier()
    network.panoptic.classify_by(texts)
    names = tuple(map(str, range(len(texts))))
    variant = with_classes(variant, PanopticRule(names, 80))
    image, frame = image_input(case.picture(), variant.preprocess)
    made = Ran(case, variant, network, frame, image, torch.empty(0))
    with torch.no_grad():
        made.features = made.graph("image_encoder").module(torch.from_numpy(image))
    return made


def test_preprocessing(ran: Ran) -> None:
    normalise = ran.graph("image_encoder").module.normalise
    ours = normalise(torch.from_numpy(ran.image)).numpy()
    expected, ours, _ = ran.case.stored("preprocessed", ours)
    np.testing.assert_allclose(ours, expected, atol=PREPROCESSED, rtol=0)


def test_what_the_encoder_gives(ran: Ran) -> None:
    _check(ran.case, "image_embeddings", ran.features.numpy(), EXACT)


def test_parameters_are_as_listed(ran: Ran) -> None:
    """The published count, less the classes and IoUs of the stages, which only losses read."""
    rename, left = ran.variant.layouts[0].rename, 0
    for name, (shape, _) in ran.case.facts["checkpoint"]["tensors"].items():
        left += int(np.prod(shape)) if rename(name) is None else 0
    assert ran.variant.parameters == ran.case.facts["arch"]["parameters"] - left


def test_every_prompt(ran: Ran) -> None:
    """Each alone, and where a case has several, all of them in one call as well."""
    for name, prompt in ran.case.facts["prompts"].items():
        sets = _sets(prompt)
        alone = [_decode(ran, [each]) for each in sets]
        together = {key: np.concatenate([one[key] for one in alone]) for key in alone[0]}
        for found in [together] if len(sets) == 1 else [together, _decode(ran, sets)]:
            _check(ran.case, f"{name}.low_res_masks", found["low_res_masks"], LOGITS)
            expected, ours, _ = ran.case.stored(f"{name}.iou", found["iou_predictions"])
            assert np.abs(ours - expected).max() <= LOGITS, name
            logits = upscale(found["low_res_masks"], ran.frame, ran.variant.mask.upscale)
            expected, ours, _ = ran.case.stored(f"{name}.mask", logits > 0)
            assert (ours == expected).mean() >= PIXELS, name


def test_every_query_and_first_stage(ran: Ran) -> None:
    """Before the first threshold, and after it."""
    head = ran.network.mask_decoder
    pixels = ran.features.flatten(2)[0]
    for name, prompt in ran.case.facts["prompts"].items():
        boxes = torch.cat([_box(ran, each) for each in _sets(prompt)])
        with torch.no_grad():
            query = head.queries(boxes)
            _, masks = head.stages[0](query, query @ pixels, pixels, together=False)
        _check(ran.case, f"{name}.query", query.numpy(), EXACT)
        grid = masks.reshape(-1, *ran.features.shape[2:]).numpy()
        _check(ran.case, f"{name}.stage_0_low_res_masks", grid, LOGITS)


def test_everything(ran: Ran) -> None:
    with torch.no_grad():
        masks, scores = ran.graph("panoptic").module(ran.features)
    _check(ran.case, "panoptic.cls_scores", scores[0].numpy(), LOGITS)
    _check(ran.case, "panoptic.low_res_masks", masks[0].numpy(), LOGITS)


def _check(case: PublishedCase, name: str, ours: np.ndarray[Any, Any], tolerance: float) -> None:
    expected, part, most = case.stored(name, ours)
    assert np.abs(part - expected).max() <= tolerance * most, name


def _sets(prompt: dict[str, Any]) -> list[Prompts]:
    """A case's prompts: each point, or the box, is one of its own."""
    if "box" in prompt:
        return [Prompts(box=tuple(map(float, prompt["box"])))]
    return [Prompts(((float(x), float(y)),), (1,)) for x, y in prompt["points"]]


def _inputs(ran: Ran, sets: list[Prompts]) -> dict[str, torch.Tensor]:
    rule = prompt_rule(ran.variant, len(sets))
    assert rule is not None
    packed = [pack(each, ran.frame, rule) for each in sets]
    coords, labels = (torch.from_numpy(np.concatenate(p)) for p in zip(*packed, strict=True))
    size = torch.from_numpy(resized_size(ran.frame))
    return {"point_coords": coords, "point_labels": labels, "resized_size": size}


def _decode(ran: Ran, sets: list[Prompts]) -> Arrays:
    """Logits (n, h, w) and IoUs (n,)."""
    graph = Named(ran.graph("mask_decoder", len(sets)))
    with torch.no_grad():
        found = graph(image_embeddings=ran.features, **_inputs(ran, sets))
    return {name: tensor[:, 0].numpy() for name, tensor in found.items()}


def _box(ran: Ran, prompts: Prompts) -> torch.Tensor:
    """What the decoder's graph makes of a prompt, as its head takes it."""
    seen: list[torch.Tensor] = []
    hook = ran.network.mask_decoder.register_forward_pre_hook(
        lambda module, given: seen.append(given[1])
    )
    _decode(ran, [prompts])
    hook.remove()
    return seen[0]
