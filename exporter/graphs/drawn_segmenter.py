"""`segmenter`: a network that takes the prompt with the image, drawn as a picture."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from exporter.bundle.rules import PromptRule
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.graphs import Graph, graph_of
from exporter.graphs.image_encoder import image
from exporter.graphs.mask_decoder import masks
from exporter.models.layers import Normalise
from exporter.variants import Drawn, Variant


class DrawnSegmenter(nn.Module):
    """`image` and `prompt_masks` (1, 2, S, S) -> `low_res_masks`, `iou_predictions`."""

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.network = network

    def forward(self, image: Tensor, prompt_masks: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        joined = torch.cat([self.normalise(image), prompt_masks], dim=1)
        masks, iou = self.network(joined)
        return masks, iou


def build(network: nn.Module, variant: Variant, prompts: PromptRule | None) -> Graph:
    """See `exporter.graphs`."""
    del prompts
    if not isinstance(variant.prompting, Drawn):
        raise TypeError(f"{variant.name} takes no drawn prompts")
    rule = variant.preprocess
    drawn = TensorSpec("prompt_masks", (1, 2, rule.size, rule.size), "float32", "NCHW")
    outputs = masks(1, variant.prompting.mask_tokens, (variant.mask.low_res_size,) * 2)
    spec = GraphSpec("segmenter", (image(rule.shape), drawn), outputs, "prompt")
    return graph_of(spec, DrawnSegmenter(network, rule.mean, rule.std))
