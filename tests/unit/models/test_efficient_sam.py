"""What is special about EfficientSAM: always six tokens, no earlier mask, a norm of all pixels."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from exporter.bundle.folder import open_bundle
from exporter.bundle.preprocess import Frame
from exporter.bundle.prompts import Prompts, pack
from exporter.cases import cases
from exporter.errors import PromptError
from exporter.goldens import SEED, record
from exporter.graphs import Graph
from exporter.graphs.mask_decoder import MaskDecoder
from exporter.host_rules import prompt_rule
from exporter.models.efficient_sam import (
    EfficientSam,
    EfficientSamMaskDecoder,
    EfficientSamPromptEncoder,
    WholeNorm,
)
from exporter.models.efficient_tam import PlainSize
from exporter.models.layers import freeze
from exporter.models.sam2 import fold_children
from exporter.scenes.scene import scene
from exporter.targets import Options, load_target
from exporter.variants import load_variant
from profiles.lab.bench.published_efficient_sam import published_decoder
from runtimes.cli import main
from runtimes.segmenters.slots import SlotSegmenter
from tests.conformance import fill
from tests.unit.small_networks import split
from tests.unit.tiny_bundle import Recipe, build

GRID, SIZE = 8, 128
RGB = np.random.default_rng(7).integers(0, 256, (60, 120, 3), np.uint8)
VITT = load_variant("efficient_sam_vitt")


@pytest.fixture(scope="module")
def parts():
    """The decoder's two parts for a small picture, with filled weights."""
    torch.manual_seed(0)
    made = SimpleNamespace(
        prompt_encoder=EfficientSamPromptEncoder(256, GRID, SIZE),
        mask_decoder=EfficientSamMaskDecoder(GRID),
    )
    for part in vars(made).values():
        values = {
            name: torch.from_numpy(fill.tensor(name, tuple(value.shape), "unit"))
            for name, value in part.state_dict().items()
        }
        part.load_state_dict(values)
        part.eval().requires_grad_(False)
    return made


def drawn(batch: int, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """An embedding, coordinates and labels."""
    rng = np.random.default_rng(count)
    embedding = torch.from_numpy(rng.normal(size=(1, 256, GRID, GRID)).astype(np.float32))
    coords = torch.from_numpy(rng.uniform(0, SIZE, (batch, count, 2)).astype(np.float32))
    labels = torch.tensor([[1.0, 0.0, 2.0, 3.0, 1.0, 0.0][:count]] * batch)
    return embedding, coords, labels


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("slots", range(1, 7))
def test_a_graph_of_any_slots_is_the_published_six_tokens(parts, slots, batch):
    decoder = MaskDecoder(parts, ("image_embeddings", "point_coords", "point_labels"), batch)
    for count in range(1, slots + 1):
        embedding, coords, labels = drawn(batch, count)
        place = torch.full((batch, slots - count, 2), 77.0)  # where an empty slot is says nothing
        empty = torch.full((batch, slots - count), -2.0)
        ours = decoder(embedding, torch.cat([coords, place], 1), torch.cat([labels, empty], 1))
        theirs = published_decoder(parts)(embedding, coords, labels)
        for mine, wanted in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-4)


def test_empty_and_not_a_point_are_the_same_padding(parts):
    coords = torch.rand(1, 4, 2) * SIZE
    tokens = [
        parts.prompt_encoder(coords, torch.tensor([[1.0, 0.0, label, label]]))[0]
        for label in (-1.0, -2.0)
    ]
    torch.testing.assert_close(tokens[0], tokens[1], rtol=0, atol=0)
    assert tokens[0].shape == (1, 6, 256)
    padding = tokens[0][0, 2:]
    torch.testing.assert_close(padding, padding[:1].expand(4, -1), rtol=0, atol=0)
    assert padding.abs().max() > 0.1  # a token like any other, unlike SAM's empty slot


def test_a_background_point_is_its_position_alone(parts):
    coords = torch.tensor([[[20.0, 30.0]]])
    encoder = parts.prompt_encoder
    background, _ = encoder(coords, torch.zeros(1, 1))
    torch.testing.assert_close(background[:, :1], encoder.pe_layer(coords, SIZE))
    foreground, _ = encoder(coords, torch.ones(1, 1))
    point = encoder.point_embeddings[0].weight
    torch.testing.assert_close(foreground[0, :1] - background[0, :1], point)


def test_the_norm_is_group_norm_with_one_group():
    norm = WholeNorm(12, 2 * GRID)
    norm.weight.data, norm.bias.data = torch.randn(12), torch.randn(12)
    picture = torch.randn(3, 12, 2 * GRID, 2 * GRID) * 5 + 2
    tokens = torch.cat([fold_children(one[None], GRID) for one in picture])
    wanted = torch.nn.functional.group_norm(picture, 1, norm.weight, norm.bias, norm.eps)
    wanted = torch.cat([fold_children(one[None], GRID) for one in wanted])
    torch.testing.assert_close(norm(tokens), wanted, rtol=1e-5, atol=1e-5)


def test_a_job_has_six_slots_and_no_padding_of_the_hosts():
    rule = prompt_rule(VITT)
    assert (rule.slots, rule.pad_without_box, rule.pad_with_box) == (6, False, False)
    frame = Frame((SIZE, SIZE), (SIZE, SIZE), SIZE)
    points = tuple((float(i), 5.0) for i in range(6))
    _, labels = pack(Prompts(points, (1,) * 6), frame, rule)
    assert labels.tolist() == [[1.0] * 6]
    _, labels = pack(Prompts(points[:1], (1,)), frame, rule)
    assert labels.tolist() == [[1, -2, -2, -2, -2, -2]]
    with pytest.raises(PromptError, match="7 slots and the bundle has 6: give fewer prompts"):
        pack(Prompts((*points, points[0]), (1,) * 7), frame, rule)


@pytest.fixture(scope="module")
def graphs() -> tuple[Graph, ...]:
    """A network of one block: its graphs have the real shapes."""
    torch.manual_seed(0)
    return split(freeze(EfficientSam(PlainSize(24, 3, 1, (0,))).eval()), VITT, 2, 3)


def test_the_decoder_takes_no_mask_and_no_golden_refines(graphs):
    names = [tensor.name for tensor in graphs[1].spec.inputs]
    assert names == ["image_embeddings", "point_coords", "point_labels"]
    rule = prompt_rule(VITT, batch=2, slots=3)
    instances = scene(SEED, 192, 192).instances
    wanted = ["click_a", "click_b", "points", "box", "box_point", "full"]
    assert [case.name for case in cases(instances, rule, refine=False)] == wanted
    full = cases(instances, rule, refine=False)[-1]
    assert len(full.sets[0].points) == 3
    goldens = record(graphs, rule, VITT.mask)
    assert {key.split("/")[1] for key in goldens if key.startswith("mask_decoder/")} == {
        "*",
        *wanted,
    }
    assert not any("mask_input" in key for key in goldens)
    assert goldens["mask_decoder/box/low_res_masks"].shape == (2, 4, 256, 256)


def test_the_image_is_stretched_plainly_and_in_bytes_for_core_ml():
    rule = VITT.preprocess
    assert load_target("onnx").preprocess(rule, Options()).interpolation == "float_bilinear_plain"
    assert load_target("coreml").preprocess(rule, Options()).interpolation == "bilinear_plain"


def test_a_bundle_without_a_mask_input_refuses_one(tmp_path, monkeypatch, capsys):
    build(tmp_path / "bundle", Recipe(takes_mask=False))
    made = SlotSegmenter(open_bundle(tmp_path / "bundle"))
    made.set_image(RGB)
    first = made.predict([[40, 30]], [1])
    with pytest.raises(PromptError, match="tiny takes no earlier mask"):
        made.predict([[40, 30]], [1], mask_input=first.low_res_masks[0])
    monkeypatch.chdir(tmp_path)
    Image.fromarray(RGB).save("dog.png")
    np.save("first.npy", first.low_res_masks)
    asked = ["bundle", "dog.png", "--point", "40,30", "--mask-input", "first.npy"]
    assert main(asked) == 2
    assert "tiny takes no earlier mask: leave out the mask input" in capsys.readouterr().err
    assert not (tmp_path / "dog.overlay.png").exists()
