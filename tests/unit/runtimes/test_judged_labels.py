"""Objects that a user labelled: pictures of labels, COCO's polygons and runs, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from exporter.errors import RequestError
from runtimes.judged_labels import Labelled, read_coco, read_label_picture

SIZE = (6, 4)
RUNS = [9, 2, 2, 2, 9]  # columns 2 and 3, the two rows in the middle
MASK = np.zeros((4, 6), np.bool_)
MASK[1:3, 2:4] = True


def labels(folder, values):
    path = folder / "a_mask.png"
    Image.fromarray(values).save(path)
    return path


def test_every_value_but_zero_is_an_object(tmp_path):
    values = np.zeros((4, 6), np.uint8)
    values[0], values[3, 2:] = 3, 7
    first, second = read_label_picture(labels(tmp_path, values), SIZE)
    assert np.array_equal(first, values == 3)
    assert np.array_equal(second, values == 7)


def test_white_alone_is_an_object_and_beside_others_a_border(tmp_path):
    values = np.zeros((4, 6), np.uint8)
    values[0] = 255
    (only,) = read_label_picture(labels(tmp_path, values), SIZE)
    assert np.array_equal(only, values == 255)
    values[1] = 1
    (only,) = read_label_picture(labels(tmp_path, values), SIZE)
    assert np.array_equal(only, values == 1)


def test_another_size_or_colours_are_refused(tmp_path):
    path = labels(tmp_path, np.zeros((4, 6), np.uint8))
    with pytest.raises(RequestError, match=r"a_mask\.png is 6 x 4, and its picture 8 x 4"):
        read_label_picture(path, (8, 4))
    Image.new("RGB", SIZE).save(path)
    with pytest.raises(RequestError, match=r"has colours \(RGB\): save labels as one channel"):
        read_label_picture(path, SIZE)
    path.write_bytes(b"no picture")
    with pytest.raises(RequestError, match="cannot be read as labels"):
        read_label_picture(path, SIZE)


def test_polygons_and_both_forms_of_runs_draw_the_same():
    square = [[2, 1, 4, 1, 4, 3, 2, 3]]
    letters = "92207"  # 9, 2, 2, then 2 and 9 as differences to the ones two before: 0 and 7
    for segmentation in (
        square,
        {"size": [4, 6], "counts": RUNS},
        {"size": [4, 6], "counts": letters},
    ):
        assert np.array_equal(Labelled("x", SIZE, segmentation).mask(), MASK)


def test_long_and_falling_runs_are_read_as_coco_writes_them():
    """100, 30, 20, 10: 100 is 4 and 3 times 32; 10 is written as -20, which is 12 less 32."""
    mask = Labelled("x", (16, 10), {"size": [10, 16], "counts": "T3n0d0\\O"}).mask()
    lengths = np.diff(np.flatnonzero(np.diff(mask.T.ravel().astype(int), prepend=2, append=2)))
    assert lengths.tolist() == [100, 30, 20, 10]


@pytest.mark.parametrize(
    ("segmentation", "said"),
    [
        ({"size": [6, 4], "counts": RUNS}, r"runs of size \[6, 4\] in a picture of height and wid"),
        ({"size": [4, 6], "counts": [1, 2]}, "runs are not of 24 pixels together"),
        ({"size": [4, 6], "counts": [-1, 25]}, "runs are not of 24 pixels together"),
        ({"size": [4, 6], "counts": "\n"}, "no text that COCO writes"),
        ({"size": [4, 6], "counts": "o"}, "end in the middle of a number"),
        ([[1, 2, 3, 4]], "three corners at least"),
        ([["a"] * 6], "three corners at least"),
        ({"runs": []}, "no polygons and no runs"),
        ("text", "no polygons and no runs"),
    ],
)
def test_a_broken_segmentation_is_named(segmentation, said):
    with pytest.raises(RequestError, match=f"^here: .*{said}"):
        Labelled("here", SIZE, segmentation).mask()


def coco(folder, **changes):
    (folder / "a.jpg").touch()
    data = {
        "images": [{"id": 5, "file_name": "train/a.jpg", "width": 6, "height": 4}],
        "categories": [{"id": 1, "name": "shoe"}],
        "annotations": [{"image_id": 5, "category_id": 1, "segmentation": []}],
    }
    path = folder / "coco.json"
    path.write_text(json.dumps(data | changes))
    return path


def test_annotations_belong_to_their_pictures(tmp_path):
    ((name, (one,)),) = read_coco(coco(tmp_path)).items()
    assert (name, one.size) == ("a.jpg", SIZE)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"annotations": [{"image_id": 5, "category_id": 2, "segmentation": []}]}, "category 2"),
        ({"annotations": [{"image_id": 6, "category_id": 1, "segmentation": []}]}, "on image 6"),
        ({"annotations": [{"category_id": 1}]}, r"annotations\[0\] has no image_id"),
        ({"categories": {}}, "no list of categories"),
        ({"categories": [{"id": []}]}, "an id that is no number"),
        ({"images": [{"id": 5, "file_name": "b.jpg"}]}, r"names 'b\.jpg', which is not in that"),
        (
            {"images": [{"id": 5, "file_name": "a.jpg", "width": 0, "height": 4}]},
            "no width and height",
        ),
    ],
)
def test_what_annotations_lack_is_named(tmp_path, changes, said):
    with pytest.raises(RequestError, match=said):
        read_coco(coco(tmp_path, **changes))


@pytest.mark.parametrize("text", ["", "[]", "[[" * 100_000])
def test_a_file_that_holds_no_annotations(tmp_path, text):
    path = tmp_path / "coco.json"
    path.write_text(text)
    with pytest.raises(RequestError, match="coco"):
        read_coco(path)
