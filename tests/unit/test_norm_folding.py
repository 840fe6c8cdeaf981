"""Norms whose scale and shift go into the linear layers after them: exact, or left alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.checkpoints.obtain import Given, obtain
from exporter.graphs import graph_of, graphs_of
from exporter.host_rules import prompt_rule
from exporter.models.layers import freeze
from exporter.norm_folding import folded
from exporter.products import weight_paths
from exporter.progress import silent
from exporter.variants import load_variant
from tests.unit.small_networks import filled, noise


class Layers(nn.Module):
    """x -> norm -> two linear layers; `form` says who else takes what the norm gives."""

    def __init__(self, form):
        super().__init__()
        self.form = form
        self.norm = nn.LayerNorm(8)
        self.first = nn.Linear(8, 4)
        self.second = nn.Linear(8, 4, bias=form != "no bias")

    def forward(self, x):
        normed = self.norm(x)
        shape = normed.shape
        found = self.first(normed) + self.second(normed).reshape(*shape[:-1], 4)
        if self.form == "residual":
            return found + normed[..., :4]
        if self.form == "twice":
            return found + self.first(x)
        return (found, normed) if self.form == "output" else found


def graph(form):
    x, y = TensorSpec("x", (1, 6, 8), "float32", "B"), TensorSpec("y", (1, 6, 4), "float32", "B")
    return graph_of(GraphSpec("tiny", (x,), (y,), "image"), filled(Layers(form), "norms"))


def tensors(graph):
    paths = weight_paths(graph)
    module = graph.module
    named = (*module.named_parameters(), *module.named_buffers())
    return {paths[id(each)]: each for _, each in named}


def with_folded(graph, *inputs):
    """What the graph gives before and after."""
    own = tensors(graph)
    before = graph.module(*inputs)
    changed = folded(graph, own)
    for path, tensor in changed.items():
        own[path].data = tensor
    return changed, before, graph.module(*inputs)


def test_the_output_stays():
    changed, before, after = with_folded(graph("linears"), noise(1, 6, 8))
    assert {path.partition(".")[0] for path in changed} == {"norm", "first", "second"}
    assert torch.equal(changed["norm.weight"], torch.ones(8))
    assert torch.equal(changed["norm.bias"], torch.zeros(8))
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", ["residual", "output", "no bias", "twice"])
def test_a_norm_that_others_need_stays(form):
    small = graph(form)
    assert folded(small, tensors(small)) == {}


def test_every_norm_of_the_demo_is_folded():
    demo = load_variant("demo")
    network, _ = obtain(demo, Given(), silent)
    encoder = graphs_of(freeze(network), demo, prompt_rule(demo))[0]
    _, before, after = with_folded(encoder, noise(1, 3, 192, 192).abs() * 100)
    norms = [m for m in encoder.module.modules() if isinstance(m, nn.LayerNorm)]
    assert norms
    assert all((norm.weight == 1).all() and (norm.bias == 0).all() for norm in norms)
    assert (after - before).abs().max() <= 1e-5 * before.abs().max()
