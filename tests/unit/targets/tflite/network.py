"""A network with every kind of constant, and what a .tflite file of it computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

SHAPES = {
    "gauss": (2, 128),  # leads to a sine
    "twin": (4, 64),  # as large, and leads to none
    "table": (1, 40, 256),  # a sum reads it, twice
    "left": (24, 40),  # the left side of a product
    "weight": (96, 256),  # a fully connected layer's
    "bias": (256,),
    "small": (2, 4),
    "huge": (24, 96),  # of numbers that no float16 holds
    "attention": (1, 8, 40, 40),  # added to what a softmax takes
    "filter": (24, 8, 3, 3),  # a convolution's
    "added": (24,),  # its bias
}


class Network(torch.nn.Module):
    """Every kind of constant."""

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(0)
        for name, shape in SHAPES.items():
            values = torch.from_numpy(rng.standard_normal(shape).astype(np.float32))
            self.register_buffer(name, values * 1e5 if name == "huge" else values)
        self.attention[:, 1] *= 9  # heads differ in size, and one is not centred
        self.attention[:, 2] += 5

    def forward(self, points, tokens):
        phase = points @ self.gauss
        positions = torch.cat([phase.sin(), phase.cos()], dim=-1) + self.bias
        tokens = torch.tanh(tokens + self.table) + self.table
        heads = tokens.reshape(1, 40, 8, 32).permute(0, 2, 1, 3)
        shares = torch.softmax(heads @ heads.transpose(2, 3) / 8 + self.attention, -1)
        picture = tokens.reshape(1, 8, 40, 32)
        filtered = torch.nn.functional.conv2d(picture, self.filter, self.added, stride=2)
        mixed = torch.nn.functional.linear(self.left @ tokens, self.weight)
        turned = points.transpose(1, 2)[:, :1].transpose(1, 2) * self.twin
        return (
            positions,
            mixed + self.huge,
            turned,
            torch.relu(points[0] @ self.small),
            shares,
            filtered,
        )


def inputs():
    """Of the network: points and tokens."""
    rng = np.random.default_rng(1)
    points = rng.uniform(700, 1024, (1, 4, 2)).astype(np.float32)
    return points, rng.standard_normal((1, 40, 256)).astype(np.float32)


def run(path: Path):
    """The outputs of a file, in order."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    for detail, array in zip(interpreter.get_input_details(), inputs(), strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    outputs = interpreter.get_output_details()
    return [interpreter.get_tensor(detail["index"]) for detail in outputs]
