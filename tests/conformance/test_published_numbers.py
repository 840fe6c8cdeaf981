"""Our torch modules against stored outputs of the published implementations.

From the uint8 image to the mask, through our own preprocessing and prompt slots: the decoder is the
static one, with empty slots, and must still give the published code's variable-length numbers.

Tolerances are those of the cases (two independent SAM implementations agree to 4e-6; a wrong norm
epsilon or GELU moves results by 1e-4 to 1e-3).
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from exporter.checkpoint import load_strict
from exporter.graphs import Graph, split
from exporter.manifest import PromptRule
from exporter.models.layers import freeze
from exporter.preprocess import Frame, image_input, upscale
from exporter.prompts import LABELS, Prompts, pack
from exporter.variants import Variant, load_variant
from runtimes.segmenter import chosen_tokens
from tests.conformance import fill, published_case
from tests.conformance.published_case import PublishedCase

RELATIVE = 1e-4  # of the array's absolute maximum: embeddings and logits
IOU = 1e-4  # absolute
PIXELS = 0.999  # share of the stored mask pixels that agree
PREPROCESSED = 1e-3  # absolute, for preprocessing without torch

VARIANT_OF = {
    "sam_hf_vit_b": "sam_vit_b",
    "slimsam_50_hf": "slimsam_50",
    "slimsam_77_hf": "slimsam_77",
}
SLOTS = 8

pytestmark = pytest.mark.conformance


@dataclass
class Ran:
    """One case run through our modules."""

    case: PublishedCase
    variant: Variant
    encoder: Graph
    decoder: Graph
    image: torch.Tensor
    frame: Frame
    features: dict[str, torch.Tensor]  # what the encoder gives


@pytest.fixture(scope="module", params=published_case.names())
def ran(request: pytest.FixtureRequest) -> Iterator[Ran]:
    case = published_case.load(request.param)
    variant = load_variant(VARIANT_OF.get(case.name, case.name))
    sam, _ = load_strict(variant, case.checkpoint())
    encoder, decoder = split(freeze(sam), variant, batch=1, slots=SLOTS)
    image, frame = image_input(case.picture(), variant.preprocess)
    tensor = torch.from_numpy(image)
    with torch.no_grad():
        given = encoder.module(tensor)
    given = (given,) if isinstance(given, torch.Tensor) else given
    features = {t.name: value for t, value in zip(encoder.spec.outputs, given, strict=True)}
    yield Ran(case, variant, encoder, decoder, tensor, frame, features)
    gc.collect()


def test_parameters_are_as_listed(ran: Ran) -> None:
    """The published count, less the tensors that take no part in segmenting."""
    listed = ran.case.facts["arch"]["parameters"]
    if ran.case.name in VARIANT_OF:
        listed -= 256  # Hugging Face counts the positional matrix, a buffer elsewhere
    assert ran.variant.parameters == listed - _unused(ran)


def test_preprocessing(ran: Ran) -> None:
    normalised = ran.encoder.module.normalise(ran.image).numpy()
    expected, ours, _ = ran.case.stored("preprocessed", normalised)
    np.testing.assert_allclose(ours, expected, atol=PREPROCESSED, rtol=0)


def _unused(ran: Ran) -> int:
    """Values in the published tensors that take no part in an image."""
    tensors, rename = ran.case.facts["checkpoint"]["tensors"], ran.variant.layouts[0].rename
    return sum(math.prod(shape) for name, (shape, _) in tensors.items() if rename(name) is None)


def test_preprocessing_of_an_image_that_shrinks(ran: Ran) -> None:
    if "image_large" not in ran.case.facts:
        pytest.skip("the case has none")
    large = {key: ran.case.facts["image_large"][key] for key in ("seed", "height", "width")}
    image, _ = image_input(fill.picture(**large), ran.variant.preprocess)
    normalised = ran.encoder.module.normalise(torch.from_numpy(image)).numpy()
    expected, ours, _ = ran.case.stored("preprocessed_large", normalised)
    np.testing.assert_allclose(ours, expected, atol=PREPROCESSED, rtol=0)


def test_what_the_encoder_gives(ran: Ran) -> None:
    for name, ours in ran.features.items():
        expected, part, most = ran.case.stored(name, ours.numpy())
        assert np.abs(part - expected).max() <= RELATIVE * most, name


def test_every_prompt_case(ran: Ran) -> None:
    prompts = ran.case.facts["prompts"]
    fed: dict[str, np.ndarray[Any, Any]] = {}
    for name, prompt in prompts.items():
        masks, iou = _decode(ran, prompt, fed)
        fed[name] = masks[int(iou.argmax())]
        expected, ours, most = ran.case.stored(f"{name}.low_res_masks", masks)
        assert np.abs(ours - expected).max() <= RELATIVE * most, name
        expected, ours, _ = ran.case.stored(f"{name}.iou", iou)
        assert np.abs(ours - expected).max() <= IOU, name
        rule = ran.variant.mask
        final = upscale(masks, ran.frame, rule.upscale) > rule.threshold
        expected, ours, _ = ran.case.stored(f"{name}.mask", final)
        assert (ours == expected).mean() >= PIXELS, name
    assert fed, "the case has no prompts"


def _decode(
    ran: Ran, prompt: dict[str, Any], fed: dict[str, np.ndarray[Any, Any]]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    padded = ran.variant.pad_with_box
    rule = PromptRule(1, SLOTS, LABELS, pad_without_box=True, pad_with_box=padded)
    points = tuple((float(x), float(y)) for x, y in prompt.get("points", []))
    box = tuple(map(float, prompt["box"])) if "box" in prompt else None
    coords, labels = pack(Prompts(points, tuple(prompt.get("labels", ())), box), ran.frame, rule)
    low = ran.variant.mask.low_res_size
    previous = fed.get(prompt.get("mask_from", ""), np.zeros((low, low), np.float32))
    given = np.full(1, float("mask_from" in prompt), np.float32)
    inputs = (coords, labels, previous[None, None], given)
    with torch.no_grad():
        given = (*ran.features.values(), *map(torch.from_numpy, inputs))
        masks, iou = (out[0].numpy() for out in ran.decoder.module(*given))
    tokens = list(chosen_tokens(ran.variant.mask, masks, iou, multimask=prompt["multimask"]))
    return masks[tokens], iou[tokens]
