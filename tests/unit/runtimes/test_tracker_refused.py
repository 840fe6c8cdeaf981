"""What a tracker refuses, by name."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.bundle.folder import Bundle, open_bundle
from exporter.errors import BundleError, ImageError, PromptError, RequestError
from runtimes.tracker import Tracker, open_tracker
from tests.unit import tiny_bundle, video_bundle
from tests.unit.published_tracker import picture, tracker
from tests.unit.video_bundle import Twin


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return video_bundle.build(tmp_path_factory.mktemp("video") / "bundle")


@pytest.mark.parametrize(
    ("graph", "output"),
    [
        ("memory_encoder", "memory"),
        ("mask_decoder", "low_res_masks"),
        ("mask_decoder", "object_pointers"),
        ("mask_decoder", "object_score_logits"),
    ],
)
def test_a_bank_with_nan_is_refused_by_name(bundle, graph, output):
    class Broken(Twin):
        def run(self, inputs):
            outputs = super().run(inputs)
            if self.name == graph:
                outputs[output] = np.full_like(outputs[output], np.nan)
            return outputs

    follow = Tracker(bundle, load=Broken)
    follow.start(picture(0))

    def run():
        follow.add_object("dog", points=[(40, 20)], labels=[1])
        follow.track(picture(1))

    with pytest.raises(BundleError, match=f"{output} of object 'dog' on frame 0 is not finite"):
        run()


def test_names_are_texts_and_frames_are_counted(bundle):
    follow = tracker(bundle)
    with pytest.raises(RequestError, match="a frame at least, not 0"):
        follow.start(picture(0), frames=0)
    follow.start(picture(0))
    for name in (5, ""):
        with pytest.raises(PromptError, match="an object's name is a text, not"):
            follow.add_object(name, points=[(40, 20)], labels=[1])
    with pytest.raises(RequestError, match="whole numbers, not by '2'"):
        follow.track(picture(1), number="2")


def test_wrong_requests_are_named(bundle):
    follow = tracker(bundle, max_objects=2)
    with pytest.raises(RequestError, match="call start"):
        follow.add_object("a", points=[(1, 1)], labels=[1])
    with pytest.raises(RequestError, match="call start"):
        follow.track(picture(1))
    follow.start(picture(0))
    follow.add_object("a", points=[(40, 20)], labels=[1])
    with pytest.raises(PromptError, match="'a' is followed already"):
        follow.add_object("a", points=[(40, 20)], labels=[1])
    with pytest.raises(PromptError, match="no object 'c' is followed: there are a"):
        follow.correct("c", points=[(1, 1)], labels=[1])
    with pytest.raises(PromptError, match="no prompt"):
        follow.add_object("b")
    with pytest.raises(PromptError, match="outside the image"):
        follow.add_object("b", points=[(500, 1)], labels=[1])
    with pytest.raises(PromptError, match="a mask is a whole prompt"):
        follow.add_object("b", points=[(1, 1)], labels=[1], mask=np.ones((48, 80), bool))
    with pytest.raises(PromptError, match="slots"):
        follow.add_object("b", points=[(1, 1)] * 9, labels=[1] * 9)
    follow.add_object("b", points=[(40, 20)], labels=[1])
    with pytest.raises(PromptError, match="3 objects, and at most 2 are followed: each keeps"):
        follow.add_object("c", points=[(40, 20)], labels=[1])
    with pytest.raises(ImageError, match="frame 1 is 20 x 10, and the video began with 80 x 48"):
        follow.track(np.zeros((10, 20, 3), np.uint8))
    with pytest.raises(RequestError, match="frame 0 is the current one"):
        follow.track(picture(1), number=0)
    assert list(follow.track(picture(1))) == ["a", "b"]


def test_a_bundle_of_pictures_has_no_memory(tmp_path):
    tiny_bundle.build(tmp_path / "tiny")
    with pytest.raises(BundleError, match="has no memory of earlier frames"):
        open_tracker(open_bundle(tmp_path / "tiny"))
    with pytest.raises(RequestError, match="open_tracker takes what open_bundle"):
        open_tracker(str(tmp_path))
