"""LoRA folded into the weights gives what the unmerged torch modules give."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from exporter.checkpoints.choose import choose
from exporter.checkpoints.lora import Update, fold, parse
from exporter.checkpoints.lora_adapter import fold_adapter, fold_parsed
from exporter.checkpoints.lora_options import LoraOptions
from exporter.checkpoints.lora_scale import scale_of
from exporter.checkpoints.recognise import recognise
from exporter.errors import CheckpointError
from exporter.models.layers import freeze
from exporter.models.vit import Block as OurBlock
from exporter.models.vit import ViTSize
from exporter.variants import load_variant, variants
from tests.unit.checkpoints import plain_vit
from tests.unit.checkpoints.lora_kit import (
    adapted,
    adapter_tensors,
    assert_alike,
    config,
    loaded,
    peft_demo,
)
from tests.unit.checkpoints.plain_vit import Fused, LowRank, Merged, PlainViT, seed_all
from tests.unit.checkpoints.published_files import held, published, with_tokens

OURS = ViTSize(
    plain_vit.WIDTH, plain_vit.DEPTH, plain_vit.HEADS, plain_vit.GLOBAL, 16 * plain_vit.GRID,
    window=plain_vit.WINDOW,
)  # fmt: skip


def our_blocks(tensors):
    """Run our blocks with these tensors, frozen as for an export."""
    network = nn.Module()
    network.blocks = nn.ModuleList(OurBlock(OURS, size) for size in OURS.block_sizes())
    blocks = {name: tensor for name, tensor in tensors.items() if name.startswith("blocks.")}
    network.load_state_dict(blocks)
    freeze(network)
    return network.blocks


def tokens():
    numbers = torch.Generator().manual_seed(9)
    return torch.randn(1, plain_vit.GRID, plain_vit.GRID, plain_vit.WIDTH, generator=numbers)


def assert_same(plain, tensors):
    ours = theirs = tokens()
    with torch.no_grad():
        for own, block in zip(our_blocks(tensors), plain.blocks, strict=True):
            ours, theirs = own(ours), block(theirs)
    worst = (ours - theirs).abs().max() / theirs.abs().max()
    assert worst < 1e-5
    return ours


def wrapped(kind, **options):
    """A plain ViT whose attention has LoRA of that kind, in every block."""
    vit = PlainViT()
    for block in vit.blocks:
        block.attn.qkv = kind(block.attn.qkv, **options)
        if kind is LowRank:
            block.attn.proj = LowRank(block.attn.proj, **options)
            block.mlp.lin1 = LowRank(block.mlp.lin1, **options)
    return seed_all(vit)


@pytest.mark.parametrize(
    ("kind", "options", "scale", "form"),
    [
        (Fused, {"rank": 2}, 1.0, "SAMed"),
        (LowRank, {"rank": 3, "scale": 8 / 3}, 8 / 3, "PEFT"),
        (Merged, {"rank": 2, "scale": 0.5}, 0.5, "loralib"),
    ],
)
def test_live_modules(kind, options, scale, form):
    vit = wrapped(kind, **options)
    parsed = parse(vit.state_dict())
    assert {update.form for update in parsed.updates} == {form}
    folded = assert_same(vit, fold(parsed.plain, parsed.updates, lambda update: scale))
    without = tokens()
    with torch.no_grad():
        for block in our_blocks(parsed.plain):
            without = block(without)
    assert (folded - without).abs().max() > 0.1  # the LoRA does something


def test_samed_lists_of_some_blocks(tmp_path):
    vit = seed_all(PlainViT())
    base = {f"image_encoder.{name}": t.clone() for name, t in vit.state_dict().items()}
    adapted = (0, 2)
    pairs = [seed_all(Fused(vit.blocks[index].attn.qkv), seed=index) for index in adapted]
    lists = {}
    for at, pair in enumerate(pairs):
        for step, part in enumerate("qv"):
            for end in "ab":
                weight = getattr(pair, f"linear_{end}_{part}").weight
                lists[f"w_{end}_{2 * at + step:03d}"] = weight.clone()
    for index, pair in zip(adapted, pairs, strict=True):
        vit.blocks[index].attn.qkv = pair
        pair.qkv.weight.data = base[f"image_encoder.blocks.{index}.attn.qkv.weight"]
        pair.qkv.bias.data = base[f"image_encoder.blocks.{index}.attn.qkv.bias"]
    parsed = parse(lists)
    with pytest.raises(CheckpointError, match=r"4 LoRA pairs, .* of 3 blocks are 6: .*--lora-bl"):
        fold_parsed(base, parsed, tmp_path / "x", LoraOptions())
    folded = fold_parsed(base, parsed, tmp_path / "x", LoraOptions(blocks=adapted))
    assert folded.said == "LoRA of SAMed folded into 2 weights, rank 2, scale 1"
    assert_same(vit, {n.removeprefix("image_encoder."): t for n, t in folded.tensors.items()})
    with pytest.raises(CheckpointError, match="block 7"):
        fold_parsed(base, parsed, tmp_path / "x", LoraOptions(blocks=(0, 7)))


@pytest.fixture(scope="module")
def trained():
    return peft_demo()


@pytest.mark.parametrize("prefix", ["", "base_model.model."])
def test_peft_inside_a_state_dict(tmp_path, trained, prefix):
    network, _ = trained
    state = {f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"model": state, "epoch": 2}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match=r"adapter_config\.json, which is not beside it"):
        adapted(tmp_path / "last.pt")
    variant, checkpoint = adapted(tmp_path / "last.pt", LoraOptions(alpha=1.5))
    assert_alike(loaded(variant, checkpoint), network)
    assert "scale 0.5" in checkpoint.changes[0]
    (tmp_path / "adapter_config.json").write_text(config())
    assert_alike(loaded(*adapted(tmp_path / "last.pt")), network)


@pytest.mark.parametrize("folder", [True, False])
def test_peft_adapter_beside_its_base(tmp_path, weights, trained, folder):
    network, names = trained
    plain = parse(network.state_dict()).plain
    torch.save(dict(plain), tmp_path / "base.pth")
    made = tmp_path / "adapter"
    made.mkdir()
    save_file(adapter_tensors(network, names), made / "adapter_model.safetensors")
    (made / "adapter_config.json").write_text(config())
    path = made if folder else made / "adapter_model.safetensors"
    variant, checkpoint = adapted(tmp_path / "base.pth", LoraOptions(path))
    assert_alike(loaded(variant, checkpoint), network)
    assert checkpoint.adapter == "adapter_model.safetensors"
    assert len(checkpoint.adapter_sha256) == 64


@pytest.mark.parametrize("part", ["image_encoder.", "mask_decoder."])
def test_a_part_that_was_wrapped_alone(tmp_path, trained, part):
    """`sam.image_encoder = get_peft_model(sam.image_encoder, ...)`, saved in either way."""
    network, names = trained
    state, plain = network.state_dict(), parse(network.state_dict()).plain
    inside = [name for name in names if name.startswith(part)]
    torch.save(dict(plain), tmp_path / "base.pth")
    (tmp_path / "adapter_config.json").write_text(config())
    adapter = {n.replace(part, "", 1): t for n, t in adapter_tensors(network, inside).items()}
    save_file(adapter, tmp_path / "adapter_model.safetensors")
    options = LoraOptions(tmp_path / "adapter_model.safetensors")
    _, apart = adapted(tmp_path / "base.pth", options)
    live = {
        n.replace(part, f"{part}base_model.model.", 1): t
        for n, t in state.items()
        if n.startswith(part)
    } | {n: t for n, t in plain.items() if not n.startswith(part)}
    torch.save(live, tmp_path / "live.pth")
    _, whole = adapted(tmp_path / "live.pth")
    assert whole.tensors.keys() == apart.tensors.keys() == plain.keys()
    for name, tensor in whole.tensors.items():
        assert torch.equal(tensor, apart.tensors[name])
    assert not torch.equal(whole.tensors[f"{inside[0]}.weight"], plain[f"{inside[0]}.weight"])


def test_an_adapter_with_a_decoder_of_nine_tokens(tmp_path, trained):
    network, names = trained
    plain = parse(network.state_dict()).plain
    torch.save(dict(plain), tmp_path / "base.pth")
    whole = {n: t for n, t in with_tokens(plain, 9).items() if n.startswith("mask_decoder.")}
    low = [name for name in names if name.startswith("image_encoder.")]
    adapter = adapter_tensors(network, low)
    adapter |= {f"base_model.model.{name}": tensor.clone() for name, tensor in whole.items()}
    save_file(adapter, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(config())
    options = LoraOptions(tmp_path / "adapter_model.safetensors")
    variant, checkpoint = adapted(tmp_path / "base.pth", options)
    assert variant.prompting.mask_tokens == 9
    assert variant.mask.multi == tuple(range(1, 9))
    tensors = loaded(variant, checkpoint).state_dict()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in whole.items())
    two = {n: t for n, t in with_tokens(plain, 2).items() if n.startswith("mask_decoder.")}
    save_file(
        {n.removeprefix("base_model.model."): t for n, t in adapter.items() if "lora" in n}
        | {n: t.clone() for n, t in two.items()},
        tmp_path / "adapter_model.safetensors",
    )
    variant, checkpoint = adapted(tmp_path / "base.pth", options)
    assert variant.prompting.mask_tokens == 2
    loaded(variant, checkpoint)


# ------------------------------------------------------------------------------ published bases


def test_sam_lora_on_vit_b_takes_queries_and_values_of_every_block():
    base = {
        name: torch.zeros(tensor.shape) if ".attn.qkv.weight" in name else tensor
        for name, tensor in published("sam_vit_b").items()
    }
    numbers = torch.Generator().manual_seed(0)
    lists = {}
    for index in range(24):
        lists[f"w_a_{index:03d}"] = torch.randn(4, 768, generator=numbers)
        lists[f"w_b_{index:03d}"] = torch.randn(768, 4, generator=numbers)
    folded = fold_adapter(load_variant("sam_vit_b"), held(base), held(lists), LoraOptions())
    assert folded.said == "LoRA of SAMed folded into 12 weights, rank 4, scale 1"
    with_decoder = lists | {"mask_decoder.iou_token.weight": torch.ones(1, 256)}
    told = fold_adapter(load_variant("sam_vit_b"), held(base), held(with_decoder), LoraOptions())
    assert "1 tensors replaced; SAMed trains on pictures of 0..1, with no mean" in told.said
    for block in (0, 11):
        weight = folded.tensors[f"image_encoder.blocks.{block}.attn.qkv.weight"]
        parts = [
            lists[f"w_b_{2 * block + step:03d}"] @ lists[f"w_a_{2 * block + step:03d}"]
            for step in (0, 1)
        ]
        wanted = torch.cat([parts[0], torch.zeros(768, 768), parts[1]])
        assert torch.allclose(weight, wanted, rtol=1e-5, atol=1e-5)


def test_an_adapter_named_as_in_transformers_fits_the_authors_file():
    base = {n: torch.zeros(t.shape) for n, t in published("sam_vit_b").items() if "blocks.3" in n}
    base = published("sam_vit_b") | base
    layer = "vision_encoder.layers.3.mlp.lin1"
    adapter = {
        f"base_model.model.{layer}.lora_A.weight": torch.ones(2, 768),
        f"base_model.model.{layer}.lora_B.weight": torch.ones(3072, 2),
        "base_model.model.mask_decoder.iou_prediction_head.proj_out.bias": torch.full((4,), 7.0),
    }
    options = LoraOptions(alpha=4.0)
    folded = fold_adapter(load_variant("sam_vit_b"), held(base), held(adapter), options)
    weight = folded.tensors["image_encoder.blocks.3.mlp.lin1.weight"]
    assert torch.equal(weight, torch.full((3072, 768), 4.0))
    assert folded.tensors["mask_decoder.iou_prediction_head.layers.2.bias"].tolist() == [7.0] * 4


@pytest.mark.parametrize(
    ("case", "layer"),
    [
        ("mobile_sam", "image_encoder.layers.1.blocks.0.attn.qkv"),
        ("sam_vit_b", "image_encoder.blocks.0.attn.proj"),
        ("efficient_sam_vitt", "image_encoder.blocks.0.attn.qkv"),
        ("sam2_1_hiera_tiny", "image_encoder.trunk.blocks.0.attn.qkv"),
    ],
)
def test_live_lora_of_a_published_variant_is_recognised(case, layer):
    tensors = published(case)
    rows, width = tensors[f"{layer}.weight"].shape
    for kind in ("weight", "bias"):
        tensors[f"{layer}.base_layer.{kind}"] = tensors.pop(f"{layer}.{kind}")
    tensors[f"{layer}.lora_A.default.weight"] = torch.zeros(2, width)
    tensors[f"{layer}.lora_B.default.weight"] = torch.zeros(rows, 2)
    prefixed = {f"base_model.model.{name}": tensor for name, tensor in tensors.items()}
    found = choose(held(prefixed), variants().values())
    assert f"base_model.model.{layer}.lora_A.default.weight" in found.tensors
    try:
        assert recognise(found) == case
    except CheckpointError as error:  # MobileSAM's tensors are TinySAM's too
        assert f"fits {case}" in str(error)  # noqa: PT017


def test_a_patch_of_three_channels_takes_more_ranks_than_channels():
    pair = {"p.lora_A.weight": torch.randn(8, 3, 4, 4), "p.lora_B.weight": torch.randn(16, 8, 1, 1)}
    (update,) = parse(pair).updates
    folded = fold({"p.weight": torch.zeros(16, 3, 4, 4)}, [update], lambda _update: 1.0)
    wanted = torch.einsum("or,rikl->oikl", pair["p.lora_B.weight"][:, :, 0, 0], update.down)
    assert torch.allclose(folded["p.weight"], wanted, atol=1e-5)
    with pytest.raises(CheckpointError, match="does not fit"):
        parse(
            {
                "p.lora_A.weight": torch.ones(17, 3, 4, 4),
                "p.lora_B.weight": torch.ones(16, 17, 1, 1),
            }
        )


@pytest.mark.parametrize("form", ["SAMed", "finetune-SAM"])
def test_a_scale_for_a_form_that_has_none_is_refused(form):
    update = Update("layer", form, "all", torch.ones(1, 2), torch.ones(2, 1))
    assert scale_of(update, None, None) == 1.0
    with pytest.raises(CheckpointError, match="leave out --lora-alpha"):
        scale_of(update, None, 8.0)
