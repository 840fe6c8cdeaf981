"""`prompts.json` beside pictures to calibrate on."""

from __future__ import annotations

import json

import pytest

from exporter.bundle.prompts import Prompts
from exporter.errors import RequestError
from runtimes import calibration_prompts
from runtimes.calibration_prompts import read_prompts


@pytest.fixture
def written(tmp_path):
    """Write a prompts.json beside dog.jpg."""
    (tmp_path / "dog.jpg").write_bytes(b"x")

    def write(content):
        path = tmp_path / "prompts.json"
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, "utf-8")
        return path

    return write


def test_points_with_and_without_a_label_and_a_box(written):
    given = {
        "dog.jpg": [{"points": [[3, 4], [5.5, 6, 0]], "box": [1, 2, 3, 4]}, {"box": [0, 0, 9, 9]}]
    }
    assert read_prompts(written(given)) == {
        "dog.jpg": (
            Prompts(((3, 4), (5.5, 6)), (1, 0), (1, 2, 3, 4)),
            Prompts(box=(0, 0, 9, 9)),
        )
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is no JSON"),
        ("\udcff", "is no JSON"),
        ("[" * 100_000, "nested too deep"),
        ("[]", "should hold an object"),
        ('{"dog.jpg": [{"box": [NaN, 1, 2, 3]}]}', "NaN is no number"),
        ('{"dog.jpg": [], "dog.jpg": []}', "'dog.jpg' is there twice"),
        ({"cat.jpg": [{"box": [1, 2, 3, 4]}]}, "names 'cat.jpg', which is not in that folder"),
        ({"../dog.jpg": []}, "is not in that folder"),
        ({"x" * 5000: []}, "is not in that folder"),
        ({"dog.jpg": {}}, "should be a list of objects"),
        ({"dog.jpg": []}, "should be a list of objects"),
        ({"dog.jpg": [{"box": [1, 2, 3, 4]}] * 17}, "17 objects: give 16 at most"),
        ({"dog.jpg": [{"boxes": [1, 2, 3, 4]}]}, "unknown key 'boxes'"),
        ({"dog.jpg": [{"a\u001b": 1}]}, r"unknown key 'a\\x1b'"),
        ({"dog.jpg": [{}]}, "is not like that"),
        ({"dog.jpg": [[1, 2]]}, "is not like that"),
        ({"dog.jpg": [{"points": [[1]]}]}, "X, Y or X, Y, LABEL each"),
        ({"dog.jpg": [{"points": [[1, 2, 5]]}]}, "LABEL is 1"),
        ({"dog.jpg": [{"points": [["1", 2]]}]}, "should be numbers"),
        ({"dog.jpg": [{"points": [[True, 2]]}]}, "should be numbers"),
        ({"dog.jpg": [{"box": [1, 2, 3]}]}, "X0, Y0, X1, Y1"),
        ('{"dog.jpg": [{"box": [1, 2, 3, 1%s]}]}' % ("0" * 400), "should be numbers"),
        ('{"dog.jpg": [{"box": [1, 2, 3, 1%s]}]}' % ("0" * 9000), "is no JSON"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_a_line(written, content, said):
    if content == "\udcff":
        path = written("")
        path.write_bytes(b"\xff\xfe{")
    else:
        path = written(content)
    with pytest.raises(RequestError, match=said) as caught:
        read_prompts(path)
    assert str(caught.value).isprintable()


def test_a_large_file_is_not_parsed(written, monkeypatch):
    monkeypatch.setattr(calibration_prompts, "MOST_BYTES", 1 << 20)
    with pytest.raises(RequestError, match="more than 1 MB"):
        read_prompts(written('{"dog.jpg": "%s"}' % ("x" * (1 << 20))))
