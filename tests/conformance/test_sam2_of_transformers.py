"""SAM 2 as transformers saves it: the hub's files, against what transformers computed with one.

`transformers/sam2_tiny.*` were made with its 5.24.0: names and shapes of `Sam2VideoModel` (the
first 309 are `Sam2Model`'s), and slices of what `Sam2Model` gives with filled tensors.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from exporter.bundle.preprocess import Frame
from exporter.bundle.prompts import Prompts, pack
from exporter.checkpoints.fit import guess_variants, load_strict
from exporter.checkpoints.reading import Checkpoint, read_checkpoint
from exporter.checkpoints.recognise import recognise
from exporter.errors import CheckpointError
from exporter.graphs import Named
from exporter.host_rules import prompt_rule
from exporter.models.layers import freeze
from exporter.variants import load_variant, variants
from tests.conformance import fill
from tests.unit.small_networks import split

FOLDER = Path(__file__).parent / "transformers"
FACTS = json.loads((FOLDER / "sam2_tiny.json").read_text())
IMAGE = dict(list(FACTS["tensors"].items())[: FACTS["image"]])
TWICE = "shared_image_embedding.positional_embedding"
MATRIX = "prompt_encoder.shared_embedding.positional_embedding"
ONLY_2_1 = ("occlusion_spatial", "temporal_positional_encoding_projection_layer")
RELATIVE = 1e-5  # of the array's absolute maximum
SLOTS = 8

pytestmark = pytest.mark.conformance


def filled(name, shape):
    values = fill.tensor(MATRIX if name == TWICE else name, tuple(shape), "sam2-of-transformers")
    return torch.from_numpy(values)


def empty(shapes):
    tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    return Checkpoint(Path("model.safetensors"), "0" * 64, tensors)


def test_the_hubs_video_files_are_recognised():
    video = FACTS["tensors"]
    assert recognise(empty(video)) == "sam2_1_hiera_tiny"
    earlier = {name: shape for name, shape in video.items() if not name.startswith(ONLY_2_1)}
    assert recognise(empty(earlier)) == "sam2_hiera_tiny"


def test_the_image_models_file_fits_both_releases():
    assert guess_variants(empty(IMAGE), variants().values()) == [
        "sam2_hiera_tiny",
        "sam2_1_hiera_tiny",
    ]
    with pytest.raises(CheckpointError, match="say which it is with --variant"):
        recognise(empty(IMAGE))


def test_the_numbers_are_those_of_transformers(tmp_path):
    save_file({n: filled(n, s) for n, s in IMAGE.items()}, tmp_path / "model.safetensors")
    variant = load_variant("sam2_1_hiera_tiny")
    network, layout = load_strict(variant, read_checkpoint(tmp_path))
    assert layout.name == "transformers"
    _encoder, decoder = split(freeze(network), variant, slots=SLOTS)
    noise = np.random.RandomState(0).standard_normal((1, 3, 1024, 1024)).astype(np.float32)
    coords, labels = pack(
        Prompts(((300, 400), (700, 620)), (1, 0)),
        Frame((1024, 1024), (1024, 1024), 1024),
        prompt_rule(variant, 1, SLOTS),
    )
    with torch.no_grad():
        coarse, fine, middle = network.image_encoder(torch.from_numpy(noise))
        embedded = {
            "image_embeddings": coarse,
            "high_res_feats_0": fine,
            "high_res_feats_1": middle,
        }
        answer = Named(decoder)(
            **embedded,
            point_coords=torch.from_numpy(coords),
            point_labels=torch.from_numpy(labels),
            mask_input=torch.zeros(1, 1, 256, 256),
            has_mask_input=torch.zeros(1),
        )
    ours = {
        "high_res_feats_0": embedded["high_res_feats_0"][:, ::8, ::32, ::32],
        "high_res_feats_1": embedded["high_res_feats_1"][:, ::8, ::16, ::16],
        "image_embeddings": embedded["image_embeddings"][:, ::16, ::8, ::8],
        "low_res_masks": answer["low_res_masks"][:, 1:, ::16, ::16],
        "iou_predictions": answer["iou_predictions"][:, 1:],
    }
    with np.load(FOLDER / "sam2_tiny.npz") as stored:
        assert set(stored.files) == set(ours)
        for name, part in ours.items():
            wrong = np.abs(part.numpy() - stored[name]).max()
            assert wrong <= RELATIVE * np.abs(stored[name]).max(), name


def test_a_tensor_stored_twice_with_different_values_is_an_error(tmp_path):
    tensors = {name: filled(name, shape) for name, shape in IMAGE.items()}
    tensors[TWICE] = tensors[TWICE] + 1
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="holds one tensor twice"):
        load_strict(load_variant("sam2_hiera_tiny"), read_checkpoint(tmp_path))
