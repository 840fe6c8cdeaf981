"""SAM-HQ: its layouts, and what of its decoder is computed once, in the encoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from exporter.checkpoints.fit import load_strict
from exporter.checkpoints.reading import Checkpoint
from exporter.models.mask_decoder import DecoderSize
from exporter.models.sam_hq import HqEncoder, TappedTinyViT, TappedViT
from exporter.models.tiny_vit import TinyViT, TinyViTSize
from exporter.models.vit import ViT, ViTSize
from exporter.variants import load_variant

NAMES = Path(__file__).parent / "samples" / "hq_vit_b_hugging_face.json"


def test_hugging_face_names_load_strictly() -> None:
    """The names and shapes of `SamHQModel(SamHQConfig())` in transformers 4.57.1."""
    shapes = json.loads(NAMES.read_text())
    tensors = {name: torch.full(shape, 0.01) for name, shape in shapes.items()}
    sam, layout = load_strict(load_variant("hq_vit_b"), Checkpoint(NAMES, "0" * 64, tensors))
    assert layout.name == "hugging-face"
    assert all((p == 0.01).all() for p in sam.parameters())


@pytest.mark.parametrize(
    ("tapped", "plain"),
    [
        (lambda: TappedTinyViT(TinyViTSize()), lambda: TinyViT(TinyViTSize())),
        (lambda: TappedViT(ViTSize(48, 3, 2, (1, 2))), lambda: ViT(ViTSize(48, 3, 2, (1, 2)))),
    ],
    ids=["TinyViT", "ViT"],
)
def test_a_tap_changes_nothing(tapped, plain) -> None:
    theirs, ours = plain().eval(), tapped().eval()
    ours.load_state_dict(theirs.state_dict())
    for module in (theirs, ours):
        for part in module.modules():
            if hasattr(part, "freeze_tables"):
                part.freeze_tables()
    image = torch.randn(1, 3, 1024, 1024)
    with torch.no_grad():
        embedding, early = ours(image)
        assert torch.equal(embedding, theirs(image))
    assert early.shape == (1, 64 * 64, ours.tapped_width)


def test_the_sharp_map_is_what_the_published_decoder_computes() -> None:
    class Trunk(torch.nn.Module):
        tapped_width = 12

    torch.manual_seed(1)
    width, grid = DecoderSize().width, 3
    encoder = HqEncoder(Trunk(), width, grid)  # type: ignore[arg-type]
    embedding, early = torch.randn(1, width, grid, grid), torch.randn(1, grid * grid, 12)
    encoder.trunk.forward = lambda _: (embedding, early)  # type: ignore[method-assign]

    def upscale(parts, x):
        first, norm, act, second = parts
        x = F.conv_transpose2d(x, first.weight, first.bias, stride=2)
        x = norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return F.conv_transpose2d(act(x), second.weight, second.bias, stride=2)

    with torch.no_grad():
        _, sharp = encoder(torch.zeros(1))
        picture = early.transpose(1, 2).reshape(1, 12, grid, grid)
        expected = upscale(encoder.embedding_encoder, embedding)
        expected = expected + upscale(encoder.compress_vit_feat, picture)
    torch.testing.assert_close(sharp, expected, atol=1e-5, rtol=1e-5)
