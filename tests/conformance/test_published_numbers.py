"""Our torch modules against stored outputs of the published implementations.

From the uint8 image to the mask, through our own preprocessing and prompt slots: the decoder is the
static one, with empty slots, and must still give the published code's variable-length numbers.

The encoder runs once a case. If a variant is padded, it runs in the form for Core ML: on bytes,
with noise in the padding, which that graph writes itself. The other targets' form has the same
network and is compared at the network's input, and for small networks at the output too.

Tolerances are those of the cases (two independent SAM implementations agree to 4e-6; a wrong norm
epsilon or GELU moves results by 1e-4 to 1e-3).
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from exporter.bundle.masks import choose_tokens
from exporter.bundle.preprocess import Frame, image_input, resized_size, upscale
from exporter.bundle.prompts import Prompts, pack
from exporter.bundle.rules import PromptRule
from exporter.checkpoints.fit import load_strict
from exporter.graphs import Graph, Named
from exporter.graphs.image_encoder import as_padded
from exporter.host_rules import prompt_rule
from exporter.models.layers import freeze
from exporter.targets import Options, load_target
from exporter.variants import Variant, load_variant
from tests.conformance import fill, published_case
from tests.conformance.published_case import VARIANT_OF, PublishedCase
from tests.unit.small_networks import split

RELATIVE = 1e-4  # of the array's absolute maximum: embeddings and logits
IOU = 1e-4  # absolute
PIXELS = 0.999  # share of the stored mask pixels that agree
PREPROCESSED = 1e-3  # absolute, for preprocessing without torch
PADDING = 1e-7  # absolute, after normalisation: what float32 leaves of the mean
SMALL = 50e6  # parameters; a network that is encoded in both forms

SINGLE = {"efficient_sam": 0}
"""The token that a case means by one mask, where the published `forward` never returns it."""

SLOTS = 8
BOXES = ((200, 150, 700, 600), (0, 0, 320, 360), (480, 240, 960, 720))
"""The boxes of `boxes.*`, in original pixels; the case has them in words only."""

INSIDE = {
    "encoder_proj": lambda network, x: network.proj(network.up_1(network.backbone(x))),
    "encoder_input": lambda network, x: network.halve(x),
}
"""What a case stores from inside an encoder: its network and the normalised image -> a tensor."""

FINER = {
    "rwkv_sam": {
        "high_res_feats_0": lambda network, x: network.backbone(x)[0],
        "high_res_feats_1": lambda network, x: network.backbone(x)[1],
    }
}
"""The same of families whose encoder goes on with what the published one gives its decoder."""

pytestmark = pytest.mark.conformance


@dataclass
class Ran:
    """One case run through our modules.

    Attributes:
        image: with the exact padding, as a float input takes it.
        core_ml: Core ML's encoder and inputs for a padded variant; else None.
        features: what the encoder gives; `core_ml`'s if there is one.
    """

    case: PublishedCase
    variant: Variant
    network: torch.nn.Module
    encoder: Graph
    decoder: Graph
    image: torch.Tensor
    frame: Frame
    core_ml: tuple[Graph, tuple[torch.Tensor, ...]] | None
    features: dict[str, torch.Tensor]


@pytest.fixture(scope="module", params=published_case.names())
def ran(request: pytest.FixtureRequest) -> Iterator[Ran]:
    yield run_case(request.param)
    gc.collect()


def run_case(name: str) -> Ran:
    """Fill the published checkpoint and encode the case's picture."""
    case = published_case.load(name)
    variant = load_variant(VARIANT_OF.get(case.name, case.name))
    sam, _ = load_strict(variant, case.checkpoint(), case.decoder_checkpoint())
    encoder, decoder = split(freeze(sam), variant, batch=1, slots=_slots(variant))
    image, frame = image_input(case.picture(), variant.preprocess)
    tensor = torch.from_numpy(image)
    core_ml = _core_ml(variant, encoder, image, frame)
    features = _encode(*(core_ml or (encoder, (tensor,))))
    return Ran(case, variant, sam, encoder, decoder, tensor, frame, core_ml, features)


def _core_ml(
    variant: Variant, encoder: Graph, exact: np.ndarray[Any, Any], frame: Frame
) -> tuple[Graph, tuple[torch.Tensor, ...]] | None:
    rule = load_target("coreml").preprocess(variant.preprocess, Options())
    if rule.padded_by == "host":
        return None
    image = np.random.default_rng(0).integers(0, 256, exact.shape).astype(np.float32)
    width, height = frame.resized
    picture = exact[..., :height, :width]
    assert (picture == picture.astype(np.uint8)).all()
    assert picture.size < image.size, "the case is not padded"
    image[..., :height, :width] = picture
    return as_padded(encoder, rule), (
        torch.from_numpy(image),
        torch.from_numpy(resized_size(frame)),
    )


def _encode(encoder: Graph, inputs: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        return Named(encoder)(**dict(zip(Named(encoder).inputs, inputs, strict=True)))


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
    for name, ours in _as_published(ran, ran.features):
        expected, part, most = ran.case.stored(name, ours.numpy())
        assert np.abs(part - expected).max() <= RELATIVE * most, name


def _as_published(
    ran: Ran, features: dict[str, torch.Tensor]
) -> Iterator[tuple[str, torch.Tensor]]:
    """What our encoder and the published one both give."""
    further = FINER.get(ran.variant.family, {})
    return ((name, given) for name, given in features.items() if name not in further)


def test_a_float_image_gives_the_same(ran: Ran) -> None:
    """The form of the other targets, whose padding the host writes."""
    if ran.core_ml is None:
        pytest.skip("not padded: the encoder has one form")
    padded, (image, size) = ran.core_ml
    with torch.no_grad():
        expected = padded.module.padded(image, size)
        ours = ran.encoder.module.normalise(ran.image)
    width, height = ran.frame.resized
    assert torch.equal(ours[..., :height, :width], expected[..., :height, :width])
    assert not expected[..., height:, :].any()
    assert not expected[..., width:].any()
    assert (ours - expected).abs().max() <= PADDING
    if ran.variant.parameters > SMALL:
        return
    for name, value in _as_published(ran, _encode(ran.encoder, (ran.image,))):
        stored, part, most = ran.case.stored(name, value.numpy())
        assert np.abs(part - stored).max() <= RELATIVE * most, name


def test_every_prompt_case(ran: Ran) -> None:
    check_prompts(ran)


def check_prompts(ran: Ran) -> None:
    """What the decoder makes of `ran.features` for every prompt, down to the mask."""
    prompts = ran.case.facts["prompts"]
    fed: dict[str, np.ndarray[Any, Any]] = {}
    for name, prompt in prompts.items():
        every, scores = _decode(ran, prompt, fed)
        _check_all(ran.case, name, every, scores)
        single = SINGLE.get(ran.variant.family, ran.variant.mask.single)
        rule, several = replace(ran.variant.mask, single=single), prompt["multimask"]
        tokens = list(choose_tokens(rule, every, scores, multimask=several))
        masks, iou = every[tokens], scores[tokens]
        fed[name] = masks[int(iou.argmax())]
        expected, ours, most = ran.case.stored(f"{name}.low_res_masks", masks)
        assert np.abs(ours - expected).max() <= RELATIVE * most, name
        expected, ours, _ = ran.case.stored(f"{name}.iou", iou)
        assert np.abs(ours - expected).max() <= IOU, name
        final = upscale(masks, ran.frame, rule.upscale) > rule.threshold
        expected, ours, _ = ran.case.stored(f"{name}.mask", final)
        assert (ours == expected).mean() >= PIXELS, name
    assert fed, "the case has no prompts"


def _check_all(case: PublishedCase, name: str, masks: np.ndarray, iou: np.ndarray) -> None:
    """Every mask token's, where the published predictor returns them all."""
    if f"{name}.all_low_res_masks" in case.outputs:
        expected, ours, most = case.stored(f"{name}.all_low_res_masks", masks)
        assert np.abs(ours - expected).max() <= RELATIVE * most, name
        expected, ours, _ = case.stored(f"{name}.all_iou", iou)
        assert np.abs(ours - expected).max() <= IOU, name


def test_what_else_is_stored_of_the_encoder(ran: Ran) -> None:
    inside = INSIDE | FINER.get(ran.variant.family, {})
    stored = [name for name in inside if name in ran.case.outputs]
    if not stored:
        pytest.skip("the case has none")
    normalised = ran.encoder.module.normalise(ran.image)
    for name in stored:
        with torch.no_grad():
            found = inside[name](ran.encoder.module.network, normalised)
        expected, ours, most = ran.case.stored(name, found.numpy())
        assert np.abs(ours - expected).max() <= RELATIVE * most, name


def test_boxes_as_one_batch(ran: Ran) -> None:
    if "boxes.low_res_masks" not in ran.case.outputs:
        pytest.skip("the case has none")
    rule = _prompt_rule(ran.variant, len(BOXES))
    packed = [pack(Prompts(box=box), ran.frame, rule) for box in BOXES]
    coords, labels = (torch.from_numpy(np.concatenate(part)) for part in zip(*packed, strict=True))
    low, batch = ran.variant.mask.low_res_size, len(BOXES)
    mask = (torch.zeros(batch, 1, low, low), torch.zeros(batch))
    decoder = split(ran.network, ran.variant, batch=batch, slots=SLOTS)[1]
    with torch.no_grad():
        found = decoder.module(*ran.features.values(), coords, labels, *mask)
    masks, iou = (part[:, [ran.variant.mask.single]].numpy() for part in found)
    expected, ours, most = ran.case.stored("boxes.low_res_masks", masks)
    assert np.abs(ours - expected).max() <= RELATIVE * most
    expected, ours, _ = ran.case.stored("boxes.iou", iou)
    assert np.abs(ours - expected).max() <= IOU
    rule = ran.variant.mask
    final = np.stack([upscale(one, ran.frame, rule.upscale) > rule.threshold for one in masks])
    expected, ours, _ = ran.case.stored("boxes.mask", final)
    assert (ours == expected).mean() >= PIXELS


def test_what_forward_returns_for_the_box(ran: Ran) -> None:
    """EfficientSAM's `forward`: tokens 1..3; its examples take the one of the highest IoU."""
    if "forward_box.iou" not in ran.case.outputs:
        pytest.skip("the case has none")
    every, scores = _decode(ran, ran.case.facts["prompts"]["box"], {})
    rule = ran.variant.mask
    tokens = list(choose_tokens(rule, every, scores, multimask=True))
    expected, ours, _ = ran.case.stored("forward_box.iou", scores[tokens])
    assert np.abs(ours - expected).max() <= IOU
    best = choose_tokens(rule, every, scores, multimask=False)
    assert best == (tokens[int(expected.argmax())],)
    final = upscale(every[tokens], ran.frame, rule.upscale) > rule.threshold
    expected, ours, _ = ran.case.stored("forward_box.mask", final)
    assert (ours == expected).mean() >= PIXELS


def _slots(variant: Variant) -> int:
    return min(SLOTS, variant.prompting.most or SLOTS)


def _prompt_rule(variant: Variant, batch: int) -> PromptRule:
    rule = prompt_rule(variant, batch, _slots(variant))
    assert rule is not None
    return rule


def _decode(
    ran: Ran, prompt: dict[str, Any], fed: dict[str, np.ndarray[Any, Any]]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Every mask token's logits (M, h, w) and predicted IoU (M,)."""
    rule = _prompt_rule(ran.variant, 1)
    points = tuple((float(x), float(y)) for x, y in prompt.get("points", []))
    box = tuple(map(float, prompt["box"])) if "box" in prompt else None
    coords, labels = pack(Prompts(points, tuple(prompt.get("labels", ())), box), ran.frame, rule)
    low = ran.variant.mask.low_res_size
    previous = fed.get(prompt.get("mask_from", ""), np.zeros((low, low), np.float32))
    given = np.full(1, float("mask_from" in prompt), np.float32)
    inputs = (coords, labels, previous[None, None], given)[
        : 4 if ran.variant.prompting.takes_mask else 2
    ]
    with torch.no_grad():
        given = (*ran.features.values(), *map(torch.from_numpy, inputs))
        masks, iou = (out[0].numpy() for out in ran.decoder.module(*given))
    return masks, iou
