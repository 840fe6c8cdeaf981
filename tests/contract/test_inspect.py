"""`sam-export inspect` as a user meets it: what a file is, and the command to type."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import torch

from exporter.checkpoints.reading import Checkpoint
from exporter.cli import main
from exporter.demo.network import build
from exporter.inspection.describe import MOST_NAMES, describe_tensors
from tests.conformance import published_case
from tests.unit.checkpoints.published_files import with_tokens


@pytest.fixture(scope="module")
def network():
    return build().state_dict()


@pytest.fixture
def inspect(tmp_path, capfd):
    """Content -> what `inspect --json` says of the file that torch saves it to."""

    def call(content):
        file = tmp_path / "my model.pth"
        torch.save(content, file)
        assert main(["inspect", str(file), "--json"]) == 0
        out, err = capfd.readouterr()
        assert not err
        return json.loads(out)

    return call


def test_a_trained_wrapper_is_described_and_its_command_works(network, inspect, monkeypatch):
    wrapped = {f"model.{name}": tensor for name, tensor in network.items()}
    said = inspect({"state_dict": {**wrapped, "loss.weight": torch.ones(3)}, "epoch": 3})
    assert said["container"] == "torch file (zip)"
    assert (said["place"], said["prefix"]) == ("state_dict", "model.")
    assert (said["variants"], said["layout"]) == (["demo"], "segment-anything")
    assert (said["tensors"], said["input_size"], said["mask_tokens"]) == (len(network), 192, 4)
    assert said["dtypes"] == {"float32": len(network) - 15, "int64": 16}
    assert said["beside"] == {"count": 1, "names": ["loss.weight"]}
    assert said["licence"]["name"] == "Apache-2.0"
    assert not said["problem"]
    typed = shlex.split(said["command"])
    assert typed[0] == "sam-export"
    seen = []
    monkeypatch.setattr(
        "exporter.pipeline.export_network", lambda order, *_: seen.append(order.variant.name) or []
    )
    assert main([*typed[1:], "--target", "onnx"]) == 0
    assert seen == ["demo"]


def test_the_lines_say_the_same(network, tmp_path, capfd):
    torch.save({"ema": network}, tmp_path / "x.pth")
    assert main(["inspect", str(tmp_path / "x.pth")]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines[1:]] == [
        "network", "variant", "sizes", "licence", "command",
    ]  # fmt: skip
    assert lines[1].startswith("network: 304 tensors in ema, 0.7 M values")
    assert lines[2] == "variant: demo, layout segment-anything"
    assert lines[-1] == f"command: sam-export --checkpoint {tmp_path}/x.pth"


def test_what_differs_from_the_nearest_variant_is_listed(network, inspect):
    other = {f"net.{name}": tensor for name, tensor in network.items()}
    del other["net.mask_decoder.iou_token.weight"]
    other["net.classifier.weight"] = torch.ones(2)
    said = inspect(other)
    near = said["nearest"][0]
    assert (said["variants"], said["command"], near["variant"]) == ([], "", "demo")
    assert near["missing"] == {"count": 1, "names": ["mask_decoder.iou_token.weight"]}
    assert near["unused"] == {"count": 1, "names": ["classifier.weight"]}
    assert near["misshapen"]["count"] == 0
    assert said["problem"]


def test_a_decoder_alone_is_near_its_variant(network, inspect):
    said = inspect({n: t for n, t in network.items() if not n.startswith("image_encoder.")})
    near = said["nearest"][0]
    assert (near["variant"], near["unused"]["count"]) == ("demo", 0)
    assert len(near["missing"]["names"]) == min(near["missing"]["count"], MOST_NAMES)


def test_tensors_of_something_else_are_near_nothing(inspect):
    said = inspect({"conv.weight": torch.ones(3, 3)})
    assert (said["nearest"], said["command"]) == ([], "")
    assert "look like no variant" in said["problem"]


@pytest.mark.parametrize(
    ("case", "names", "size"),
    [
        ("mobile_sam", ["mobile_sam", "tinysam"], 1024),
        ("sam_vit_b", ["sam_vit_b"], 1024),
        ("sam_hf_vit_b", ["sam_vit_b"], 1024),
        ("efficient_sam_vitt", ["efficient_sam_vitt"], 1024),
        ("sam2_1_hiera_tiny", ["sam2_1_hiera_tiny"], 1024),
        ("efficienttam_s_512x512", None, 512),
        ("rwkv_sam_small", ["rwkv_sam_small"], 1024),
        ("rap_sam_r50", ["rap_sam_r50"], (800, 1344)),
    ],
)
def test_published_files(case, names, size):
    facts = json.loads((published_case.CASES / f"{case}.json").read_text())
    tensors = {
        name: torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
        for name, (shape, dtype) in facts["checkpoint"]["tensors"].items()
    }
    found = describe_tensors(Checkpoint(Path("a.pt"), "0" * 64, tensors))
    assert found.variants == tuple(names or found.variants)
    one = case.startswith(("rwkv", "rap"))
    assert found.mask_tokens == (1 if one else 4)
    if len(found.variants) == 1:
        assert (found.input_size, found.problem) == (size, "")
    else:
        assert found.command.endswith(f"--variant {found.variants[0]}")


def test_lora_adapters_and_mask_tokens_are_said(network, inspect, tmp_path):
    tensors = with_tokens(dict(network), 2)
    layer = "mask_decoder.transformer.layers.0.self_attn.q_proj"
    for kind in ("weight", "bias"):
        tensors[f"{layer}.base_layer.{kind}"] = tensors.pop(f"{layer}.{kind}")
    tensors[f"{layer}.lora_A.default.weight"] = torch.ones(3, 64)
    tensors[f"{layer}.lora_B.default.weight"] = torch.ones(64, 3)
    said = inspect(tensors)
    assert (said["variants"], said["mask_tokens"]) == (["demo"], 2)
    assert said["lora"] == "PEFT: 1 layers, rank 3"
    assert "give its lora_alpha with --lora-alpha" in said["problem"]
    assert said["command"].endswith("--lora-alpha A")
    (tmp_path / "adapter_config.json").write_text('{"lora_alpha": 6}')
    said = inspect(tensors)
    assert said["problem"] == ""
    assert said["changes"] == [
        "LoRA of PEFT folded into 1 weights, rank 3, scale 2",
        "mask tokens: 2, published with 4",
    ]


def test_an_adapter_alone_asks_for_its_base(inspect):
    pairs = {f"w_{end}_{index:03d}" for end in "ab" for index in range(24)}
    said = inspect(
        {name: torch.ones((4, 768) if "_a_" in name else (768, 4)) for name in sorted(pairs)}
    )
    assert said["lora"] == "SAMed: 24 pairs, rank 4"
    assert said["command"].startswith("sam-export --checkpoint BASE --lora ")
    assert "without its base" in said["problem"]


def test_a_file_that_cannot_be_read_is_one_line(tmp_path, capfd):
    (tmp_path / "x.pth").write_bytes(b"<html>")
    assert main(["inspect", str(tmp_path / "x.pth")]) == 2
    out, err = capfd.readouterr()
    assert not out
    assert err.startswith("sam-export inspect: error: ")
    assert err.count("\n") == 1
