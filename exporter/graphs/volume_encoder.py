"""`volume_encoder`: the cube of voxels to what every prompt in it shares."""

from __future__ import annotations

from typing import cast

from torch import nn

from exporter.bundle.rules import PromptRule
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.graphs import Graph, graph_of
from exporter.graphs.image_encoder import features, slots_of
from exporter.variants import Variant


def build(network: nn.Module, variant: Variant, prompts: PromptRule | None) -> Graph:
    """See `exporter.graphs`. The volume comes normalised: its statistics are the host's work."""
    del prompts
    side = variant.preprocess.size
    volume = TensorSpec("volume", (1, side, side, side), "float32", "NDHW")
    spec = GraphSpec("volume_encoder", (volume,), features(slots_of(variant)), "image")
    return graph_of(spec, cast("nn.Module", network.image_encoder))
