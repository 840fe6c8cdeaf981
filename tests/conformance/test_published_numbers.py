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
from tests.conformance import published_case
from tests.conformance.published_case import PublishedCase

RELATIVE = 1e-4  # of the array's absolute maximum: embeddings and logits
IOU = 1e-4  # absolute
PIXELS = 0.999  # share of the stored mask pixels that agree
PREPROCESSED = 1e-3  # absolute, for preprocessing without torch

VARIANT_OF = {"sam_hf_vit_b": "sam_vit_b"}
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
    embeddings: torch.Tensor


@pytest.fixture(scope="module", params=published_case.names())
def ran(request: pytest.FixtureRequest) -> Iterator[Ran]:
    case = published_case.load(request.param)
    variant = load_variant(VARIANT_OF.get(case.name, case.name))
    sam, _ = load_strict(variant, case.checkpoint())
    encoder, decoder = split(freeze(sam), variant, batch=1, slots=SLOTS)
    image, frame = image_input(case.picture(), variant.preprocess)
    tensor = torch.from_numpy(image)
    with torch.no_grad():
        embeddings = encoder.module(tensor)
    yield Ran(case, variant, encoder, decoder, tensor, frame, embeddings)
    gc.collect()


def test_parameters_are_as_listed(ran: Ran) -> None:
    """The published count, less the tensors that take no part in segmenting."""
    listed = ran.case.facts["arch"]["parameters"]
    if ran.case.name == "sam_hf_vit_b":
        listed -= 256  # Hugging Face counts the positional matrix, a buffer elsewhere
    rename = ran.variant.layouts[0].rename
    tensors = ran.case.facts["checkpoint"]["tensors"]
    unused = sum(math.prod(shape) for name, (shape, _) in tensors.items() if rename(name) is None)
    assert ran.variant.parameters == listed - unused


def test_preprocessing(ran: Ran) -> None:
    normalised = ran.encoder.module.normalise(ran.image).numpy()
    expected, ours, _ = ran.case.stored("preprocessed", normalised)
    np.testing.assert_allclose(ours, expected, atol=PREPROCESSED, rtol=0)


def test_image_embeddings(ran: Ran) -> None:
    expected, ours, most = ran.case.stored("image_embeddings", ran.embeddings.numpy())
    assert np.abs(ours - expected).max() <= RELATIVE * most


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
        final = upscale(masks, ran.frame) > ran.variant.mask.threshold
        expected, ours, _ = ran.case.stored(f"{name}.mask", final)
        assert (ours == expected).mean() >= PIXELS, name
    assert fed, "the case has no prompts"


def _decode(
    ran: Ran, prompt: dict[str, Any], fed: dict[str, np.ndarray[Any, Any]]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rule = PromptRule(1, SLOTS, LABELS, pad_without_box=True)
    points = tuple((float(x), float(y)) for x, y in prompt.get("points", []))
    box = tuple(map(float, prompt["box"])) if "box" in prompt else None
    coords, labels = pack(Prompts(points, tuple(prompt.get("labels", ())), box), ran.frame, rule)
    low = ran.variant.mask.low_res_size
    previous = fed.get(prompt.get("mask_from", ""), np.zeros((low, low), np.float32))
    given = np.full(1, float("mask_from" in prompt), np.float32)
    inputs = (coords, labels, previous[None, None], given)
    with torch.no_grad():
        masks, iou = ran.decoder.module(ran.embeddings, *map(torch.from_numpy, inputs))
    tokens = chosen_tokens(ran.variant.mask, iou[0].numpy(), multimask=prompt["multimask"])
    return masks[0, list(tokens)].numpy(), iou[0, list(tokens)].numpy()
