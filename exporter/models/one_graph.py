"""Networks that see the whole image and answer in one graph, with their normalisation in it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from exporter.models.layers import Normalise


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
