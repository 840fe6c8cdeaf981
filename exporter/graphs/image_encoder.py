"""`image_encoder`: the picture to what every prompt on it shares."""

from __future__ import annotations

from torch import Tensor, nn

from exporter.bundle.rules import PromptRule
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


def build(network: nn.Module, variant: Variant, prompts: PromptRule | None) -> Graph:
    """See `exporter.graphs`."""
    del prompts
    rule = variant.preprocess
    spec = GraphSpec("image_encoder", (image(rule.size),), features(slots_of(variant)), "image")
    encoder: nn.Module = network.image_encoder  # type: ignore[assignment]
    return graph_of(spec, ImageEncoder(encoder, rule.mean, rule.std))


def image(size: int) -> TensorSpec:
    """The picture that every network takes."""
    return TensorSpec("image", (1, 3, size, size), "float32", "NCHW")


def features(slots: Slots) -> tuple[TensorSpec, ...]:
    """What the encoder gives and the decoder takes."""
    high_res = (
        TensorSpec(f"high_res_feats_{index}", shape, "float32", "NCHW")
        for index, shape in enumerate(slots.high_res)
    )
    return (TensorSpec("image_embeddings", slots.embedding, "float32", "NCHW"), *high_res)


def slots_of(variant: Variant) -> Slots:
    """The variant's slots. TypeError if it has none: such a network has no encoder of its own."""
    if not isinstance(variant.prompting, Slots):
        raise TypeError(f"{variant.name} has no prompt slots")
    return variant.prompting
