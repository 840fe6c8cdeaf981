"""`sam_export`: what a user of the wheel imports."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import sam_export
from tests.unit import tiny_bundle, video_bundle


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("public") / "bundle"
    tiny_bundle.build(folder)
    return sam_export.open_bundle(folder)


def test_every_public_name_is_there():
    for name in sam_export.__all__:
        assert getattr(sam_export, name) is not None
    assert dir(sam_export) == sorted(sam_export.__all__)
    with pytest.raises(AttributeError, match="no attribute 'magic'"):
        _ = sam_export.magic


def test_importing_it_imports_nothing_and_a_job_needs_no_torch():
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import sam_export\n"
        "new = set(sys.modules) - before - {'sam_export'}\n"
        "assert not {n for n in new if n.split('.')[0] in ('numpy', 'exporter', 'torch')}, new\n"
        "from sam_export import Job, export, open_bundle, open_segmenter\n"
        "assert Job(('coreml',)).precision == 'fp16'\n"
        "bad = {'torch', 'coremltools', 'onnxruntime', 'litert_torch'} & set(sys.modules)\n"
        "assert not bad, bad\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_bundle_is_opened_and_prompted(tmp_path):
    tiny_bundle.build(tmp_path / "bundle")
    bundle = sam_export.open_bundle(str(tmp_path / "bundle"))
    segmenter = sam_export.open_segmenter(bundle)
    segmenter.set_image(np.zeros((48, 64, 3), np.uint8))
    masks = segmenter.predict(points=[(20, 20)], labels=[1])
    assert isinstance(masks, sam_export.Masks)
    assert masks.masks.shape == (1, 48, 64)


def test_an_object_is_tracked(tmp_path):
    bundle = video_bundle.build(tmp_path / "bundle")
    tracker = sam_export.open_tracker(bundle)
    assert isinstance(tracker, sam_export.Tracker)
    frame = np.full((48, 64, 3), 90, np.uint8)
    tracker.start(frame)
    tracker.add_object("dog", points=[(20, 20)], labels=[1])
    anew = sam_export.ObjectPrompt(sam_export.Prompts(box=(10, 10, 40, 30)))
    found = tracker.track(frame, prompts={"cat": anew})
    assert list(found) == ["dog", "cat"]
    assert isinstance(found["dog"], sam_export.Tracked)
    assert found["dog"].mask.shape == (48, 64)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (sam_export.open_tracker, "has no memory of earlier frames"),
        (lambda bundle: sam_export.open_tracker(str(bundle.path)), r"takes what open_bundle\("),
        (lambda bundle: sam_export.open_bundle(5), "open_bundle takes a path, .* not 5"),
        (lambda bundle: sam_export.open_bundle(None), "open_bundle takes a path, .* not None"),
        (lambda bundle: sam_export.open_bundle(b"x"), "open_bundle takes a path, .* not b'x'"),
        (sam_export.open_bundle, "it is open already"),
        (lambda bundle: sam_export.open_bundle("x" * 5000), "cannot be read: File name too long"),
        (lambda bundle: sam_export.open_bundle(bundle.path, b"k"), "verify_key takes a path"),
        (lambda bundle: sam_export.open_segmenter(str(bundle.path)), r"takes what open_bundle\("),
        (lambda bundle: sam_export.open_segmenter(bundle.manifest), r"takes what open_bundle\("),
        (lambda bundle: sam_export.open_segmenter(bundle, 5), "engine is a name .* not 5"),
        (lambda bundle: sam_export.open_segmenter(bundle, threads="2"), "threads .* not '2'"),
        (lambda bundle: sam_export.open_segmenter(bundle, threads=2.5), "threads .* not 2.5"),
        (lambda bundle: sam_export.open_segmenter(bundle, threads=None), "threads .* not None"),
        (lambda bundle: sam_export.export({}), "export takes a Job, .* not {}"),
        (lambda bundle: sam_export.export(sam_export.Job(("onnx",)), "out"), "export takes a Pla"),
    ],
)
def test_what_is_none_of_our_values_is_a_request_error(opened, call, words):
    with pytest.raises(sam_export.RequestError, match=words):
        call(opened)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda made, box: made.predict_many(box), "takes a list of Prompts, one for each object"),
        (lambda made, box: made.predict_many(None), "takes a list of Prompts, .* not None"),
        (lambda made, box: made.predict_many([(1, 1, 9, 9)]), r"takes a Prompts .*\(1, 1, 9, 9\)"),
        (lambda made, box: made.predict_many([{"box": (1, 1, 9, 9)}]), "takes a Prompts"),
        (lambda made, box: made.predict_many([sam_export.Prompts(points=5)]), "points should be"),
        (lambda made, box: made.predict_many([sam_export.Prompts(box="abcd")]), "box are not num"),
        (lambda made, box: made.predict(point_coords=[[1, 1]]), "it is called points here"),
        (lambda made, box: made.predict(multimask_output=True), "it is called multimask here"),
        (lambda made, box: made.predict(colour="red"), "predict has no colour: it takes points"),
    ],
)
def test_what_is_no_prompt_is_a_prompt_error(opened, call, words):
    made = sam_export.open_segmenter(opened)
    made.set_image(np.zeros((48, 64, 3), np.uint8))
    box = sam_export.Prompts(box=(1, 1, 9, 9))
    with pytest.raises(sam_export.PromptError, match=words):
        call(made, box)
    assert len(made.predict_many(box for _ in range(2))) == 2


def test_a_wrong_job_is_a_request_error():
    with pytest.raises(sam_export.RequestError, match="unknown target 'tensorrt'; choose from"):
        sam_export.export(sam_export.Job(("tensorrt",)))
