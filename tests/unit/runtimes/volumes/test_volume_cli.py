"""`sam-run` on volumes in .npy files: crop and way back, clicks, files, and what is refused."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from PIL import Image

from exporter.bundle.folder import open_bundle
from exporter.bundle.voxels import Clicks, place_cube
from exporter.errors import ImageError, RequestError
from runtimes.segmenters import open_segmenter
from tests.unit.small_pictures import RGB
from tests.unit.tiny_volume import RADIUS, SIZE


def middle(mask):
    return np.argwhere(mask).mean(0)


@pytest.mark.parametrize(
    ("click", "start"),
    [((3, 8, 5), [0, 0, -3]), ((20, 8, 5), [12, 0, -3]), ((39, 2, 10), [24, 0, -3])],
)
def test_a_ball_is_where_the_click_was(run, values, click, start):
    """The cube is around the click, inside the volume's long axis and around its short one."""
    np.save("v.npy", values)
    point = "{},{},{}".format(*click)
    status, out, err = run("v.npy", "--point", point, "--mask", "m.npy", "--json")
    assert (status, err) == (0, "")
    mask = np.load("m.npy")
    assert (mask.shape, mask.dtype) == (values.shape, np.bool_)
    inside = [RADIUS < at < side - RADIUS for at, side in zip(click, values.shape, strict=True)]
    off = np.abs(middle(mask) - click)
    assert (off[inside] < 0.1).all()
    assert mask[click]
    facts = json.loads(out)
    assert facts["cube"]["start"] == start
    assert facts["masks"][0]["voxels"] == int(mask.sum())
    places = np.argwhere(mask)
    assert facts["masks"][0]["box"] == [*places.min(0), *(places.max(0) + 1)]


def test_a_background_click_takes_away(run, values):
    np.save("v.npy", values)
    run("v.npy", "--point", "20,8,5", "--mask", "one.npy")
    run("v.npy", "--point", "20,8,5", "--point", "20,8,9,0", "--mask", "two.npy")
    one, two = np.load("one.npy"), np.load("two.npy")
    assert one[20, 8, 9]
    assert not two[20, 8, 9]
    assert two[20, 8, 4]


def test_refine_gives_each_click_the_logits_before_it(run, values, volume_folder):
    np.save("v.npy", values)
    clicks = ("--point", "20,8,5", "--point", "22,9,5", "--point", "16,8,5,0")
    assert run("v.npy", *clicks, "--refine", "--save-logits", "all.npy")[0] == 0
    segmenter = open_segmenter(open_bundle(volume_folder))
    given = Clicks(((20, 8, 5), (22, 9, 5), (16, 8, 5)), (1, 1, 0))
    segmenter.set_volume(values, place_cube(values.shape, given.points, SIZE))
    logits = None
    for at in range(3):
        logits = segmenter.predict_clicks(given.alone(at), logits).low_res_masks[0]
    assert np.array_equal(np.load("all.npy")[0], logits)
    assert not np.array_equal(segmenter.predict_clicks(given).low_res_masks[0], logits)


def test_mask_input_and_no_mask_reach_the_graph(run, values):
    np.save("v.npy", values)
    run("v.npy", "--point", "20,8,5", "--save-logits", "a.npy")
    run("v.npy", "--point", "20,8,5", "--no-mask", "--save-logits", "b.npy")
    run("v.npy", "--point", "20,8,5", "--mask-input", "a.npy", "--save-logits", "c.npy")
    first, blank, again = (np.load(f"{name}.npy") for name in "abc")
    assert first.shape == (1, 8, 8, 8)
    np.testing.assert_allclose(blank, first - 0.5, atol=1e-6)
    np.testing.assert_allclose(again, first * 1.1, atol=1e-5)


def test_several_masks_are_several_files(run, values):
    np.save("v.npy", values)
    status, out, _ = run("v.npy", "--point", "20,8,5", "--multimask", "--mask", "m.npy")
    assert status == 0
    masks = [np.load(f"m_{index}.npy") for index in range(3)]
    assert [f"mask {i}: iou" in out for i in range(3)] == [True] * 3
    assert all(mask.any() for mask in masks)


def test_a_montage_is_written_if_nothing_is_asked_for(run, values):
    np.save("scan.npy", values)
    status, out, _ = run("scan.npy", "--point", "20,8,5")
    assert (status, out.splitlines()[-1]) == (0, "scan.overlay.png")
    picture = np.asarray(Image.open("scan.overlay.png"))
    assert (np.ptp(picture.astype(int), axis=-1) > 60).any(), "no colour of a mask"


def test_the_bundle_passes_its_own_check(run):
    assert run("--check")[0] == 0


GREYS = np.arange(8000.0).reshape(20, 20, 20)
NO_POSITIVE = np.full((20, 20, 20), -3, np.float32)


def _with(value):
    values = np.ones((20, 20, 20))
    values[3, 4, 5] = value
    return values


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.ones((20, 20), np.float32), "two axes"),
        (np.ones((20, 20, 20, 2), np.float32), "4 axes"),
        (np.ones((0, 20, 20), np.float32), "no voxels"),
        (_with(np.nan), "1 voxels that are not finite"),
        (_with(np.inf), "not finite"),
        (NO_POSITIVE, "no voxel around the prompts is above 0"),
        (_with(1e302), "up to 1e+302 around the prompts, beyond what float32 can normalise"),
        (_with(-1e302) + GREYS, "beyond what float32 can normalise"),
        (_with(1e200), "beyond what float32 can normalise"),
        (np.full((20, 20, 20), 7), "is 7: there is nothing to see"),
        (np.ones((4, 4, 4), np.complex64), "complex64"),
        (np.ones((20, 20, 3), np.uint8), "has the form of a colour picture"),
    ],
)
def test_a_volume_that_cannot_be(refused, tmp_path, array, says):
    np.save(tmp_path / "v.npy", array)
    assert says in refused("v.npy", "--point", "2,2,2", "--mask", "m.npy")


@pytest.mark.parametrize("content", [b"", b"junk", None], ids=["empty", "junk", "cut short"])
def test_a_damaged_array(refused, tmp_path, values, content):
    np.save(tmp_path / "v.npy", values)
    whole = (tmp_path / "v.npy").read_bytes()
    (tmp_path / "v.npy").write_bytes(whole[: len(whole) // 2] if content is None else content)
    assert "v.npy is damaged" in refused("v.npy", "--point", "2,2,2", "--mask", "m.npy")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give a voxel"),
        (("--point", "40,8,5"), "outside the volume (40 x 16 x 11 voxels"),
        (("--point", "3,-1,5"), "outside the volume"),
        (("--point", "3,4"), "a voxel is I,J,K"),
        (("--point", "0,8,5", "--point", "39,8,5"), "39 voxels apart along axis 0"),
        (("--point", "3,4,5,1,1"), "I,J,K or I,J,K,LABEL in voxels of a volume"),
        (("--point", "3,4,5@dog"), "@NAME is of pictures"),
        (("--box", "1,2,3,4"), "--box is for pictures"),
        (("--everything",), "--everything is for pictures"),
        (("--point", "3,4,5", "--mask", "m.png"), "m.png: the mask of a volume"),
        (("--point", "3,4,5", "--resample", "1.5"), "does not tell the size of its voxels"),
        (("--point", "3,4,5", "--refine", "--multimask"), "leave out --multimask"),
        (("--point", "3,4,5", "--no-mask", "--refine"), "--no-mask is without any mask"),
        (("--point", "3,4,5", "--mask-input", "v.npy"), "refines logits (8, 8, 8)"),
        (("--point", "3,4,5", "--mask", "v.npy"), "different files"),
        (tuple(["--point", "3,4,5"] * 4), "take 5 slots"),
    ],
)
def test_a_request_that_cannot_be(refused, tmp_path, values, arguments, says):
    np.save(tmp_path / "v.npy", values)
    assert says in refused("v.npy", *arguments)


def test_more_clicks_than_slots_can_be_given_one_by_one(run, values):
    np.save("v.npy", values)
    status, _, err = run("v.npy", *["--point", "20,8,5"] * 6, "--refine", "--json")
    assert (status, err) == (0, "")


def test_a_picture_is_no_volume(refused, tmp_path):
    Image.fromarray(RGB).save(tmp_path / "dog.png")
    assert "this bundle segments volumes" in refused("dog.png", "--point", "2,2,1")


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3)])
def test_an_array_of_a_picture_is_no_volume(refused, tmp_path, tiny_folder, shape):
    np.save(tmp_path / "two.npy", np.zeros(shape, np.uint8))
    err = refused("two.npy", "--point", "2,2", bundle=tiny_folder)
    assert f"two.npy is an array {shape}" in err
    assert "volume" not in err


@pytest.mark.parametrize("name", ["v.npy", "v.nii", "V.NII.GZ"])
def test_a_volume_is_no_picture(refused, tmp_path, values, tiny_folder, name):
    np.save(tmp_path / "v.npy", values)
    (tmp_path / "v.npy").rename(tmp_path / name)
    err = refused(name, "--point", "2,2", bundle=tiny_folder)
    assert f"{name} is a volume, and this bundle segments pictures" in err


@pytest.mark.parametrize("option", [("--no-mask",), ("--resample", "1")])
def test_an_option_of_volumes_is_none_of_pictures(refused, tmp_path, tiny_folder, option):
    Image.fromarray(RGB).save(tmp_path / "dog.png")
    err = refused("dog.png", "--point", "2,2", *option, bundle=tiny_folder)
    assert f"{option[0]} is for volumes" in err


@pytest.mark.parametrize("point", ["2,2,5", "1,2,3,1"])
def test_a_voxel_is_no_point_of_a_picture(refused, tmp_path, tiny_folder, point):
    Image.fromarray(RGB).save(tmp_path / "dog.png")
    assert point in refused("dog.png", "--point", point, bundle=tiny_folder)


def test_nifti_without_nibabel(refused, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nibabel", None)
    (tmp_path / "v.nii.gz").write_bytes(b"x")
    assert "pip install 'sam-export[volumes]'" in refused("v.nii.gz", "--point", "1,1,1")


FIRST = ("--point", "20,8,5", "--mask-input", "first.npy")


@pytest.fixture
def first(run, values):
    """Logits of a click in a volume longer than the cube."""
    np.save("v.npy", values)
    assert run("v.npy", "--point", "20,8,5", "--save-logits", "first.npy")[0] == 0


@pytest.mark.usefixtures("first")
def test_logits_of_another_cube_are_refused(run, refused, tmp_path, values):
    """They would be taken for those of the cube around the later click."""
    assert run("v.npy", *FIRST, "--json")[0] == 0
    later = ("--point", "21,8,5", "--mask-input", "first.npy")
    says = refused("v.npy", *later)
    assert "from voxel 12,0,-3 on, and these clicks have theirs from 13,0,-3" in says
    assert "--refine" in says
    np.save(tmp_path / "longer.npy", np.concatenate([values, values]))
    assert "of a volume of 40 x 16 x 11 voxels" in refused("longer.npy", *FIRST)
    (tmp_path / "first.cube.json").write_text("{}")
    assert "first.cube.json is damaged" in refused("v.npy", *FIRST)


@pytest.mark.usefixtures("first")
def test_logits_without_their_cube_are_for_a_volume_within_it(run, refused, tmp_path, values):
    (tmp_path / "first.cube.json").unlink()
    assert "there is no first.cube.json" in refused("v.npy", *FIRST)
    np.save("short.npy", values[:16])
    assert run("short.npy", "--point", "8,8,5", "--mask-input", "first.npy", "--json")[0] == 0


def test_python_sets_a_volume_that_the_cube_holds_whole(volume_folder, values):
    segmenter = open_segmenter(open_bundle(volume_folder))
    given = Clicks(((8, 8, 5),), (1,))
    for asked in (lambda: segmenter.set_image(values), lambda: segmenter.predict([(8, 8, 5)])):
        with pytest.raises(RequestError, match="give set_volume an array of three axes"):
            asked()
    with pytest.raises(RequestError, match=r"place_cube\(values.shape, points, 16\)"):
        segmenter.set_volume(values)
    with pytest.raises(ImageError, match="three axes"):
        segmenter.set_volume(values[0])
    short = values[:13]
    segmenter.set_volume(short)
    found = segmenter.predict_clicks(given)
    segmenter.set_volume(short, place_cube(short.shape, given.points, SIZE))
    assert found.masks[0, 8, 8, 5]
    assert np.array_equal(found.masks, segmenter.predict_clicks(given).masks)
