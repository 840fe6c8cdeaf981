"""The demo network with PEFT's LoRA, as training code saves it and as `sam-export` reads it."""

from __future__ import annotations

import json

import torch
from torch import nn

from exporter.checkpoints.adapt import adapt
from exporter.checkpoints.choose import choose
from exporter.checkpoints.fit import load_strict
from exporter.checkpoints.lora_options import LoraOptions
from exporter.checkpoints.reading import read_checkpoint
from exporter.checkpoints.recognise import recognise
from exporter.demo.network import build
from exporter.progress import silent
from exporter.variants import load_variant, variants
from tests.unit.checkpoints.plain_vit import LowRank


def peft_demo(rank=3, scale=0.5):
    """The demo network with PEFT's layers around attention's and the MLPs' linear layers."""
    network = build()
    torch.manual_seed(3)
    names = [
        name for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and name.endswith(("proj", "fc1", "lin2"))
    ]  # fmt: skip
    for name in names:
        parent, _, last = name.rpartition(".")
        layer = LowRank(getattr(network.get_submodule(parent), last), rank, scale)
        nn.init.normal_(layer.lora_B["default"].weight, std=0.05)
        setattr(network.get_submodule(parent), last, layer)
    return network.eval(), names


def run_demo(network):
    image = torch.randn(1, 3, 192, 192, generator=torch.Generator().manual_seed(1))
    rows = torch.randn(1, 7, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        embedding = network.image_encoder(image)
        pixels = embedding.flatten(2).transpose(1, 2)
        position = network.prompt_encoder.dense_position()
        return embedding, *network.mask_decoder(pixels, position, rows, torch.zeros(1, 1, 1, 7))


def loaded(variant, checkpoint):
    return load_strict(variant, checkpoint)[0]


def adapted(path, options=None, name=None):
    """What `sam-export --checkpoint` makes of a file."""
    checkpoint = choose(read_checkpoint(path), variants().values())
    variant = load_variant(name or recognise(checkpoint))
    return adapt(variant, checkpoint, options or LoraOptions(), silent)


def assert_alike(network, other):
    for own, theirs in zip(run_demo(network), run_demo(other), strict=True):
        assert (own - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def config(**more):
    return json.dumps({"peft_type": "LORA", "r": 3, "lora_alpha": 1.5, "lora_dropout": 0.1} | more)


def adapter_tensors(network, names):
    """As `save_pretrained` writes them."""
    state = network.state_dict()
    return {
        f"base_model.model.{name}.lora_{end}.weight": state[f"{name}.lora_{end}.default.weight"]
        for name in names
        for end in "AB"
    }
