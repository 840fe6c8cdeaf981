"""`segmenter`: a network that finds everything in the picture and takes no prompt."""

from __future__ import annotations

from torch import Tensor, nn

from exporter.bundle.rules import PromptRule
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.graphs import Graph, graph_of
from exporter.graphs.image_encoder import image
from exporter.models.layers import Normalise
from exporter.variants import Detections, Variant


class Detector(nn.Module):
    """`image` (1, 3, S, S), RGB in 0..255 -> `boxes`, `scores`, `coefficients`, `prototypes`."""

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        outputs: tuple[Tensor, ...] = self.network(self.normalise(image))
        return outputs


def build(network: nn.Module, variant: Variant, prompts: PromptRule | None) -> Graph:
    """See `exporter.graphs`."""
    del prompts
    if not isinstance(variant.prompting, Detections):
        raise TypeError(f"{variant.name} takes prompts")
    found, rule = variant.prompting.rule, variant.preprocess
    cells, low = sum((rule.size // s) ** 2 for s in found.strides), variant.mask.low_res_size
    outputs = (
        TensorSpec("boxes", (1, cells, 4), "float32", "BN4"),
        TensorSpec("scores", (1, cells), "float32", "BN"),
        TensorSpec("coefficients", (1, cells, found.prototypes), "float32", "BNK"),
        TensorSpec("prototypes", (1, found.prototypes, low, low), "float32", "BKHW"),
    )
    spec = GraphSpec("segmenter", (image(rule.shape),), outputs, "image")
    return graph_of(spec, Detector(network, rule.mean, rule.std))
