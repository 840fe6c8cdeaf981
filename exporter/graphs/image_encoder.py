"""`image_encoder`: the picture to what every prompt on it shares."""

from __future__ import annotations

import dataclasses
from typing import cast

import torch
from torch import Tensor, nn

from exporter.bundle.rules import Preprocess, PromptRule
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.graphs import Graph, graph_of
from exporter.models.layers import Normalise
from exporter.variants import Slots, Variant


class ImageEncoder(nn.Module):
    """`image` (1, 3, S, S), RGB in 0..255 -> `image_embeddings` (1, C, h, w).

    SAM 2's also give `high_res_feats_0` (1, C / 8, 4h, 4w), `high_res_feats_1` (1, C / 4, 2h, 2w);
    SAM-HQ's the first alone.
    Normalisation is part of the graph, so that no app can get it wrong.
    """

    def __init__(self, encoder: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.network = encoder

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """See the class."""
        features: Tensor | tuple[Tensor, ...] = self.network(self.normalise(image))
        return features


class PaddingImageEncoder(nn.Module):
    """An `ImageEncoder` that writes the padding itself: the mean exactly, so zero once normalised.

        image -> normalise -> * -> network
        resized_size -> mask ---^

    `resized_size` (1, 2) is width, height of the resized picture in pixels of the input. Pixels
    right of it and below it have no effect. Float16 holds whole numbers up to 2048, so the mask is
    exact there too.
    """

    def __init__(self, encoder: ImageEncoder, sides: tuple[int, int]) -> None:
        super().__init__()
        self.normalise, self.network = encoder.normalise, encoder.network
        rows, columns = (torch.arange(side, dtype=torch.float32) for side in sides)
        self.register_buffer("columns", columns.reshape(1, 1, 1, -1), persistent=False)
        self.register_buffer("rows", rows.reshape(1, 1, -1, 1), persistent=False)
        self.columns: Tensor
        self.rows: Tensor

    def forward(self, image: Tensor, resized_size: Tensor) -> Tensor | tuple[Tensor, ...]:
        """See the class."""
        features: Tensor | tuple[Tensor, ...] = self.network(self.padded(image, resized_size))
        return features

    def padded(self, image: Tensor, resized_size: Tensor) -> Tensor:
        """Make the network's input: (1, 3, S, S), zero outside the picture."""
        sides = resized_size.reshape(1, 1, 1, 2)
        width, height = sides[..., :1], sides[..., 1:]
        mask = (width - self.columns).clamp(0, 1) * (height - self.rows).clamp(0, 1)
        normalised: Tensor = self.normalise(image)
        return normalised * mask


def as_padded(graph: Graph, rule: Preprocess) -> Graph:
    """Give the graph the form that the rule's `padded_by` asks for; itself if that is the host.

    Args:
        graph: any; only an image is padded.
        rule: a bundle's, of the variant that the graph is of.
    """
    taken = {tensor.name for tensor in graph.spec.inputs}
    if rule.padded_by == "host" or "image" not in taken:
        return graph
    size = TensorSpec("resized_size", (1, 2), "float32", "B2")
    spec = dataclasses.replace(graph.spec, inputs=(*graph.spec.inputs, size))
    return graph_of(spec, PaddingImageEncoder(cast("ImageEncoder", graph.module), rule.shape))


def build(network: nn.Module, variant: Variant, prompts: PromptRule | None) -> Graph:
    """See `exporter.graphs`."""
    del prompts
    rule = variant.preprocess
    spec = GraphSpec("image_encoder", (image(rule.shape),), features(slots_of(variant)), "image")
    encoder: nn.Module = network.image_encoder  # type: ignore[assignment]
    return graph_of(spec, ImageEncoder(encoder, rule.mean, rule.std))


def image(sides: tuple[int, int]) -> TensorSpec:
    """Describe the picture, of that height and width, that every network takes."""
    return TensorSpec("image", (1, 3, *sides), "float32", "NCHW")


def features(slots: Slots) -> tuple[TensorSpec, ...]:
    """List the tensors that the encoder gives and the decoder takes."""
    high_res = (
        TensorSpec(f"high_res_feats_{index}", shape, "float32", "NCHW")
        for index, shape in enumerate(slots.high_res)
    )
    return (TensorSpec("image_embeddings", slots.embedding, "float32", "NCHW"), *high_res)


def slots_of(variant: Variant) -> Slots:
    """Return the variant's slots. TypeError if it has none: it has no encoder of its own."""
    if not isinstance(variant.prompting, Slots):
        raise TypeError(f"{variant.name} has no prompt slots")
    return variant.prompting
