from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from exporter.arithmetic import multiply_accumulates
from exporter.bundle.tensors import GraphSpec
from exporter.graphs import Graph

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's


class Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def counted(module, *shapes):
    example = tuple(torch.zeros(shape) for shape in shapes)
    return multiply_accumulates(Graph(GraphSpec("g", (), (), "image"), module, example))


@pytest.mark.parametrize(
    ("module", "shapes", "by_hand"),
    [
        (nn.Linear(8, 5), [(1, 3, 8)], 3 * 8 * 5),
        (nn.Linear(8, 5, bias=False), [(2, 3, 8)], 2 * 3 * 8 * 5),
        (nn.Conv2d(3, 4, 3, padding=1), [(1, 3, 6, 5)], 6 * 5 * 4 * 3 * 9),
        (nn.Conv2d(6, 6, 3, groups=6), [(1, 6, 5, 5)], 3 * 3 * 6 * 9),
        (nn.Conv2d(4, 8, 2, stride=2), [(1, 4, 8, 8)], 4 * 4 * 8 * 4 * 4),
        (nn.ConvTranspose2d(4, 2, 2, stride=2), [(1, 4, 3, 3)], 3 * 3 * 4 * 2 * 4),
        (Call(torch.matmul), [(2, 4, 3, 5), (2, 4, 5, 7)], 2 * 4 * 3 * 5 * 7),
        (Call(F.scaled_dot_product_attention), [(1, 2, 6, 4)] * 3, 2 * (6 * 6 * 4 + 6 * 6 * 4)),
        (
            Call(lambda q, k, b: F.scaled_dot_product_attention(q, k, k, attn_mask=b)),
            [(1, 2, 6, 4), (1, 2, 9, 4), (1, 1, 1, 9)],
            2 * (6 * 9 * 4 + 6 * 9 * 4),
        ),
        (Call(lambda x: F.gelu(x) * x + x.mean()), [(1, 100)], 0),
    ],
)
def test_counts_worked_out_by_hand(module, shapes, by_hand):
    assert counted(module, *shapes) == by_hand


def test_the_module_is_left_as_it_was():
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    before = {name: tensor.data_ptr() for name, tensor in module.state_dict().items()}
    counted(module, (1, 3))
    assert {name: t.data_ptr() for name, t in module.state_dict().items()} == before
    assert module(torch.ones(1, 3)).dtype is torch.float32


def test_a_layer_with_two_names_keeps_its_weights():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.second = self.first

        def forward(self, x):
            return self.second(self.first(x))

    module = Shared()
    weight = module.first.weight
    assert counted(module, (1, 4)) == 32
    assert module.first.weight is weight
    assert module.second.weight is weight
