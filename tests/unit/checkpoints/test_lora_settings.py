"""Scales of LoRA, from PEFT's settings or from the user, and LoRA that is refused."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from exporter.checkpoints.lora import parse
from exporter.checkpoints.lora_options import LoraOptions
from exporter.demo.network import build
from exporter.errors import CheckpointError, RequestError
from tests.unit.checkpoints.lora_kit import adapted, adapter_tensors, config, peft_demo


@pytest.fixture(scope="module")
def trained():
    return peft_demo()


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({"lora_alpha": 6}, 2.0),
        ({"lora_alpha": 6, "use_rslora": True}, 6 / 3**0.5),
        ({"alpha_pattern": {"self_attn.q_proj": 30}}, 10.0),
        ({"alpha_pattern": {r"^mask_decoder\.transformer.*q_proj": 30}}, 10.0),
        ({"alpha_pattern": {"^self_attn.q_proj": 30}}, 0.5),
        ({"alpha_pattern": {"elf_attn.q_proj": 30}}, 0.5),
    ],
)
def test_the_scale_of_a_config(tmp_path, trained, settings, scale):
    network, names = trained
    name = "mask_decoder.transformer.layers.0.self_attn.q_proj"
    plain = parse(network.state_dict()).plain
    torch.save(dict(plain), tmp_path / "base.pth")
    save_file(adapter_tensors(network, names), tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(config(**settings))
    _, checkpoint = adapted(tmp_path / "base.pth", LoraOptions(tmp_path))
    state = network.state_dict()
    up, down = (state[f"{name}.lora_{end}.default.weight"].double() for end in "BA")
    wanted = plain[f"{name}.weight"].double() + scale * up @ down
    made = checkpoint.tensors[f"{name}.weight"]
    assert (made - wanted).abs().max() <= 1e-6 * wanted.abs().max()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"peft_type": "IA3"}, "is of 'IA3'"),
        ({"use_dora": True}, "use_dora"),
        ({"init_lora_weights": "pissa_niter_4"}, "changes the base's weights"),
        ({"lora_alpha": "8"}, "no number as lora_alpha"),
        ({"lora_alpha": 1e30}, "lora_alpha of 1e"),
        ({"alpha_pattern": {"(a+)+$": 3}}, "a pattern that is not read"),
        ({"alpha_pattern": {".*.*.*x": 3}}, "a pattern that is not read"),
        ({"alpha_pattern": [3]}, "an alpha_pattern that is none"),
    ],
)
def test_configs_that_are_refused(tmp_path, trained, settings, said):
    network, names = trained
    torch.save(dict(parse(network.state_dict()).plain), tmp_path / "base.pth")
    save_file(adapter_tensors(network, names), tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(config(**settings))
    with pytest.raises(CheckpointError, match=said):
        adapted(tmp_path / "base.pth", LoraOptions(tmp_path))


# ------------------------------------------------------------------------------------- refusals


def test_what_is_no_lora_that_is_known_is_refused_with_its_names(tmp_path, trained):
    network, names = trained
    torch.save(dict(parse(network.state_dict()).plain), tmp_path / "base.pth")
    low = adapter_tensors(network, names)
    cases = {
        "half of a LoRA pair": {
            n: t for n, t in low.items() if not n.endswith("fc1.lora_B.weight")
        },
        "does not fit": low | {next(iter(low)): torch.ones(4, 5)},
        r"\(2000, 3000\) and \(3000, 2000\)": {
            "x.lora_A.weight": torch.ones(2000, 3000),
            "x.lora_B.weight": torch.ones(3000, 2000),
        },
        "several LoRA adapters": network.state_dict() | {"a.lora_A.other.weight": torch.ones(1, 2)},
        "lora_magnitude_vector": low | {"x.lora_magnitude_vector.default.weight": torch.ones(4)},
        "w_conv_0": {"w_a_000": torch.ones(1, 2), "w_conv_0": torch.ones(2)},
        "holds no LoRA": {"mask_decoder.iou_token.weight": torch.ones(1, 64)},
        "1 tensors that demo does not have: head.weight": low
        | {"base_model.model.head.weight": torch.ones(2)},
    }
    for said, tensors in cases.items():
        save_file({n: t.clone() for n, t in tensors.items()}, tmp_path / "a.safetensors")
        with pytest.raises(CheckpointError, match=said):
            adapted(tmp_path / "base.pth", LoraOptions(tmp_path / "a.safetensors", alpha=1))


def test_an_adapter_given_as_the_checkpoint_asks_for_its_base(tmp_path, trained):
    save_file(adapter_tensors(*trained), tmp_path / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match=r"LoRA of PEFT without its base: .*--lora"):
        adapted(tmp_path / "adapter_model.safetensors")
    torch.save({"w_a_000": torch.ones(2, 8), "w_b_000": torch.ones(8, 2)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="LoRA of SAMed without its base"):
        adapted(tmp_path / "x.pth")


def test_options_without_lora_are_refused(weights):
    with pytest.raises(RequestError, match="holds no LoRA: leave out --lora-alpha"):
        adapted(weights, LoraOptions(alpha=2.0))


def test_loralib_asks_whether_it_was_merged(tmp_path, trained):
    state = dict(build().state_dict())
    layer = "mask_decoder.transformer.layers.0.mlp.lin1"
    state |= {f"{layer}.lora_A": torch.ones(2, 64), f"{layer}.lora_B": torch.ones(256, 2)}
    rows = state[f"{layer}.weight"].shape[0]
    state[f"{layer}.lora_B"] = torch.ones(rows, 2)
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="0 if it was saved in evaluation mode"):
        adapted(tmp_path / "x.pt")
    _, merged = adapted(tmp_path / "x.pt", LoraOptions(alpha=0.0))
    assert torch.equal(merged.tensors[f"{layer}.weight"], state[f"{layer}.weight"])
    _, apart = adapted(tmp_path / "x.pt", LoraOptions(alpha=1.0))
    assert torch.allclose(apart.tensors[f"{layer}.weight"], state[f"{layer}.weight"] + 1.0)
