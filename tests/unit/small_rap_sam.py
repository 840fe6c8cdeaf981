"""A twin of RAP-SAM with narrow layers and a small input, which is exported in seconds."""

from __future__ import annotations

import dataclasses
import functools

import torch
import torch.nn.functional as F

from exporter.bundle.manifest import Source
from exporter.bundle.rules import PanopticRule
from exporter.host_rules import with_classes
from exporter.models.rap_sam import RapSam, RapSamSize
from exporter.variants import Panoptic, Variant, load_variant
from exporter.variants._sizes import resize
from tests.unit.small_networks import filled, noise

SIZE = RapSamSize(
    input_size=(128, 192),
    widths=(32, 64, 128, 256),
    depths=(1, 1, 1, 1),
    stem=16,
    fusion=16,
    width=64,
    queries=6,
    classifier=16,
)
CLASSES = ("cat", "dog", "sky")
SOURCE = Source("https://example.org", "", "none", "", "rap-sam")


def small_variant(*, panoptic: bool) -> Variant:
    """The variant with the twin's sizes, with or without its classes."""
    variant = resize(load_variant("rap_sam_r50"), SIZE.input_size)
    prompting = dataclasses.replace(variant.prompting, embedding=(1, SIZE.width, *SIZE.grid))
    layout = dataclasses.replace(variant.layouts[0], build=functools.partial(RapSam, SIZE))
    small = dataclasses.replace(
        variant,
        prompting=prompting,
        layouts=(layout,),
        panoptic=Panoptic(SIZE.classifier),
        # Pictures of the input's own shape fill it.
        preprocess=dataclasses.replace(variant.preprocess, limits=(192, 128)),
    )
    return with_classes(small, PanopticRule(CLASSES, things=2)) if panoptic else small


def small_network() -> RapSam:
    """Filled, not frozen, with classes."""
    network = filled(RapSam(SIZE), "rap_sam")
    assert isinstance(network, RapSam)
    with torch.no_grad():
        # A channel that is the same everywhere would give a kernel's mask one sign, as in the case.
        network.image_encoder.loc_conv.bias.zero_()
    network.panoptic.classify_by(F.normalize(noise(len(CLASSES), 2, SIZE.classifier), dim=-1))
    return network
