"""The runner tracks objects from frame to frame by itself: a numpy twin's numbers, its times."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from android_harness.process import read_runner
from android_harness.runner.compilers import find_compiler
from exporter.errors import RunnerError
from runtimes.remote.frames import frame_plan
from tests.device.runner_kit import ABI, QUICK, Folder, library
from tests.device.video_kit import build_video, follow
from tests.unit.video_bundle import RULE

MASKS = "masks.bin"
ONCE, EACH = (
    ["image_encoder", "memory_query"],
    ["memory_attention", "mask_decoder", "memory_encoder"],
)


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    compiler = find_compiler(ABI) if ABI else None
    if compiler is None:
        pytest.skip("no C compiler for this host")
    path = tmp_path_factory.mktemp("runner") / "runner"
    compiler.build(path)
    return path


@pytest.fixture
def folder(runner, tmp_path):
    return Folder(runner, tmp_path)


def _writing(plan):
    """The same plan; it writes the last frame's masks."""

    def case(graph):
        if graph.spec.name != "mask_decoder":
            return graph
        (one,) = graph.cases
        return replace(graph, cases=(replace(one, outputs={"low_res_masks": MASKS}),))

    job = replace(plan.job, graphs=tuple(map(case, plan.job.graphs)))
    return replace(plan, job=job, outputs=(MASKS,))


@pytest.mark.parametrize(
    ("objects", "frames", "rule"),
    [(1, 20, RULE), (3, 20, RULE), (2, 1, RULE), (1, 5, replace(RULE, memory_slots=2))],
)
def test_its_masks_are_those_of_a_twin(folder, tmp_path, objects, frames, rule):
    bundle = build_video(tmp_path / "video", rule)
    setting = replace(QUICK, runs=frames * (1 + objects))
    plan = _writing(frame_plan(bundle, library(bundle), setting, objects))
    report = folder.run(plan)
    tracked = len(report.warmup_ns) + len(report.samples_ns)
    assert tracked == frames + 1
    found = np.frombuffer(folder.pull(plan)[MASKS], np.float32)
    wanted = follow(bundle, tracked)
    assert not np.allclose(wanted, follow(bundle, tracked - 1 if frames == 1 else 1), atol=1e-3)
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=1e-3, atol=1e-4)


def test_what_objects_share_runs_once_a_frame(folder, tmp_path):
    bundle = build_video(tmp_path / "video")
    report = folder.run(frame_plan(bundle, library(bundle), QUICK, 3))
    assert report.frame.calls == dict.fromkeys(ONCE, 1) | dict.fromkeys(EACH, 3)
    assert report.frame.objects == 3
    whole, *parts = report.frame_runs(3)
    assert whole.graph == "tracked frame, 3 objects"
    assert [part.graph.split(": ")[1] for part in parts] == [*ONCE, *EACH]
    for at, total in enumerate(whole.samples_ns):
        assert 0 < sum(part.samples_ns[at] for part in parts) <= total
    assert [len(part.samples_ns) for part in parts] == [2] * 5  # 5 calls of a graph: 2 frames
    assert whole.load_ns == sum(part.load_ns for part in parts)
    assert whole.peak_bytes
    with pytest.raises(RunnerError, match="tracked 3 objects, not 1"):
        report.frame_runs(1)


@pytest.mark.parametrize(
    ("line", "instead", "said"),
    [
        ("objects 3\n", "", "a frame without objects"),
        ("memories 1 all", "memories 7 all", "first slot is 7, not a number from 0 to 6"),
        ("memory_encoder memory\n", "memory_encoder mask\n", "no tensor mask"),
        ("all memory_encoder memory\n", "all memory_query query\n", "the sizes differ"),
        ("iou_predictions 1,2,3\n", "iou_predictions 1,4\n", "does not rate a row 4"),
        ("turn memory_attention memory_age", "turn memory_attention memories", "holds no ages"),
    ],
)
def test_a_job_that_does_not_fit_is_refused(folder, tmp_path, line, instead, said):
    bundle = build_video(tmp_path / "video")
    plan = frame_plan(bundle, library(bundle), QUICK, 3)
    text = plan.job.text()
    assert line in text
    folder.put(plan.files)
    with pytest.raises(RunnerError, match=said):
        read_runner(folder.start(text.replace(line, instead)))
