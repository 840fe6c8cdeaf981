"""Files of one's own training, exported whole: fewer and more mask tokens, and LoRA of PEFT."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from exporter.bundle.folder import open_bundle
from exporter.checkpoints.lora import parse
from exporter.checkpoints.reading import read_checkpoint
from exporter.cli import main
from runtimes.cli import main as run
from sam_export import open_segmenter
from tests.unit.checkpoints.lora_kit import peft_demo
from tests.unit.checkpoints.published_files import with_tokens

JOB = ("--target", "onnx", "--precision", "fp32", "--quiet", "--no-glue")


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "p.png"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).resize((120, 80)).save(path)
    return path


@pytest.fixture(scope="module")
def single(tmp_path_factory, weights):
    """A decoder of one mask token, inside a trainer's file."""
    folder = tmp_path_factory.mktemp("single")
    tensors = with_tokens(dict(read_checkpoint(weights).tensors), 1)
    wrapped = {f"model.{name}": tensor for name, tensor in tensors.items()}
    torch.save({"state_dict": wrapped}, folder / "best.ckpt")
    assert main([*JOB, "--checkpoint", str(folder / "best.ckpt"), "--output", str(folder)]) == 0
    return open_bundle(folder / "demo-onnx-fp32")


def test_one_mask_token(single, picture, capfd):
    manifest = single.manifest
    assert manifest.source.changes == ("mask tokens: 1, published with 4",)
    assert (manifest.mask.single, manifest.mask.multi) == (0, (0,))
    outputs = {each.name: each.shape for each in manifest.graph("mask_decoder").spec.outputs}
    assert outputs["low_res_masks"] == (1, 1, 96, 96)
    segmenter = open_segmenter(single)
    segmenter.set_image(picture)
    one = segmenter.predict(points=[(30, 40)], labels=[1])
    several = segmenter.predict(points=[(30, 40)], labels=[1], multimask=True)
    assert one.masks.shape == several.masks.shape == (1, 80, 120)
    assert np.array_equal(one.low_res_masks, several.low_res_masks)
    assert run([str(single.path), "--check"]) == 0
    assert run([str(single.path), str(picture), "--point", "30,40", "--multimask", "--json"]) == 0
    printed, said = capfd.readouterr()
    assert "one mask an object: --multimask changes nothing" in said
    assert len(json.loads(printed[printed.rindex('{\n  "bundle"') :])["masks"]) == 1


def test_lora_with_a_decoder_of_nine_tokens(tmp_path, picture):
    """As SAMed saves it: LoRA in the encoder, and the whole decoder with a token a class."""
    network, _ = peft_demo()
    plain = parse(network.state_dict()).plain
    torch.save(dict(plain), tmp_path / "base.pth")
    low = {n: t for n, t in network.state_dict().items() if ".lora_" in n and n.startswith("image")}
    whole = {n: t for n, t in with_tokens(plain, 9).items() if n.startswith("mask_decoder.")}
    adapter = {f"base_model.model.{n.replace('.default.', '.')}": t for n, t in low.items()}
    adapter |= {f"base_model.model.{name}": tensor.clone() for name, tensor in whole.items()}
    save_file(adapter, tmp_path / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 3, "lora_alpha": 1.5}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    argv = [*JOB, "--checkpoint", str(tmp_path / "base.pth"), "--lora", str(tmp_path)]
    assert main([*argv, "--output", str(tmp_path / "out")]) == 0
    bundle = open_bundle(tmp_path / "out" / "demo-onnx-fp32")
    source = bundle.manifest.source
    assert source.adapter == "adapter_model.safetensors"
    assert source.changes[0].startswith("LoRA of PEFT folded into ")
    assert source.changes[1] == "mask tokens: 9, published with 4"
    segmenter = open_segmenter(bundle)
    segmenter.set_image(picture)
    found = segmenter.predict(points=[(30, 40)], labels=[1], multimask=True)
    assert found.masks.shape == (8, 80, 120)
    # The exported files are held to these goldens.
    goldens = np.load(bundle.path / "goldens.npz")
    key = next(k for k in goldens.files if k.startswith("image_encoder/") and k.endswith("/image"))
    mean, std = (
        torch.tensor(getattr(bundle.manifest.preprocess, part)).reshape(1, 3, 1, 1)
        for part in ("mean", "std")
    )
    with torch.no_grad():
        image = (torch.from_numpy(goldens[key]).float() - mean) / std
        unmerged = network.image_encoder(image).numpy()
    merged = goldens[key.replace("/image", "/image_embeddings")]
    assert np.abs(unmerged - merged).max() <= 1e-5 * np.abs(unmerged).max()
