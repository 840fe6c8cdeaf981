"""Ctrl-C once the asking is over: the first waits for what is being finished, a second does not."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from PIL import Image

from runtimes.everything import everything
from runtimes.everything.outputs import Files, writers
from runtimes.everything.segments import Asked, Everything, Left
from runtimes.everything.stopping import Finish
from runtimes.everything.telling import Teller, write_all
from tests.unit.runtimes.everything.test_everything import WHITE, Discs

FREE = {"pred_iou_thresh": 0, "stability_score_thresh": 0, "box_nms_thresh": 1.0}


class Proposing(Discs):
    def proposals(self):
        return np.array([[9.0, 9.0], [40.0, 20.0]]), np.array([0.9, 0.8], np.float32)


def pressing(times=1):
    """A report that presses Ctrl-C as the first mask is encoded, and keeps what it is told."""
    told: list[Finish] = []

    def report(finish: Finish) -> None:
        told.append(finish)
        if len(told) <= times:
            signal.raise_signal(signal.SIGINT)

    return report, told


def found_while(report, method="grid", **options):
    if method != "proposed":
        options["points_per_side"] = 4
    return everything(
        Proposing(), WHITE, method, report_finish=report, keep_partial=True, **FREE, **options
    )


@pytest.mark.parametrize("method", ["grid", "hierarchical", "proposed"])
def test_masks_that_are_being_encoded_are_kept(method):
    report, told = pressing()
    found = found_while(report, method)
    assert len(found) == found.left.nms[0][1] > 1
    assert not found.partial
    assert [each.stopped for each in told[:2]] == [False, True]
    assert told[-1].encoded == told[-1].kept == len(found)


def test_no_crop_is_asked_after_it():
    report, _ = pressing()
    found = found_while(report, crop_n_layers=1)
    assert found.partial
    assert (len(found), found.asked.images) == (48, 1)


@pytest.mark.parametrize("method", ["grid", "hierarchical", "proposed"])
def test_a_second_one_ends_it(method):
    report, told = pressing(times=2)
    with pytest.raises(KeyboardInterrupt):
        found_while(report, method)
    assert len(told) == 2


def test_nothing_asked_is_nothing_kept():
    class Early(Discs):
        def set_image(self, image):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        everything(Early(), WHITE, points_per_side=4, keep_partial=True)


def test_the_handler_is_put_back():
    before = signal.getsignal(signal.SIGINT)
    report, _ = pressing()
    found_while(report)
    assert signal.getsignal(signal.SIGINT) is before


def test_files_that_are_whole_are_kept_and_the_one_of_masks_is_waited_for(tmp_path):
    done = []

    def press(path):
        signal.raise_signal(signal.SIGINT)
        done.append(path.name)

    paths = [tmp_path / name for name in ("a.json", "b.png", "c.png")]
    jobs = [(path, lambda path=path: press(path)) for path in paths]
    assert write_all(jobs, done.append, waits=paths[0]) == paths[:1]
    assert write_all(jobs[1:], done.append, waits=paths[0]) == []
    assert write_all(jobs, done.append, waits=None) == []
    assert done == ["a.json"]


def test_masks_are_written_before_pictures_and_a_partial_picture_says_so(tmp_path):
    none = Everything((), (3, 4), "grid", Asked(1, 1, 1, 2), Left(), {}, partial=True)
    files = Files(tmp_path / "o.jpg", tmp_path / "l.png", tmp_path / "c.json")
    jobs = [*writers(files, tmp_path / "in.png", WHITE[:3, :4], none)]
    assert [path.name for path, _ in jobs] == ["c.json", "l.png", "o.jpg"]
    for _, write in jobs:
        write()
    assert Image.open(tmp_path / "l.png").text["Description"].startswith("partial: 0 masks")
    assert Image.open(tmp_path / "o.jpg").info["comment"].startswith(b"partial: 0 masks")


def test_encoding_tells_every_two_seconds():
    said = []
    teller = Teller(said.append)
    for at in range(1, 12):
        teller.finish(Finish(at, 12, 10 + 0.5 * at, stopped=at > 6))
    assert said == [
        "encoding masks: 2 of 12, about 5 s left",
        "encoding masks: 6 of 12, about 3 s left",
        "keeping the masks found so far; Ctrl-C again drops them",
        "encoding masks: 11 of 12, about 1 s left (Ctrl-C again drops them)",
    ]
