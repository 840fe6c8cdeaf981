"""The stored arrays, read when they are asked for."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.bundle.goldens import Goldens, key
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.errors import BundleError

ARRAYS = {
    "image_encoder/scene/image": np.arange(4, dtype=np.uint8),
    "mask_decoder/*/image_embeddings": np.ones(2, np.float32),
    "mask_decoder/box/point_coords": np.zeros(2, np.float32),
    "mask_decoder/click/point_coords": np.full(2, 7.0, np.float32),
    "mask_decoder/click/image_embeddings": np.full(2, 3.0, np.float32),
}
TENSORS = tuple(TensorSpec(n, (2,), "float32", "N") for n in ("image_embeddings", "point_coords"))
DECODER = GraphSpec("mask_decoder", TENSORS, (), "prompt")


@pytest.fixture
def read():
    return []


@pytest.fixture
def goldens(read):
    return Goldens(ARRAYS, lambda each: read.append(each) or ARRAYS[each], "goldens.npz")


def test_an_array_is_read_once_and_only_when_asked_for(goldens, read):
    assert goldens.cases("mask_decoder") == ["box", "click"]
    assert read == []
    for _ in range(2):
        assert goldens.array("mask_decoder", "box", "image_embeddings").tolist() == [1, 1]
    assert read == ["mask_decoder/*/image_embeddings"]


def test_a_case_takes_its_own_array_before_the_shared_one(goldens):
    assert goldens.owns("mask_decoder", "click", "image_embeddings")
    assert not goldens.owns("mask_decoder", "box", "image_embeddings")
    inputs = goldens.inputs(DECODER, "click")
    assert {name: array.tolist() for name, array in inputs.items()} == {
        "image_embeddings": [3, 3],
        "point_coords": [7, 7],
    }


def test_what_is_missing_is_named(goldens):
    with pytest.raises(BundleError, match=r"goldens\.npz has no case of graph 'prompt_encoder'"):
        goldens.cases("prompt_encoder")
    with pytest.raises(BundleError, match="is missing mask_decoder/box/mask_input; export"):
        goldens.array("mask_decoder", "box", "mask_input")


def test_a_file_gives_what_was_stored(tmp_path):
    np.savez_compressed(tmp_path / "goldens.npz", **ARRAYS)
    image = TensorSpec("image", (2, 2), "float32", "HW")
    opened = Goldens.open(
        tmp_path / "goldens.npz", [GraphSpec("image_encoder", (image,), (), "image"), DECODER]
    )
    for graph, case, name in (each.split("/") for each in ARRAYS):
        array = ARRAYS[key(graph, case, name)]
        np.testing.assert_array_equal(opened.array(graph, case, name), array)
        assert opened.array(graph, case, name).dtype == array.dtype
