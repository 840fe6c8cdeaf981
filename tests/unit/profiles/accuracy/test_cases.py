"""What every bundle is asked: the same each time, on known objects or at places in photos."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from exporter.errors import ImageError, RequestError
from exporter.scenes.scene import HELD_OUT, scene
from profiles.accuracy.cases import KINDS, POINT, REFINED, SIZES, photo_shots, scene_shots
from tests.unit.small_pictures import RGB


def test_a_scene_is_asked_about_every_object_in_every_way():
    shot = scene_shots(3)[2]()
    found = scene(HELD_OUT + 2, *SIZES[2])
    np.testing.assert_array_equal(shot.picture.rgb, found.image)
    assert shot.picture.size == (found.image.shape[1], found.image.shape[0])
    assert [case.kind for case in shot.cases] == list(KINDS) * len(found.instances)
    for number, case in enumerate(shot.cases):
        np.testing.assert_array_equal(case.truth, found.instances[number // len(KINDS)])
        for (x, y), label in zip(case.prompts.points, case.prompts.labels, strict=True):
            assert case.truth[int(y), int(x)] == bool(label)


def test_a_refinement_follows_a_point_of_its_own_object():
    shot = scene_shots(1)[0]()
    refined = [case for case in shot.cases if case.kind == REFINED]
    assert len(refined) > 1
    for case in refined:
        earlier = shot.cases[case.refines]
        assert earlier.kind == POINT
        assert earlier.prompts.points[0] == case.prompts.points[0]
        assert earlier.truth is case.truth


def test_every_call_makes_the_same():
    one, other = scene_shots(2)[1](), scene_shots(5)[1]()
    assert [case.prompts for case in one.cases] == [case.prompts for case in other.cases]


def test_photos_are_prompted_inside_at_places_that_the_seed_chooses(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "b.png")
    Image.fromarray(RGB).save(tmp_path / "a.jpg")
    (tmp_path / "prompts.json").write_text("{}")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    shots = [make() for make in photo_shots(tmp_path, 1)]
    assert [shot.name for shot in shots] == ["a.jpg", "b.png"]
    height, width = RGB.shape[:2]
    for case in (case for shot in shots for case in shot.cases):
        assert case.truth is None
        for x, y in case.prompts.points:
            assert 0 < x < width
            assert 0 < y < height
        if case.prompts.box:
            x0, y0, x1, y1 = case.prompts.box
            assert 0 <= x0 < x1 <= width
            assert 0 <= y0 < y1 <= height
    first, again, other = (photo_shots(tmp_path, seed)[0]().cases[0].prompts for seed in (1, 1, 2))
    assert first == again != other
    assert shots[0].cases[0].prompts != shots[1].cases[0].prompts


def test_folders_that_hold_no_picture_are_refused(tmp_path):
    with pytest.raises(RequestError, match="is no folder of pictures"):
        photo_shots(tmp_path / "none", 0)
    with pytest.raises(RequestError, match="holds no picture"):
        photo_shots(tmp_path, 0)
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"a\.jpg"):
        photo_shots(tmp_path, 0)[0]()
