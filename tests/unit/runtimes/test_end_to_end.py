"""`--check` notices a rule that was changed in meaning, even when every hash was made anew."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from exporter.bundle.agreement import END_TO_END
from exporter.bundle.end_to_end import FACTS, check_facts, facts, facts_array
from exporter.bundle.folder import hash_file, open_bundle, read_manifest
from exporter.bundle.goldens import Goldens
from exporter.bundle.manifest import Manifest
from exporter.end_to_end import choose_scene
from exporter.errors import BundleError
from runtimes.cli import main
from runtimes.measures import find_misses
from runtimes.parity import check_parity
from tests.unit.runtimes.segmenters import tiny_alone
from tests.unit.tiny_bundle import Recipe, build, rewrite

PREPROCESS = {
    "scale": ["picture"],
    "channels": ["grey"],
    "resize": ["letterbox", "stretch", "longest_side"],
    "interpolation": [
        "pillow_bicubic",
        "float_bilinear",
        "float_bilinear_plain",
        "bilinear_plain",
        "opencv_bilinear",
        "pillow_bilinear",
    ],
    "pad_value": [[0, 0, 0], [123.0, 116.28, 103.53]],
    "frame_size": [32, 48],
    "rounding": ["truncate"],
    "prompt_scale": ["longest_side"],
}
MASK = {
    "threshold": [0.05, -0.05, 5.0],
    "single": [-1, 1, 2, 3],
    "multi": [[1, 2], [3, 2, 1], [0, 1, 2]],
    "upscale": ["crop_bilinear"],
    "logit_limit": [0.5],
    "score": ["stability"],
    "stability": [{"delta": 0.1, "least": 1.0}],
}
CHANGES = {
    "slots": {
        "preprocess": PREPROCESS,
        "mask": MASK,
        "prompts": {
            "pad_without_box": [False],
            "pad_with_box": [True],
            "labels": [{"foreground": 0, "background": 1}],
        },
    },
    "detections": {
        "preprocess": {
            key: PREPROCESS[key] for key in ("resize", "interpolation", "pad_value", "rounding")
        },
        "mask": {"threshold": [1.5, -2.5]},
        "detections": {
            "confidence": [0.6, 0.85],
            "nms_iou": [0.99, 0.5],
            "max_detections": [1],
            "border": [15.0],
            "full_box_iou": [0.05],
            "strides": [[8, 16]],
            "prototypes": [1],
        },
    },
    "drawn": {
        "preprocess": {key: PREPROCESS[key] for key in ("resize", "interpolation")},
        "mask": {
            "threshold": [0.3],
            "single": [0, 1],
            "multi": [[1, 2]],
            "upscale": ["bilinear_once", "bilinear"],
        },
        "drawn_prompts": {"box_channel": [1], "point_channel": [0], "radius": [1.0, 9.0]},
    },
}
OWN = {
    ("slots", "resize"): "longest_side",
    ("slots", "interpolation"): "pillow_bilinear",
    ("detections", "resize"): "letterbox",
    ("detections", "interpolation"): "opencv_bilinear",
    ("drawn", "resize"): "stretch",
    ("drawn", "interpolation"): "float_bilinear_plain",
}
EVERY = [
    (kind, part, field, value)
    for kind, parts in CHANGES.items()
    for part, changes in parts.items()
    for field, values in changes.items()
    for value in values
    if value != OWN.get((kind, field))
]
UNSEEN = {"mean", "std", "order", "most_slots", "background_points", "low_res_size", "score_offset"}
"""Fields that no picture of a bundle tells: information on the graph, limits on what a caller may
ask, sides that have to agree with the graphs, and what only counts with another `score`. The facts
in the goldens and the hash hold them."""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    root = tmp_path_factory.mktemp("kinds")
    build(root / "slots")
    tiny_alone.build_detector(root / "detections")
    tiny_alone.build_drawn(root / "drawn")
    return root


@pytest.fixture
def forged(bundles, tmp_path):
    """Copy a bundle, change one field, and make every hash and the facts anew."""

    def make(kind, part, field, value, *, facts=True):
        folder = Path(shutil.copytree(bundles / kind, tmp_path / "forged"))

        def change(data):
            held = data[part]
            assert held[field] != value
            held[field] = held[field] | value if isinstance(held[field], dict) else value

        rewrite(folder, change)
        if facts:
            with np.load(folder / "goldens.npz") as stored:
                arrays = dict(stored)
            arrays[f"{END_TO_END}/*/{FACTS}"] = facts_array(read_manifest(folder))
            np.savez(folder / "goldens.npz", **arrays)
            digest = hash_file(folder / "goldens.npz")
            rewrite(folder, lambda data: data["files"].update({"goldens.npz": digest}))
        return open_bundle(folder)

    return make


@pytest.mark.parametrize("kind", CHANGES)
def test_a_sound_bundle_reaches_every_floor(bundles, kind):
    bundle = open_bundle(bundles / kind)
    figures = check_parity(bundle.path, bundle.manifest)
    assert find_misses(figures) == []
    ends = {figure.output: figure.value for figure in figures if figure.graph == END_TO_END}
    assert {ends[name] for name in ("image", "replayed_scores")} == {0.0}
    assert ends["replayed_masks"] == 1.0


@pytest.mark.parametrize(("kind", "part", "field", "value"), EVERY)
def test_a_rule_of_another_meaning_is_noticed(forged, kind, part, field, value):
    with suppress(BundleError):  # the parts do not agree: refused before any picture
        bundle = forged(kind, part, field, value)
        misses = find_misses(check_parity(bundle.path, bundle.manifest))
        assert misses
        assert {figure.graph for figure in misses} == {END_TO_END}


def test_every_field_of_every_rule_was_tried():
    manifest = {"slots": "prompts", "detections": "detections", "drawn": "drawn_prompts"}
    for kind, part in manifest.items():
        tried = {(p, field) for k, p, field, _ in EVERY if k == kind}
        for name in (part, *(("preprocess", "mask") if kind == "slots" else ())):
            rule = {f.name: f.type for f in fields(Manifest)}[name].split(" ")[0]
            module = __import__("exporter.bundle.rules", fromlist=[rule])
            every = {f.name for f in fields(getattr(module, rule))}
            assert {(name, f) for f in every - UNSEEN - HELD} <= tried


HELD = {"size", "padded_by", "sides", "limits", "batch", "slots", "point_or_box"}
"""Fields that have to agree with the graphs: tests/unit/bundle/test_manifest_hostile.py tries."""


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("licence", "commercial_use", False),
        ("licence", "name", "Proprietary"),
        ("preprocess", "mean", [1.0, 2.0, 3.0]),
        ("preprocess", "std", [1.0, 2.0, 3.0]),
        ("prompts", "most_slots", 64),
        ("mask", "score_offset", 2.0),
        ("mask", "threshold", 5.0),
        ("source", "checkpoint", "other.pt"),
        ("tools", "onnx", "0"),
    ],
)
def test_the_facts_in_the_goldens_hold_what_no_picture_tells(forged, part, field, value, capsys):
    bundle = forged("slots", part, field, value, facts=False)
    assert main([str(bundle.path), "--check"]) == 2
    line = capsys.readouterr().err
    assert f"manifest.{part}.{field}" in line
    assert "is not as it was when the goldens were recorded" in line
    assert len(line.splitlines()) == 1


def test_facts_from_before_a_field_was_there_have_its_default(bundles):
    bundle = open_bundle(bundles / "slots")
    older = facts(bundle.manifest)
    del older["preprocess"]["padded_by"], older["detections"]
    stored = {f"{END_TO_END}/*/{FACTS}": np.frombuffer(json.dumps(older).encode(), np.uint8)}
    check_facts(bundle.manifest, Goldens.of(stored))
    older["preprocess"]["gamma"] = 2.2
    stored = {f"{END_TO_END}/*/{FACTS}": np.frombuffer(json.dumps(older).encode(), np.uint8)}
    with pytest.raises(BundleError, match="unknown field 'gamma'"):
        check_facts(bundle.manifest, Goldens.of(stored))


def test_goldens_without_the_picture_are_refused(bundles, tmp_path):
    folder = Path(shutil.copytree(bundles / "slots", tmp_path / "poor"))
    with np.load(folder / "goldens.npz") as stored:
        arrays = {key: stored[key] for key in stored.files if END_TO_END not in key}
    np.savez(folder / "goldens.npz", **arrays)
    bundle = open_bundle_of(folder)
    with pytest.raises(BundleError, match=f"missing {END_TO_END}"):
        check_parity(bundle.path, bundle.manifest)


def open_bundle_of(folder):
    digest = hash_file(folder / "goldens.npz")
    rewrite(folder, lambda data: data["files"].update({"goldens.npz": digest}))
    return open_bundle(folder)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("*/picture", np.zeros((3, 4), np.uint8)),
        ("*/picture", np.zeros((0, 4, 3), np.uint8)),
        ("*/image", np.zeros((3, 4), np.float32)),
        ("*/facts", np.zeros(4, np.uint8)),
        ("box/points", np.zeros((2, 2))),
        ("box/points", np.full((1, 3), 1e30)),
        ("box/points", np.full((1, 3), np.nan)),
        ("box/box", np.zeros(3)),
        ("box/refines", np.full(4, 255, np.uint8)),
        ("point/masks", np.zeros((1, 3), np.uint8)),
        ("point/masks", np.zeros((1, 3), np.float32)),
        ("point/scores", np.zeros((2, 2), np.float32)),
        ("after_nothing/masks", np.zeros((1, 3), np.uint8)),
        ("after_box/logits", np.zeros(3, np.float32)),
        ("after_box/logits", None),
        ("after_box/refines", None),
        ("after_box/multimask", None),
        ("after_box/scores", np.zeros(1)),
        ("after_box/refines", np.zeros((0, 2), np.uint8)),
        ("after_box/multimask", np.zeros((1, 2), np.uint8)),
        ("after_box/box", np.array([1.0, 2.0, 3.0, 4.0])),
        ("after_box/multimask", np.ones(1, np.uint8)),
        ("box/refines", np.frombuffer(b"nothing", np.uint8)),
    ],
)
def test_a_picture_of_another_form_is_one_line(bundles, tmp_path, name, array, capsys):
    folder = Path(shutil.copytree(bundles / "slots", tmp_path / "odd"))
    with np.load(folder / "goldens.npz") as stored:
        arrays = dict(stored)
    arrays |= {f"{END_TO_END}/{name}": array}
    np.savez(
        folder / "goldens.npz", **{key: each for key, each in arrays.items() if each is not None}
    )
    assert main([str(open_bundle_of(folder).path), "--check"]) in (1, 2)
    line = capsys.readouterr().err
    assert len(line.splitlines()) == 1
    assert "Error:" not in line


def test_the_check_says_so_as_text_and_as_json(bundles, capsys):
    assert main([str(bundles / "slots"), "--check"]) == 0
    assert f"{END_TO_END} masks mask_iou 1 reaches the floor" in capsys.readouterr().out
    assert main([str(bundles / "slots"), "--check", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert any(figure["graph"] == END_TO_END for figure in figures)


@pytest.mark.parametrize(
    "recipe", [Recipe(batch=3), Recipe(layout="NHWC"), Recipe(score="stability")]
)
def test_other_bundles_of_slots_are_sound_too(tmp_path, recipe):
    build(tmp_path / "bundle", recipe)
    bundle = open_bundle(tmp_path / "bundle")
    assert find_misses(check_parity(bundle.path, bundle.manifest)) == []


def test_a_stability_that_counts_is_noticed(tmp_path):
    made = build(tmp_path / "bundle", Recipe(score="stability"))
    other = replace(made, mask=replace(made.mask, score_offset=2.0))
    with pytest.raises(BundleError, match="score_offset"):
        check_parity(tmp_path / "bundle", other)


@pytest.mark.parametrize("size", [64, 192, 512, 1024])
def test_the_picture_shrinks_and_its_sides_are_rounded_in_two_ways(size):
    made = choose_scene(size)
    height, width, _ = made.image.shape
    assert width > size
    assert height * size / width % 1 >= 0.5
    assert made.image.nbytes < 10**6
    assert len(made.instances) >= 2
