"""What objects the network is asked about in a picture that nobody described."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.bundle.preprocess import Frame
from exporter.bundle.prompts import Prompts
from exporter.subjects import GRID, PictureSubject, SceneSubject

FRAME = Frame((60, 40), (60, 40), 64)


def subject(tmp_path, *given):
    return PictureSubject(tmp_path / "a.npz", (600, 400), FRAME, given)


def mask(x0, y0, x1, y1):
    made = np.zeros((40, 60), bool)
    made[y0:y1, x0:x1] = True
    return made


def test_the_surest_masks_of_clicks_on_a_grid_are_the_objects(tmp_path):
    """The whole picture, a speck and the same object again are none."""
    good, other = mask(5, 5, 25, 25), mask(30, 10, 50, 30)
    answers = [(0.5, mask(0, 0, 60, 40)), (0.99, mask(0, 0, 1, 1)), (0.8, good), (0.9, other)]
    answers += [(0.7, mask(6, 5, 25, 25))] + [(0.1, np.zeros((40, 60), bool))] * 4
    asked = []

    def ask(prompts):
        asked.extend(prompts)
        return answers

    found = subject(tmp_path).instances(ask)
    np.testing.assert_array_equal(found, [other, good])
    assert len(asked) == len(GRID) ** 2
    assert asked[0].points == ((12.0, 8.0),)


def test_prompts_that_were_given_say_what_the_objects_are(tmp_path):
    given = (Prompts(((3.0, 4.0),), (1,)), Prompts(box=(1, 2, 3, 4)))
    made = [mask(0, 0, 5, 5), mask(10, 10, 20, 20)]

    def ask(prompts):
        assert tuple(prompts) == given
        return [(0.5, each) for each in made]

    np.testing.assert_array_equal(subject(tmp_path, *given).instances(ask), made)


@pytest.mark.parametrize("found", [[], [mask(0, 0, 9, 9)]])
def test_there_are_always_two_objects(tmp_path, found):
    answers = [(0.5, each) for each in found] + [(0.1, np.zeros((40, 60), bool))]
    objects = subject(tmp_path).instances(lambda prompts: answers)
    assert len(objects) == 2
    assert objects.any(axis=(1, 2)).all()
    np.testing.assert_array_equal(objects[: len(found)], np.array(found).reshape(-1, 40, 60))


def test_without_the_network_prompts_stand_for_their_objects(tmp_path):
    given = (Prompts(box=(4.0, 6.0, 20.0, 30.0)), Prompts(((59.9, 39.9),), (1,)))
    boxed, pointed = subject(tmp_path, *given).instances(None)
    np.testing.assert_array_equal(boxed, mask(4, 6, 20, 30))
    assert pointed[39, 59]
    assert 0 < pointed.sum() < 200


def test_a_scene_knows_its_objects():
    made = SceneSubject(10_000_001, (96, 96))
    assert made.image.shape == (1, 3, 96, 96)
    assert made.instances(None).shape[1:] == (96, 96)
    assert made.frame == Frame((96, 96), (96, 96), 96)
