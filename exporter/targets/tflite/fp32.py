"""A torch graph -> a float32 .tflite file, by LiteRT's converter."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

from torch import Tensor, nn

from exporter.bundle.manifest import GraphFile
from exporter.bundle.tensors import TensorSpec
from exporter.graphs import Named, absorbed, centred, channels_last
from exporter.targets import Lowering
from exporter.targets.tflite._file import tidy

if TYPE_CHECKING:
    from exporter.graphs import Graph


PICTURES = frozenset({"image", "prompt_masks"})
"""Inputs that an app draws."""


class ChannelsLast(nn.Module):
    """A graph by names that takes its pictures as (1, S, S, C), as a camera buffer lies in memory.

    LiteRT's converter calls by keyword, and names inputs and outputs of the signature after what it
    gives and gets.
    """

    def __init__(self, graph: Graph, pictures: frozenset[str]) -> None:
        super().__init__()
        self.named = Named(graph)
        self.pictures = pictures

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """See the class."""
        first = {
            name: tensor.permute(0, 3, 1, 2) if name in self.pictures else tensor
            for name, tensor in inputs.items()
        }
        outputs: dict[str, Tensor] = self.named(**first)
        return outputs


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.tflite` in float32."""
    file = convert(work)
    path = work.folder / file.file
    tidy(path)
    return dataclasses.replace(file, bytes=path.stat().st_size)


def convert(work: Lowering) -> GraphFile:
    """Write `GRAPH.tflite` as the converter does: tensors are named after modules of the network.

    See `exporter.targets.tflite._file.tidy`, which a finished file has been through.
    """
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    import litert_torch

    graph = work.graph
    spec = dataclasses.replace(graph.spec, inputs=tuple(map(_channels_last, graph.spec.inputs)))
    pictures = frozenset(tensor.name for tensor in spec.inputs if tensor.layout == "NHWC")
    example = {
        tensor.name: one.permute(0, 2, 3, 1).contiguous() if tensor.name in pictures else one
        for tensor, one in zip(spec.inputs, graph.example, strict=True)
    }
    module = ChannelsLast(graph, pictures).eval()
    with absorbed(graph.module), centred(graph.module), channels_last(graph.module):
        converted = litert_torch.signature(spec.name, module, sample_kwargs=example).convert()
    path = work.folder / f"{spec.name}.tflite"
    converted.export(str(path))
    return GraphFile(spec, path.name, path.stat().st_size, signature=spec.name)


def _channels_last(tensor: TensorSpec) -> TensorSpec:
    """A picture of the app's has its channels last; what graphs hand on stays as it is."""
    if tensor.name not in PICTURES:
        return tensor
    batch, channels, height, width = tensor.shape
    return dataclasses.replace(tensor, shape=(batch, height, width, channels), layout="NHWC")
