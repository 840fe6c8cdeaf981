"""A variant's static graphs; positional inputs are those of the graph's spec, in order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.models.layers import Normalise
from exporter.models.mask_decoder import Attention
from exporter.models.one_graph import Detector, DrawnSegmenter

if TYPE_CHECKING:
    from exporter.models.sam import Sam
    from exporter.variants import Variant


@dataclass(frozen=True)
class Graph:
    """A traceable module and its contract.

    Attributes:
        spec: its inputs and outputs in their canonical layouts.
        module: positional inputs are `spec.inputs`, outputs are `spec.outputs`, both in order.
        example: one tensor for each input.
    """

    spec: GraphSpec
    module: nn.Module
    example: tuple[Tensor, ...]


def split(network: nn.Module, variant: Variant, batch: int, slots: int) -> tuple[Graph, ...]:
    """The variant's graphs with static shapes: an image encoder and a mask decoder, or just one.

    Args:
        network: loaded and frozen (`exporter.models.layers.freeze`).
        variant: for its shapes and normalisation.
        batch: prompt sets in one decoder call (B).
        slots: slots of a prompt set (N).
    """
    if variant.one_graph:
        return (_segmenter(network, variant),)
    return _encoder_and_decoder(cast("Sam", network), variant, batch, slots)


def _segmenter(network: nn.Module, variant: Variant) -> Graph:
    rule, low = variant.preprocess, variant.mask.low_res_size
    image = TensorSpec("image", (1, 3, rule.size, rule.size), "float32", "NCHW")
    if variant.detections is not None:
        cells = sum((rule.size // stride) ** 2 for stride in variant.detections.strides)
        masks = variant.detections.prototypes
        found = (
            TensorSpec("boxes", (1, cells, 4), "float32", "BN4"),
            TensorSpec("scores", (1, cells), "float32", "BN"),
            TensorSpec("coefficients", (1, cells, masks), "float32", "BNK"),
            TensorSpec("prototypes", (1, masks, low, low), "float32", "BKHW"),
        )
        detector = Detector(network, rule.mean, rule.std)
        return graph_of(GraphSpec("segmenter", (image,), found, "image"), detector)
    drawn = TensorSpec("prompt_masks", (1, 2, rule.size, rule.size), "float32", "NCHW")
    results = (
        TensorSpec("low_res_masks", (1, variant.mask_tokens, low, low), "float32", "BMHW"),
        TensorSpec("iou_predictions", (1, variant.mask_tokens), "float32", "BM"),
    )
    segmenter = DrawnSegmenter(network, rule.mean, rule.std)
    return graph_of(GraphSpec("segmenter", (image, drawn), results, "prompt"), segmenter)


def _encoder_and_decoder(sam: Sam, variant: Variant, batch: int, slots: int) -> tuple[Graph, ...]:
    size, masks = variant.preprocess.size, variant.mask_tokens
    low = variant.mask.low_res_size
    image = TensorSpec("image", (1, 3, size, size), "float32", "NCHW")
    features = (
        TensorSpec("image_embeddings", variant.embedding, "float32", "NCHW"),
        *(
            TensorSpec(f"high_res_feats_{index}", shape, "float32", "NCHW")
            for index, shape in enumerate(variant.high_res)
        ),
    )
    prompts: tuple[TensorSpec, ...] = (
        TensorSpec("point_coords", (batch, slots, 2), "float32", "BN2"),
        TensorSpec("point_labels", (batch, slots), "float32", "BN"),
    )
    if variant.takes_mask:
        prompts += (
            TensorSpec("mask_input", (batch, 1, low, low), "float32", "NCHW"),
            TensorSpec("has_mask_input", (batch,), "float32", "B"),
        )
    results = (
        TensorSpec("low_res_masks", (batch, masks, low, low), "float32", "BMHW"),
        TensorSpec("iou_predictions", (batch, masks), "float32", "BM"),
    )
    encoder = ImageEncoder(sam, variant.preprocess.mean, variant.preprocess.std)
    decoder = _DECODERS[len(variant.high_res), variant.takes_mask](sam, batch)
    return (
        graph_of(GraphSpec("image_encoder", (image,), features, "image"), encoder),
        graph_of(GraphSpec("mask_decoder", (*features, *prompts), results, "prompt"), decoder),
    )


@contextmanager
def absorbed(module: nn.Module) -> Iterator[None]:
    """Within it, cross-attention has the form of `exporter.models.absorbed_attention`."""
    attentions = [m for m in module.modules() if isinstance(m, Attention)]
    try:
        for attention in attentions:
            attention.absorbed = True
        yield
    finally:
        for attention in attentions:
            attention.absorbed = False


@contextmanager
def channels_last(module: nn.Module) -> Iterator[None]:
    """Within it, layers that have a form for channels last, as TFLite keeps them, take that one.

    Such a layer has an attribute `channels_last`, false elsewhere.
    """
    layers = [m for m in module.modules() if isinstance(getattr(m, "channels_last", None), bool)]
    try:
        for layer in layers:
            layer.channels_last = True  # type: ignore[assignment]
        yield
    finally:
        for layer in layers:
            layer.channels_last = False  # type: ignore[assignment]


def graph_of(spec: GraphSpec, module: nn.Module) -> Graph:
    """A graph with zeros for its example."""
    example = tuple(torch.zeros(tensor.shape) for tensor in spec.inputs)
    return Graph(spec, module.eval(), example)


class ImageEncoder(nn.Module):
    """`image` (1, 3, S, S), RGB in 0..255 -> `image_embeddings` (1, C, h, w).

    SAM 2's also give `high_res_feats_0` (1, C / 8, 4h, 4w), `high_res_feats_1` (1, C / 4, 2h, 2w);
    SAM-HQ's the first alone.
    Normalisation is part of the graph, so that no app can get it wrong.
    """

    def __init__(self, sam: Sam, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.network = sam.image_encoder

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """See the class."""
        features: Tensor | tuple[Tensor, ...] = self.network(self.normalise(image))
        return features


class _StaticDecoder(nn.Module):
    """Prompts and the encoder's outputs -> `low_res_masks`, `iou_predictions`.

    Static in B and N. A slot with label -2 is left out of every attention as a key; as a query it
    only computes values that nothing reads. So the outputs equal those of the published code, which
    is called with the real prompts alone.
    """

    dense_position: Tensor
    output_tokens: Tensor
    output_bias: Tensor

    def __init__(self, sam: Sam, batch: int) -> None:
        super().__init__()
        self.prompt_encoder = sam.prompt_encoder
        self.mask_decoder = sam.mask_decoder
        self.batch = batch
        with torch.no_grad():
            tokens = sam.mask_decoder.output_tokens(batch)
            self.register_buffer("output_tokens", tokens.clone(), persistent=False)
            position = sam.prompt_encoder.dense_position()
            self.register_buffer("dense_position", position.clone(), persistent=False)
        self.register_buffer("output_bias", torch.zeros(batch, tokens.shape[1]), persistent=False)

    def decode(
        self,
        image_embeddings: Tensor,
        high_res: tuple[Tensor, ...],
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor | None = None,
        has_mask_input: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Predict every mask token's mask.

        Args:
            image_embeddings: (1, C, h, w), as the encoder returns it.
            high_res: what else the encoder returns.
            point_coords: (B, N, 2) x, y in pixels of the S x S input.
            point_labels: (B, N) 1, 0, 2, 3, -1 or -2, whole numbers as floats.
            mask_input: (B, 1, 4h, 4w) a previous `low_res_masks`, or zeros; None for a network
                that takes none and has no dense prompt at all.
            has_mask_input: (B,) 1 or 0; None likewise.

        Returns:
            `low_res_masks` (B, M, 4h, 4w), logits, and `iou_predictions` (B, M).
        """
        prompts, empty_bias = self.prompt_encoder(point_coords, point_labels)
        tokens = torch.cat([self.output_tokens, prompts], dim=1)
        key_bias = torch.cat([self.output_bias, empty_bias], dim=1).unsqueeze(1).unsqueeze(1)
        if mask_input is None or has_mask_input is None:
            # Taken apart and joined: TFLite's converter takes a plain transpose for the weights of
            # a fully connected layer, and XNNPACK does not run one with computed weights.
            halves = (half.flatten(2).transpose(1, 2) for half in image_embeddings.chunk(2, dim=2))
            image = torch.cat([torch.cat(tuple(halves), dim=1)] * self.batch, dim=0)
        else:
            image = image_embeddings.flatten(2).transpose(1, 2)
            image = image + self.prompt_encoder.dense(mask_input, has_mask_input)
        masks, iou = self.mask_decoder(image, self.dense_position, tokens, key_bias, *high_res)
        return masks, iou


class MaskDecoder(_StaticDecoder):
    """`image_embeddings` and the prompts, in the order of the graph's spec."""

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """See `decode`."""
        prompts = (point_coords, point_labels, mask_input, has_mask_input)
        return self.decode(image_embeddings, (), *prompts)


class MasklessMaskDecoder(_StaticDecoder):
    """EfficientSAM's: no earlier mask."""

    def forward(
        self, image_embeddings: Tensor, point_coords: Tensor, point_labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `decode`."""
        return self.decode(image_embeddings, (), point_coords, point_labels)


class SharpMaskDecoder(_StaticDecoder):
    """SAM-HQ's: with `high_res_feats_0` before the prompts."""

    def forward(
        self,
        image_embeddings: Tensor,
        high_res_feats_0: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """See `decode`."""
        prompts = (point_coords, point_labels, mask_input, has_mask_input)
        return self.decode(image_embeddings, (high_res_feats_0,), *prompts)


class HighResMaskDecoder(_StaticDecoder):
    """SAM 2's: with `high_res_feats_0` and `high_res_feats_1` before the prompts."""

    def forward(  # noqa: PLR0913  (one name for each input: TFLite's converter calls by name)
        self,
        image_embeddings: Tensor,
        high_res_feats_0: Tensor,
        high_res_feats_1: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """See `decode`."""
        prompts = (point_coords, point_labels, mask_input, has_mask_input)
        return self.decode(image_embeddings, (high_res_feats_0, high_res_feats_1), *prompts)


_DECODERS = {
    (0, True): MaskDecoder,
    (0, False): MasklessMaskDecoder,
    (1, True): SharpMaskDecoder,
    (2, True): HighResMaskDecoder,
}
"""By the maps of higher resolution that the encoder hands over, and whether a mask is taken."""
