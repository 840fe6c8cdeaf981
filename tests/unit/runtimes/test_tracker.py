"""The tracker beside the published loop, written out over graphs of numpy that keep everything."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from exporter.bundle.folder import Bundle
from exporter.bundle.prompts import Prompts
from exporter.errors import PromptError
from runtimes.tracker import Tracker, open_tracker
from runtimes.tracking.result import ObjectPrompt
from tests.unit import video_bundle
from tests.unit.published_tracker import Published, close, encoded, picture, tracker
from tests.unit.video_bundle import HOST, RULE, Twin


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return video_bundle.build(tmp_path_factory.mktemp("video") / "bundle")


@pytest.mark.parametrize("frames", [None, 12])
def test_a_click_is_followed_as_published_through_an_absence(bundle, frames):
    reference, follow = Published(frames), tracker(bundle)
    follow.start(picture(0), frames=frames)
    found = follow.add_object("1", points=[(40, 20)], labels=[1])
    seen = encoded(picture(0))
    expected = reference.run(0, seen, [(40, 20)], [1])
    close(found, expected)
    reference.keep(0, seen, expected, prompted=True, from_prompt=True)
    for frame in range(1, 12):
        dark = frame in (4, 5)
        found = follow.track(picture(frame, dark=dark))["1"]
        seen = encoded(picture(frame, dark=dark))
        expected = reference.run(frame, reference.look(frame, seen), [], [])
        close(found, expected)
        reference.keep(frame, seen, expected, prompted=False, from_prompt=False)
        assert found.frame == frame
        assert not found.prompted


def test_corrections_are_as_published_and_are_not_lost(bundle):
    reference, follow = Published(), tracker(bundle)
    follow.start(picture(0))
    follow.add_object("1", points=[(40, 20)], labels=[1])
    seen = encoded(picture(0))
    expected = reference.run(0, seen, [(40, 20)], [1])
    reference.keep(0, seen, expected, prompted=True, from_prompt=True)
    for frame in range(1, 12):
        follow.track(picture(frame))
        seen = encoded(picture(frame))
        looked = reference.look(frame, seen)
        expected = reference.run(frame, looked, [], [])
        if frame in (1, 9):
            for clicks in ([(20, 30)], [(20, 30), (60, 10)]):
                labels = [0, 1][: len(clicks)]
                found = follow.correct("1", [clicks[-1]], [labels[-1]])
                earlier = np.clip(expected[0], -32, 32)
                expected = reference.run(frame, looked, clicks, labels, earlier)
                close(found, expected)
                assert found.prompted
        reference.keep(frame, seen, expected, prompted=False, from_prompt=frame in (1, 9))
    close(
        follow.track(picture(12))["1"],
        reference.run(12, reference.look(12, encoded(picture(12))), [], []),
    )


def test_clicks_on_the_first_frame_count_together_with_the_earlier_mask(bundle):
    reference, follow = Published(), tracker(bundle)
    follow.start(picture(0))
    first = follow.add_object("1", points=[(40, 20)], labels=[1])
    second = follow.correct("1", points=[(10, 40)], labels=[0])
    seen = encoded(picture(0))
    earlier = np.clip(first.low_res_mask, -32, 32)
    expected = reference.run(0, seen, [(40, 20), (10, 40)], [1, 0], earlier)
    close(second, expected)
    reference.keep(0, seen, expected, prompted=True, from_prompt=True)
    looked = reference.look(1, encoded(picture(1)))
    close(follow.track(picture(1))["1"], reference.run(1, looked, [], []))


def test_a_box_is_two_points(bundle):
    reference, follow = Published(), tracker(bundle)
    follow.start(picture(0))
    found = follow.add_object("1", box=(10, 10, 50, 40))
    close(found, reference.run(0, encoded(picture(0)), [(10, 10), (50, 40)], [2, 3]))


def test_objects_do_not_touch_each_other_and_share_the_frame(bundle):
    alone = {}
    for name, point, start in (("a", (40, 20), 0), ("b", (10, 40), 3)):
        follow = tracker(bundle)
        follow.start(picture(start), number=start)
        follow.add_object(name, points=[point], labels=[1])
        alone[name] = {f: follow.track(picture(f))[name] for f in range(start + 1, 12)}
    log: list = []
    both = tracker(bundle, log)
    both.start(picture(0))
    both.add_object("a", points=[(40, 20)], labels=[1])
    for frame in range(1, 12):
        found = both.track(picture(frame))
        if frame == 3:
            both.add_object("b", points=[(10, 40)], labels=[1])
            # They may look at the newest frame's memory only once it is no longer the current one.
            continue
        for name, one in found.items():
            expected = alone[name][frame]
            np.testing.assert_array_equal(one.low_res_mask, expected.low_res_mask)
    names = [name for name, _ in log]
    assert names.count("image_encoder") == 12
    assert names.count("memory_query") == 11
    assert names.count("memory_attention") == 11 + 8
    assert names.count("mask_decoder") == 12 + 9


def test_a_removed_object_is_forgotten_and_its_name_is_free(bundle):
    follow = tracker(bundle)
    follow.start(picture(0))
    follow.add_object("a", points=[(40, 20)], labels=[1])
    first = follow.add_object("b", points=[(10, 40)], labels=[1])
    follow.track(picture(1))
    follow.remove("b")
    assert list(follow.track(picture(2))) == ["a"]
    again = follow.add_object("b", points=[(10, 40)], labels=[1])
    assert follow.objects == ("a", "b")
    assert again.frame == 2
    assert not np.array_equal(first.low_res_mask, again.low_res_mask)
    follow.reset()
    assert follow.objects == ()
    assert follow.frame is None


def test_a_mask_is_taken_as_it_is(bundle):
    mask = np.zeros((48, 80), bool)
    mask[12:36, 20:60] = True
    log: list = []
    follow = tracker(bundle, log)
    follow.start(picture(0))
    found = follow.add_object("a", mask=mask)
    assert found.score == 10.0
    assert np.mean(found.mask == mask) > 0.95
    assert (found.low_res_mask.min(), found.low_res_mask.max()) == (-10.0, 10.0)
    (given,) = [inputs for name, inputs in log if name == "mask_decoder"]
    np.testing.assert_allclose(
        given["image_embeddings"],
        encoded(picture(0)) - HOST["no_memory_embedding"][None, :, None, None],
        atol=1e-6,
    )
    assert given["point_labels"].tolist() == [[-1, -1, -2, -2, -2, -2]]
    assert given["has_mask_input"] == 1
    assert given["mask_input"].std() > 0.1
    follow.track(picture(1))
    (given,) = [inputs for name, inputs in log if name == "memory_encoder"]
    assert given["from_prompt"] == 1
    assert given["object_present"] == 1
    (seen,) = [inputs for name, inputs in log if name == "memory_attention"]
    pointer = seen["object_pointers"][0, 0]
    assert (seen["memory_age"][0] == [0, -1, -1, -1, -1, -1, -1]).all()
    expected = video_bundle.TOKENS[0] + encoded(picture(0)).mean() * video_bundle.COLOURS
    np.testing.assert_allclose(pointer, expected, atol=0.12)


def test_an_empty_mask_is_an_object_that_is_not_there(bundle):
    follow = tracker(bundle)
    follow.start(picture(0))
    found = follow.add_object("a", mask=np.zeros((48, 80), bool))
    assert (found.score, found.present) == (-10.0, False)
    assert not found.mask.any()


def test_a_prompt_in_the_middle_stands_for_memory(bundle):
    log: list = []
    reference, follow = Published(), tracker(bundle, log)
    follow.start(picture(0))
    follow.add_object("1", points=[(40, 20)], labels=[1])
    follow.track(picture(1))
    prompt = ObjectPrompt(Prompts(box=(10, 10, 50, 40)))
    found = follow.track(picture(2), prompts={"1": prompt})["1"]
    seen = encoded(picture(2))
    expected = reference.run(2, seen, [(10, 10), (50, 40)], [2, 3])
    close(found, expected)
    assert found.prompted
    log.clear()
    follow.track(picture(3))
    (given,) = [inputs for name, inputs in log if name == "memory_attention"]
    assert sorted(given["memory_age"][0]) == [-1, -1, -1, -1, 0, 0, 2]


def test_backward_frames_see_those_after_them(bundle):
    log: list = []
    follow = tracker(bundle, log, turns=True)
    follow.start(picture(5), number=5, frames=9)
    follow.add_object("1", points=[(40, 20)], labels=[1])
    for frame in (6, 7, 8):
        follow.track(picture(frame))
    log.clear()
    found = follow.track(picture(4), number=4)["1"]
    (seen,) = [inputs for name, inputs in log if name == "memory_attention"]
    assert sorted(seen["memory_age"][0]) == [-1, -1, -1, 0, 2, 3, 4]
    assert found.frame == 4
    follow.track(picture(3))
    assert follow.frame == 3


def test_only_the_objects_asked_for_are_found(bundle):
    follow = tracker(bundle)
    follow.start(picture(0))
    follow.add_object("a", points=[(40, 20)], labels=[1])
    follow.add_object("b", points=[(10, 40)], labels=[1])
    assert list(follow.track(picture(1), objects=["b"])) == ["b"]
    with pytest.raises(PromptError, match="object 'a' has no mask on this frame"):
        follow.correct("a", points=[(1, 1)], labels=[1])
    assert list(follow.track(picture(2))) == ["a", "b"]


def test_two_thousand_frames_take_no_more_memory_than_sixty(bundle):
    class Quick(Twin):
        answers: dict = {}  # noqa: RUF012

        def run(self, inputs):
            if self.name not in self.answers:
                self.answers[self.name] = super().run(inputs)
            return {name: array.copy() for name, array in self.answers[self.name].items()}

    follow = Tracker(bundle, load=Quick, turns=True)
    follow.start(picture(0))
    follow.add_object("a", points=[(40, 20)], labels=[1])
    follow.add_object("b", points=[(10, 40)], labels=[1])
    pictures = [picture(frame) for frame in range(10)]
    tracemalloc.start()
    kept = {}
    for frame in range(1, 2001):
        follow.track(pictures[frame % 10])
        if frame in (60, 2000):
            kept[frame] = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept[2000] < kept[60] + 20_000


def test_the_real_graphs_give_the_same(bundle):
    real, double = open_tracker(bundle), tracker(bundle)
    for follow in (real, double):
        follow.start(picture(0))
        follow.add_object("a", points=[(40, 20)], labels=[1])
    for frame in range(1, 10):
        one, other = (follow.track(picture(frame))["a"] for follow in (real, double))
        np.testing.assert_allclose(one.low_res_mask, other.low_res_mask, atol=1e-4)


def test_with_one_memory_a_pooled_family_takes_its_first_graph(tmp_path):
    log: list = []
    rule = replace(RULE, pooled=True)
    plain = video_bundle.build(tmp_path / "plain")
    graphs = list(plain.manifest.graphs)
    spec = graphs[-1].spec
    first = tuple(
        replace(t, shape=(1, 1, *t.shape[2:])) if t.name in ("memories", "memory_age") else t
        for t in spec.inputs
    )
    extra = replace(graphs[-1], spec=replace(spec, name="memory_attention_first", inputs=first))
    manifest = replace(plain.manifest, graphs=(*graphs, extra), video=rule)
    follow = Tracker(Bundle(plain.path, manifest), load=lambda name: Twin(name, log))
    follow.start(picture(0))
    follow.add_object("a", points=[(40, 20)], labels=[1])
    for frame in (1, 2, 3):
        follow.track(picture(frame))
    names = [name for name, _ in log if name.startswith("memory_attention")]
    assert names == ["memory_attention_first", "memory_attention", "memory_attention"]
    assert (
        log[[name for name, _ in log].index("memory_attention_first")][1]["memories"].shape[1] == 1
    )
