"""A small twin of RAP-SAM, exported for real and run by the public commands."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from exporter.bundle.folder import Bundle, open_bundle
from exporter.bundle.preprocess import image_input
from exporter.bundle.prompts import Prompts
from exporter.graphs import Graph, Named, graphs_of
from exporter.host_rules import prompt_rule
from exporter.job import Job, Place, settle
from exporter.models.layers import freeze
from exporter.pipeline import export_network
from exporter.precision import load_precision
from exporter.scenes.scene import scene
from exporter.targets import Options, groups, load_target
from profiles.lab.bench.operations import count
from runtimes.cli import main
from runtimes.engines import CheckedGraph, choose_engine, engine_in, run_canonical
from runtimes.measures import floor_of, psnr_db
from runtimes.segmenters import open_segmenter
from tests.unit.small_networks import noise
from tests.unit.small_rap_sam import CLASSES, SIZE, SOURCE, small_network, small_variant

pytestmark = pytest.mark.parity
PHOTO = scene(7, 90, 140).image


@pytest.fixture(scope="module")
def graphs() -> tuple[Graph, ...]:
    variant = small_variant(panoptic=True)
    return graphs_of(freeze(small_network()), variant, prompt_rule(variant, 2))


@pytest.mark.parametrize("target", groups()["all"])
def test_every_graph_in_every_format(
    graphs: tuple[Graph, ...], target: str, tmp_path: Path
) -> None:
    """In float32, on inputs of no particular meaning: samples lie far outside the map, too."""
    kind = choose_engine(target, engine_in(target, "quick"))
    for graph in graphs:
        file = load_target(target).lower(graph, load_precision("fp32"), tmp_path, Options())
        session = CheckedGraph(file.spec, kind.open(tmp_path / file.file, file, 2))
        inputs = _inputs(graph)
        made = run_canonical(session, file.spec, inputs)
        expected = Named(graph)(**{name: torch.from_numpy(array) for name, array in inputs.items()})
        for name, theirs in expected.items():
            least = floor_of("fp32", graph.spec.name, name, "psnr_db", "rap_sam")
            assert psnr_db(theirs.numpy(), made[name]) >= least, name
        if not kind.reference:
            assert count(tmp_path / file.file).max_rank <= 4


def _inputs(graph: Graph) -> dict[str, np.ndarray]:
    height, width = SIZE.input_size
    given = {
        "image": np.ascontiguousarray(scene(3, height, width).image.transpose(2, 0, 1)[None]),
        "image_embeddings": noise(1, SIZE.width, *SIZE.grid).numpy(),
        "point_coords": np.array([[[60, 40], [0, 0]], [[20, 10], [150, 90]]]),
        "point_labels": np.array([[1, -2], [2, 3]]),
        "resized_size": np.array([[180, 100]]),
    }
    return {t.name: np.asarray(given[t.name], np.float32) for t in graph.spec.inputs}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    variant = small_variant(panoptic=True)
    order = settle(Job(("onnx",), "fp32", batch=2), variant)
    order = dataclasses.replace(order, variant=variant)
    place = Place(tmp_path_factory.mktemp("twin"))
    (made,) = export_network(order, small_network(), SOURCE, place)
    return made


def test_prompts_and_everything_by_the_commands(
    bundle: Bundle, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photo, labels = tmp_path / "photo.png", tmp_path / "labels.png"
    Image.fromarray(PHOTO).save(photo)
    words = [str(bundle.path), str(photo)]
    assert main([*words, "--point", "70,45@a", "--box", "9,9,80,60@b", "--json"]) == 0
    assert [row["name"] for row in json.loads(capfd.readouterr().out)["objects"]] == ["b", "a"]
    assert main([*words, "--panoptic", str(labels), "--json"]) == 0
    rows = json.loads(capfd.readouterr().out)["segments"]
    found = np.asarray(Image.open(labels))
    assert found.shape == PHOTO.shape[:2]
    assert {row["id"]: row["area"] for row in rows} == {
        n: int((found == n).sum()) for n in np.unique(found) if n
    } | {row["id"]: 0 for row in rows if row["area"] == 0}
    assert {row["name"] for row in rows} <= set(CLASSES)
    for wrong, says in (
        (["--point", "70,45,0"], "no background"),
        (["--point", "7,4", "--point", "9,9"], "no second point"),
        (["--point", "70,45", "--mask-input", str(labels)], "no earlier mask"),
        (["--everything"], "--panoptic"),
        (["--panoptic", str(labels), "--box", "1,1,9,9"], "leave out --box"),
    ):
        assert main([*words, *wrong]) == 2
        assert says in capfd.readouterr().err


def test_prompts_of_one_call_do_not_see_each_other(bundle: Bundle) -> None:
    segmenter = open_segmenter(open_bundle(bundle.path))
    segmenter.set_image(PHOTO)
    sets = [Prompts(((70, 45),), (1,)), Prompts(box=(9, 9, 80, 60))]
    together = segmenter.predict_many(sets)
    for one, prompts in zip(together, sets, strict=True):
        alone = segmenter.predict_prompts(prompts)
        np.testing.assert_allclose(alone.low_res_masks, one.low_res_masks, rtol=0, atol=1e-4)
    assert (together[0].masks != together[1].masks).any()


def test_the_bundle_says_what_it_takes(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert manifest.panoptic is not None
    assert manifest.panoptic.classes == CLASSES
    assert manifest.prompts is not None
    assert manifest.prompts.point_or_box
    assert not (bundle.path / "swift").exists()
    assert not (bundle.path / "kotlin").exists()
    image, frame = image_input(PHOTO, manifest.preprocess)
    assert (image.shape[2:], frame.resized) == (SIZE.input_size, (192, 123))
