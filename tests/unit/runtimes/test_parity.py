from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from exporter.bundle.folder import open_bundle
from exporter.bundle.manifest import Figure
from exporter.errors import BundleError, ParityError
from runtimes.engines import CheckedGraph, load_graph
from runtimes.measures import (
    CAP,
    FLOORS,
    describe,
    find_misses,
    floor_of,
    mask_iou,
    prompt_sensitivity,
    psnr_db,
    worst_error,
)
from runtimes.parity import check_parity, floors_of, main, peak_mb
from tests.unit import tiny_bundle
from tests.unit.tiny_bundle import Recipe, build, goldens, manifest

EXPECTED = np.array([[1.0, -2.0], [0.0, 4.0]], np.float32)
FIGURE = Figure("mask_decoder", "low_res_masks", "psnr_db", 48.2, "dB", "higher", 50.0)


def test_psnr_is_the_peak_over_the_root_mean_square_error():
    assert psnr_db(EXPECTED, EXPECTED + 0.4) == pytest.approx(20.0, abs=1e-5)
    assert psnr_db(EXPECTED, EXPECTED) == CAP
    assert psnr_db(EXPECTED, EXPECTED + 0.04) == pytest.approx(40.0, abs=1e-4)
    assert psnr_db(np.zeros(3, np.float32), np.ones(3, np.float32)) == -CAP


def test_worst_error_is_relative_to_the_peak():
    actual = EXPECTED.copy()
    actual[0, 1] += 1
    assert worst_error(EXPECTED, actual) == pytest.approx(0.25)
    assert worst_error(EXPECTED, EXPECTED) == 0
    assert worst_error(np.zeros(3, np.float32), np.zeros(3, np.float32)) == 0
    assert worst_error(np.zeros(3, np.float32), np.ones(3, np.float32)) == CAP


def test_mask_iou_is_the_worst_masks():
    first = np.zeros((1, 2, 4, 4), np.float32) - 1
    second = first.copy()
    first[0, 1, 0], second[0, 1, 0, :3] = 1, 1
    assert mask_iou(first, second, 0.0) == pytest.approx(3 / 4)
    assert mask_iou(first[:, :1], second[:, :1], 0.0) == 1
    assert mask_iou(first, second, 2.0) == 1
    assert mask_iou(first, -first, 0.0) == 0


def test_mask_iou_follows_the_threshold():
    logits = np.array([[[0.5, 1.5]]], np.float32)
    assert mask_iou(logits, logits - 1, 0.0) == pytest.approx(1 / 2)
    assert mask_iou(logits, logits - 1, 1.0) == 0


def test_prompt_sensitivity_is_one_for_the_same_movement_and_falls_both_ways():
    a, b = np.zeros((2, 2), np.float32), np.ones((2, 2), np.float32)
    assert prompt_sensitivity([a, b], [a + 5, b + 5]) == pytest.approx(1)
    assert prompt_sensitivity([a, b], [a, b / 2]) == pytest.approx(0.5)
    assert prompt_sensitivity([a, b], [a, b * 2]) == pytest.approx(0.5)
    assert prompt_sensitivity([a, b, 3 * b], [a, b, b]) == 0
    assert prompt_sensitivity([a, a], [a, b]) == 0
    assert prompt_sensitivity([a, b], [a, a]) == 0
    with pytest.raises(BundleError, match="two prompts"):
        prompt_sensitivity([a], [a])


def test_floors():
    assert floor_of("fp32", "image_encoder", "image_embeddings", "psnr_db") == 100
    assert floor_of("fp32", "mask_decoder", "iou_predictions", "worst_error") == 1e-4
    assert floor_of("fp32", "image_encoder+mask_decoder", "low_res_masks", "mask_iou") == 0.999
    assert floor_of("fp16", "mask_decoder", "low_res_masks", "psnr_db") == 50
    assert floor_of("fp16", "image_encoder", "image_embeddings", "psnr_db") == 40
    assert floor_of("fp16", "mask_decoder", "low_res_masks", "mask_iou") == 0.95
    assert floor_of("fp16", "mask_decoder", "low_res_masks", "worst_error") is None
    assert floor_of("fp16", "image_encoder+mask_decoder", "low_res_masks", "psnr_db") is None
    with pytest.raises(
        BundleError, match="no floors are set for precision 'int3'; choose from fp32"
    ):
        floor_of("int3", "mask_decoder", "low_res_masks", "psnr_db")


def test_every_precision_holds_the_prompts_and_every_floor_says_why():
    for precision, table in FLOORS.items():
        assert floor_of(precision, "mask_decoder", "low_res_masks", "prompt_sensitivity") == 0.9
        assert all(len(floor.why) > 20 for floor in table.values())


@pytest.mark.parametrize(
    ("value", "better", "floor", "bad"),
    [
        (49.9, "higher", 50.0, True),
        (50.0, "higher", 50.0, False),
        (0.2, "lower", 0.1, True),
        (0.1, "lower", 0.1, False),
        (float("nan"), "higher", 50.0, True),
        (float("nan"), "lower", 50.0, True),
        (-5.0, "higher", None, False),
    ],
)
def test_missed(value, better, floor, bad):
    figure = replace(FIGURE, value=value, better=better, floor=floor)
    assert find_misses((figure,)) == ([figure] if bad else [])


def test_describe():
    line = "mask_decoder low_res_masks psnr_db 48.2 dB is under the floor 50 dB of fp16"
    assert describe(FIGURE, "fp16") == line
    assert describe(FIGURE) == line.removesuffix(" of fp16")
    assert describe(replace(FIGURE, value=50.5)).endswith("50.5 dB reaches the floor 50 dB")
    assert describe(replace(FIGURE, floor=None)).endswith("48.2 dB (no floor)")
    lower = replace(FIGURE, measure="worst_error", unit="", better="lower", value=0.2, floor=0.1)
    assert describe(lower).endswith("worst_error 0.2 is over the limit 0.1")
    assert describe(replace(lower, value=0.05)).endswith("0.05 is within the limit 0.1")


def test_a_near_miss_does_not_read_as_a_hit():
    assert "49.99999 dB is under" in describe(replace(FIGURE, value=49.99999))


def figures_of(folder, recipe=None):
    found = check_parity(folder, manifest(recipe or Recipe(), folder))
    return {(f.graph, f.output, f.measure): f for f in found}


def test_a_good_bundle_reaches_every_floor(tiny_folder):
    figures = figures_of(tiny_folder)
    assert set(figures) == {
        ("image_encoder", "image_embeddings", "psnr_db"),
        ("image_encoder", "image_embeddings", "worst_error"),
        ("mask_decoder", "low_res_masks", "psnr_db"),
        ("mask_decoder", "low_res_masks", "worst_error"),
        ("mask_decoder", "low_res_masks", "mask_iou"),
        ("mask_decoder", "low_res_masks", "prompt_sensitivity"),
        ("mask_decoder", "iou_predictions", "psnr_db"),
        ("mask_decoder", "iou_predictions", "worst_error"),
        ("image_encoder+mask_decoder", "low_res_masks", "psnr_db"),
        ("image_encoder+mask_decoder", "low_res_masks", "mask_iou"),
        ("end_to_end", "image", "worst_error"),
        ("end_to_end", "prompts", "worst_error"),
        ("end_to_end", "masks", "mask_iou"),
        ("end_to_end", "scores", "worst_error"),
        ("end_to_end", "replayed_masks", "mask_iou"),
        ("end_to_end", "replayed_scores", "worst_error"),
        ("end_to_end", "replayed_logits", "worst_error"),
    }
    assert find_misses(tuple(figures.values())) == []


@pytest.mark.parametrize("recipe", [Recipe(layout="NHWC"), Recipe(batch=2), Recipe(single=-1)])
def test_other_shapes_reach_them_too(tmp_path, recipe):
    build(tmp_path / "bundle", recipe)
    assert find_misses(tuple(figures_of(tmp_path / "bundle", recipe).values())) == []


def test_sessions_from_elsewhere_are_measured_instead_of_an_engine(tiny, tmp_path):
    build(tmp_path / "scaled", Recipe(flaw="scaled"))
    other = open_bundle(tmp_path / "scaled")
    asked = []

    def load(graph):
        asked.append(graph)
        return load_graph(other, graph)

    found = check_parity(tiny.path, tiny.manifest, load=load)
    assert asked == ["image_encoder", "mask_decoder"]
    assert {f.output for f in find_misses(found)} == {"low_res_masks"}


@dataclass
class InFloat:
    """A graph that is computed in another arithmetic than its file's."""

    inner: object
    arithmetic: str = "float32"

    def run(self, inputs):
        return self.inner.run(inputs)


def test_a_figure_says_in_which_arithmetic_the_graphs_behind_it_were_computed(tiny):
    def load(graph):
        loaded = load_graph(tiny, graph)
        return CheckedGraph(loaded.spec, InFloat(loaded)) if graph == "image_encoder" else loaded

    found = {f.graph: f for f in check_parity(tiny.path, tiny.manifest, load=load)}
    said = {graph: figure.arithmetic for graph, figure in found.items()}
    assert said == {
        "image_encoder": "float32",
        "mask_decoder": "",
        "image_encoder+mask_decoder": "float32",
    }
    assert " (computed in float32) " in describe(found["image_encoder"])
    assert "computed" not in describe(found["mask_decoder"])


def test_scaled_logits_are_measured(tmp_path):
    build(tmp_path / "bundle", Recipe(flaw="scaled"))
    figures = figures_of(tmp_path / "bundle")
    masks = figures["mask_decoder", "low_res_masks", "worst_error"]
    assert masks.value == pytest.approx(0.1, abs=0.01)
    names = {f.output for f in find_misses(tuple(figures.values()))}
    assert names == {"low_res_masks", "masks"}


def test_a_decoder_deaf_to_prompts_is_found_by_its_own_measure(tmp_path):
    build(tmp_path / "bundle", Recipe(flaw="deaf"))
    figure = figures_of(tmp_path / "bundle")["mask_decoder", "low_res_masks", "prompt_sensitivity"]
    assert figure.value == 0
    assert find_misses((figure,)) == [figure]


def test_values_that_are_not_finite_are_an_error_of_their_own(tmp_path):
    build(tmp_path / "bundle", Recipe(flaw="nan"))
    with pytest.raises(ParityError, match="mask_decoder low_res_masks: 4096 of 4096 values"):
        figures_of(tmp_path / "bundle")


@pytest.fixture
def folder(tmp_path, tiny_folder):
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


def store(folder, change):
    arrays = goldens(1)
    change(arrays)
    tiny_bundle.store(folder, arrays, manifest(Recipe(), folder))


def test_the_end_uses_the_lowered_encoders_embedding(tmp_path):
    build(tmp_path / "bright", Recipe(flaw="bright"))
    figures = figures_of(tmp_path / "bright")
    assert figures["image_encoder", "image_embeddings", "psnr_db"].value < 0
    assert figures["mask_decoder", "low_res_masks", "psnr_db"].value > 90
    assert figures["image_encoder+mask_decoder", "low_res_masks", "psnr_db"].value < 30
    assert figures["image_encoder+mask_decoder", "low_res_masks", "mask_iou"].value < 0.9


def test_cases_with_an_embedding_of_their_own_are_not_the_scenes(folder):
    def change(arrays):
        for name in ("low_res_masks", "iou_predictions", "point_coords", "point_labels"):
            arrays[f"mask_decoder/noise/{name}"] = arrays[f"mask_decoder/point/{name}"]
        shift = arrays["mask_decoder/*/image_embeddings"] + 10
        arrays["mask_decoder/noise/image_embeddings"] = shift
        # The decoder adds a tenth of the embedding's mean to every logit.
        arrays["mask_decoder/noise/low_res_masks"] = arrays["mask_decoder/point/low_res_masks"] + 1

    store(folder, change)
    assert find_misses(tuple(figures_of(folder).values())) == []


def test_goldens_that_do_not_move_prove_nothing(folder):
    def change(arrays):
        for name in ("point_coords", "point_labels", "low_res_masks", "iou_predictions"):
            arrays[f"mask_decoder/click_left/{name}"] = arrays[f"mask_decoder/click_right/{name}"]

    store(folder, change)
    under = find_misses(tuple(figures_of(folder).values()))
    assert [f.measure for f in under] == ["prompt_sensitivity"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("mask_decoder/*/mask_input"), "is missing mask_decoder/box/mask_input"),
        (
            lambda a: a.pop("mask_decoder/box/low_res_masks"),
            "is missing mask_decoder/box/low_res_masks",
        ),
        (
            lambda a: [a.pop(key) for key in list(a) if key.startswith("image_encoder")],
            "no case of graph 'image_encoder'",
        ),
        (
            lambda a: [a.pop(key) for key in list(a) if "click_left" in key],
            "two prompts that begin with 'click'",
        ),
        (
            lambda a: a.update({"image_encoder/scene/image": np.zeros((1, 3, 8, 8), np.uint8)}),
            "does not fit the graph's input",
        ),
        (
            lambda a: a.update({"mask_decoder/box/iou_predictions": np.zeros((1, 3), np.float32)}),
            "not of the graph's shape",
        ),
        (
            lambda a: a["mask_decoder/box/iou_predictions"].fill(np.nan),
            "is not finite",
        ),
    ],
)
def test_goldens_that_are_incomplete_are_named(folder, change, message):
    store(folder, change)
    with pytest.raises(BundleError, match=message):
        figures_of(folder)


def test_main_prints_json_for_a_bundle_that_is_not_sealed(folder, capsys):
    (folder / "half").write_text("no hash is checked")
    assert main([str(folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report) == {"figures", "missed", "broken", "seconds", "peak_mb"}
    assert report["missed"] == []
    assert not report["broken"]
    assert [Figure(**f) for f in report["figures"]] == list(
        check_parity(folder, manifest(Recipe(), folder))
    )
    assert report["seconds"] > 0
    assert report["peak_mb"] > 10


def test_main_prints_a_table_and_fails_on_a_miss(tmp_path, capsys, tiny_folder):
    assert main([str(tiny_folder)]) == 0
    assert "low_res_masks mask_iou 1 reaches the floor 0.999 of fp32" in capsys.readouterr().out
    build(tmp_path / "deaf", Recipe(flaw="deaf"))
    assert main([str(tmp_path / "deaf")]) == 1
    assert main([str(tmp_path / "deaf"), "--json"]) == 0


def test_main_fails_in_one_line(tmp_path, capsys):
    said = f"{tmp_path} is not a bundle: it has no manifest.json"
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr() == ("", f"parity: error: {said}\n")
    assert main([str(tmp_path), "--json"]) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"error": "BundleError", "message": said}
    assert captured.err == ""


def test_the_module_runs_without_torch(tiny_folder):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from runtimes.parity import main; sys.exit(main(sys.argv[1:]))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_folder), "--json"],
        cwd=root,
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(json.loads(done.stdout)["figures"]) == 17


@pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is Linux's")
def test_the_peak_is_this_programs_and_not_its_parents():
    ballast = bytearray(300 * 2**20)
    ballast[:: 2**12] = b"x" * len(ballast[:: 2**12])
    code = "from runtimes.parity import peak_mb; print(peak_mb())"
    root = Path(__file__).parents[3]
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert peak_mb() > 300
    assert 10 < float(run.stdout) < 250


def test_the_pipelines_bundle_opens_with_its_figures(tmp_path, tiny):
    found = check_parity(tiny.path, tiny.manifest)
    from tests.unit.tiny_bundle import reseal

    copy = Path(shutil.copytree(tiny.path, tmp_path / "copy"))
    reseal(copy, parity=found)
    assert open_bundle(copy).manifest.parity == found


def test_one_predicted_iou_may_lie_near_zero(tmp_path):
    """Of several, the largest is what an error is compared with."""
    several = manifest(Recipe(), tmp_path)
    one = replace(several, graphs=tuple(map(_with_one_token, several.graphs)))
    floors = [floors_of(each, "fp32") for each in (several, one)]
    iou = [each("mask_decoder", "iou_predictions", "psnr_db") for each in floors]
    masks = [each("mask_decoder", "low_res_masks", "psnr_db") for each in floors]
    assert iou == [100.0, 60.0]
    assert masks == [100.0, 100.0]


def _with_one_token(graph):
    outputs = tuple(
        replace(t, shape=(*t.shape[:-1], 1)) if t.name == "iou_predictions" else t
        for t in graph.spec.outputs
    )
    return replace(graph, spec=replace(graph.spec, outputs=outputs))
