"""LoRA folded into the weights gives what the unmerged torch modules give."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from exporter.checkpoints.adapt import adapt
from exporter.checkpoints.choose import choose
from exporter.checkpoints.fit import load_strict
from exporter.checkpoints.lora import fold, parse
from exporter.checkpoints.lora_adapter import fold_adapter, fold_parsed
from exporter.checkpoints.lora_options import LoraOptions
from exporter.checkpoints.reading import read_checkpoint
from exporter.checkpoints.recognise import recognise
from exporter.demo.network import build
from exporter.errors import CheckpointError, RequestError
from exporter.models.layers import freeze
from exporter.models.vit import Block as OurBlock
from exporter.models.vit import ViTSize
from exporter.progress import silent
from exporter.variants import load_variant, variants
from tests.unit.checkpoints import plain_vit
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


# ------------------------------------------------------------------------------ the demo whole


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


@pytest.fixture(scope="module")
def trained():
    return peft_demo()


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
        {n: t for n, t in adapter.items() if not n.startswith("base_model.model.mask_decoder")}
        | {n: t.clone() for n, t in two.items()},
        tmp_path / "adapter_model.safetensors",
    )
    with pytest.raises(CheckpointError, match=r"names \d+ tensors that demo does not have"):
        adapted(tmp_path / "base.pth", options)  # half of its names under a wrapper
    save_file(
        {n.removeprefix("base_model.model."): t for n, t in adapter.items() if "lora" in n}
        | {n: t.clone() for n, t in two.items()},
        tmp_path / "adapter_model.safetensors",
    )
    variant, checkpoint = adapted(tmp_path / "base.pth", options)
    assert variant.prompting.mask_tokens == 2
    loaded(variant, checkpoint)


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
    assert f"{layer}.lora_A.default.weight" in found.tensors
    try:
        assert recognise(found) == case
    except CheckpointError as error:  # MobileSAM's tensors are TinySAM's too
        assert f"fits {case}" in str(error)  # noqa: PT017


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
