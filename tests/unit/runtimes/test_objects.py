"""Points and boxes of a command line belong to objects; none is dropped."""

from __future__ import annotations

import pytest

from exporter.bundle.prompts import Prompts
from exporter.errors import PromptError
from runtimes.objects import Asked, group, in_pixels, like_shares, moved
from runtimes.prompt_options import box, point

A, B = (1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0, 8.0)


def grouped(points=(), boxes=()):
    found = group([point(text) for text in points], [box(text) for text in boxes])
    return {asked.name: asked.prompts for asked in found}


def test_without_names_and_with_one_box_at_most_there_is_one_object():
    assert grouped() == {"1": Prompts()}
    assert grouped(["1,2", "3,4,0"]) == {"1": Prompts(((1, 2), (3, 4)), (1, 0))}
    assert grouped(["9,9"], ["1,2,3,4"]) == {"1": Prompts(((9, 9),), (1,), A)}


def test_each_box_is_an_object_in_their_order():
    assert grouped([], ["1,2,3,4", "5,6,7,8"]) == {"1": Prompts(box=A), "2": Prompts(box=B)}


def test_points_join_a_box_by_its_name_or_number():
    found = grouped(["0,0@2", "1,1,0@cat", "2,2@2"], ["1,2,3,4@cat", "5,6,7,8"])
    assert found == {
        "cat": Prompts(((1, 1),), (0,), A),
        "2": Prompts(((0, 0), (2, 2)), (1, 1), B),
    }
    assert list(found) == ["cat", "2"]


def test_names_without_a_box_are_objects_too():
    found = grouped(["0,0@b", "1,1@a", "2,2,0@b"])
    assert found == {"b": Prompts(((0, 0), (2, 2)), (1, 0)), "a": Prompts(((1, 1),), (1,))}


def test_a_nameless_point_belongs_to_the_only_object():
    assert grouped(["0,0"], ["1,2,3,4@cat"]) == {"cat": Prompts(((0, 0),), (1,), A)}
    assert grouped(["0,0", "1,1@cat"]) == {"cat": Prompts(((0, 0), (1, 1)), (1, 1))}


@pytest.mark.parametrize(
    ("points", "boxes", "message"),
    [
        (["0,0"], ["1,2,3,4", "5,6,7,8"], "objects are 1, 2: give it as --point X,Y,LABEL@1"),
        (["0,0", "1,1@a", "2,2@b"], [], "whose is a point without a name"),
        (["0,0", "1,1@dog"], ["1,2,3,4"], "objects are 1, dog"),
        ([], ["1,2,3,4@a", "5,6,7,8@a"], "object 'a' has two boxes"),
        ([], ["1,2,3,4@2", "5,6,7,8"], "object '2' has two boxes"),
    ],
)
def test_what_is_not_clear_is_an_error_that_says_how(points, boxes, message):
    with pytest.raises(PromptError, match=message):
        grouped(points, boxes)


def test_shares_become_pixels():
    asked = Asked("1", Prompts(((0.5, 0.25),), (1,), (0.0, 0.1, 1.0, 0.9)))
    scaled = in_pixels(asked, (200, 100)).prompts
    assert scaled == Prompts(((100.0, 25.0),), (1,), (0.0, 10.0, 200.0, 90.0))
    with pytest.raises(PromptError, match="from 0 to 1, not 480"):
        in_pixels(Asked("1", Prompts(((0.5, 480.0),), (1,))), (200, 100))


@pytest.mark.parametrize(
    ("prompts", "size", "like"),
    [
        (Prompts(((0.5, 0.5),), (1,)), (640, 480), True),
        (Prompts(box=(0, 0, 1, 1)), (640, 480), True),
        (Prompts(((0.5, 0.5),), (1,), (0, 0, 1, 2)), (640, 480), False),
        (Prompts(((0.5, 0.5),), (1,)), (2, 2), False),
        (Prompts(), (640, 480), False),
    ],
)
def test_what_looks_like_shares(prompts, size, like):
    assert like_shares([Asked("1", prompts)], size) is like


def test_a_box_that_was_cut_is_told_beyond_a_pixel():
    whole = Prompts(box=(0.0, 0.0, 60.0, 40.0))
    assert moved(Prompts(box=(-1.0, 0.0, 60.4, 40.0)), whole) == []
    said = moved(Prompts(box=(-1.5, 0.0, 60.0, 40.0)), whole)
    assert said == ["the box -1.5,0,60,40 was cut to the image: 0,0,60,40"]
    assert moved(Prompts(((1, 1),), (1,)), Prompts(((1, 1),), (1,))) == []
