"""README's "Your own model", run as it stands; and preparations of pictures down to the bundle."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import exporter.demo
from exporter.bundle.folder import open_bundle
from exporter.demo.network import build
from exporter.job import Job, settle
from exporter.targets import load_target
from exporter.variants import load_variant
from runtimes.cli import main as sam_run
from tests.contract.demo_exports import JOB, ROOT

SECTION = (ROOT / "README.md").read_text(encoding="utf-8").split("## Your own model\n")[1]
SECTION = SECTION.split("\n## ")[0]
SAMPLE = Path(exporter.demo.__file__).with_name("sample.png")

pytestmark = pytest.mark.filterwarnings("ignore")  # the toolkits'


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", SECTION, re.DOTALL)


class Trainer(torch.nn.Module):
    """A class of one's own around the network."""

    def __init__(self) -> None:
        super().__init__()
        self.net = build()
        self.criterion = torch.nn.BCEWithLogitsLoss(pos_weight=torch.ones(1))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which README's train.py has run; the weights are the demo's, a little moved."""
    from safetensors.torch import load_file

    folder = tmp_path_factory.mktemp("own")
    trainer = Trainer()
    trainer.net.load_state_dict(load_file(SAMPLE.with_name("demo.safetensors")))
    with torch.no_grad():
        trainer.net.mask_decoder.iou_token.weight += 0.01
    optimizer = torch.optim.Adam(trainer.parameters())
    names = {"torch": torch, "trainer": trainer, "optimizer": optimizer, "epoch": 3}
    (block,) = blocks("python")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(block, names)
    shutil.copy(SAMPLE, folder / "photo.jpg")
    return folder


def commands() -> list[list[str]]:
    (block,) = blocks("sh")
    return [shlex.split(line, comments=True) for line in block.splitlines() if line.strip()]


def test_the_section_as_it_stands(trained, run, monkeypatch):
    monkeypatch.chdir(trained)
    for program, *words in commands():
        if program == "sam-export":
            status, said = run(*words)
            assert status == 0, said
        else:
            assert program == "sam-run"
            assert sam_run(words) == 0
    assert set(np.unique(np.asarray(Image.open("mask.png")))) == {0, 255}
    taken = open_bundle(Path("bundles/demo-onnx-fp16")).manifest.source.taken["checkpoint"]
    assert (taken.place, taken.prefix) == ("state_dict", "net.")
    assert taken.left_out == ("criterion.pos_weight",)


def test_the_decoder_alone_goes_into_a_published_network(trained, run, monkeypatch):
    monkeypatch.chdir(trained)
    given = ("--variant", "demo", "--decoder-checkpoint", "decoder.pth", *JOB)
    status, said = run(*given, "--output", "apart")
    assert status == 0, said
    source = open_bundle(Path("apart/demo-onnx-fp32")).manifest.source
    assert (source.checkpoint, source.decoder_checkpoint) == ("demo.safetensors", "decoder.pth")
    status, said = run("--checkpoint", "decoder.pth", *JOB)
    assert status == 2
    assert "holds only the mask decoder of demo: give it with --decoder-checkpoint" in said[-1]


def test_a_file_of_medsam_asks_how_pictures_were_prepared(trained, run, monkeypatch):
    monkeypatch.chdir(trained)
    held = torch.load("mine.pth", weights_only=True)
    shutil.copy("mine.pth", "medsam_vit_b.pth")
    torch.save({**held, "task_name": "MedSAM-ViT-B"}, "plain.pth")
    for name in ("medsam_vit_b.pth", "plain.pth"):
        status, said = run("--checkpoint", name, *JOB, "--output", "none")
        assert status == 2
        assert "give --preprocess medsam, or --preprocess sam" in said[-1]
    assert not Path("none/demo-onnx-fp32").exists()


def test_pictures_are_prepared_as_medsam_does_down_to_the_mask(trained, run, monkeypatch, capfd):
    monkeypatch.chdir(trained)
    given = ("--checkpoint", "mine.pth", "--preprocess", "medsam", *JOB, "--output", "medsam")
    status, said = run(*given)
    assert status == 0, said
    bundle = Path("medsam/demo-onnx-fp32")
    manifest = open_bundle(bundle).manifest
    assert manifest.preprocess.scale == "picture"
    assert (manifest.preprocess.mean, manifest.preprocess.std) == ((0.0,) * 3, (255.0,) * 3)
    assert manifest.mask.upscale == "sigmoid_bilinear_once"
    assert sam_run([str(bundle), "--check"]) == 0
    assert sam_run([str(bundle), "photo.jpg", "--box", "255,305,525,479", "--json"]) == 0
    capfd.readouterr()
    status, said = run(*given[:3], "sam", *given[4:])
    assert status == 2
    assert "holds a different bundle" in said[-1]


def test_bytes_cannot_hold_a_scaled_picture():
    order = settle(Job(("coreml",), preprocess="medsam"), load_variant("demo"))
    assert order.options.image_input == "tensor"
    rule = load_target("coreml").preprocess(order.variant.preprocess, order.options)
    assert (rule.interpolation, rule.padded_by) == ("spline_cubic", "host")
    plain = settle(Job(("coreml",), preprocess="stretch"), load_variant("demo"))
    assert plain.options.image_input == "image"


def test_what_a_preparation_cannot_be_is_refused(refused):
    for asked, words in {
        "medsan": "did you mean medsam?",
        "sam,std=0": "--preprocess std is one number or three",
        "sam,mean=a": "--preprocess mean is one number or three",
        "sam,interpolation=cubic": "unknown interpolation 'cubic'",
        "sam,size=512": "unknown field of --preprocess 'size'",
        "resize=letterbox": "is for detectors alone",
    }.items():
        assert words in refused("--preprocess", asked, *JOB)


def test_a_detector_has_one_preparation(refused):
    said = refused("--variant", "fastsam_s", "--preprocess", "sam", *JOB)
    assert said == "fastsam_s has one way to prepare pictures: no --preprocess"


def test_the_manifest_says_what_was_left_out(trained, run, monkeypatch):
    monkeypatch.chdir(trained)
    held = torch.load("mine.pth", weights_only=True)
    held["state_dict"]["net.head.weight"] = torch.ones(2)
    torch.save(held, "more.pth")
    status, said = run("--checkpoint", "more.pth", *JOB)
    assert status == 2
    assert "--ignore 'head.*'" in said[-1]
    status, said = run("--checkpoint", "more.pth", "--ignore", "head.*", *JOB, "--output", "less")
    assert status == 0, said
    data = json.loads(Path("less/demo-onnx-fp32/manifest.json").read_text())
    assert data["source"]["taken"]["checkpoint"]["ignored"] == ["head.*"]
    assert "net.head.weight" in data["source"]["taken"]["checkpoint"]["left_out"]
