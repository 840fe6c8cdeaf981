"""NIfTI: orientation, spacing, resampling, the header of a mask, and damaged files."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

nibabel = pytest.importorskip("nibabel", reason="pip install 'sam-export[volumes]'")

CLICK = (12, 8, 5)


def affine_of(order, signs, spacing=(1.5, 1.5, 1.5)):
    """The affine of a file whose axis i runs along the patient's axis order[i]."""
    affine = np.zeros((4, 4))
    for axis, (along, sign) in enumerate(zip(order, signs, strict=True)):
        affine[along, axis] = sign * spacing[axis]
    affine[:3, 3], affine[3, 3] = (7, -3, 11), 1
    return affine


@pytest.fixture
def upright(run, values):
    """The mask of the volume in its canonical orientation, in an .npy file."""
    np.save("v.npy", values)
    assert run("v.npy", "--point", "{},{},{}".format(*CLICK), "--mask", "upright.npy")[0] == 0
    return np.load("upright.npy")


@pytest.mark.parametrize(
    ("order", "signs"),
    [((0, 1, 2), (1, 1, 1)), ((0, 1, 2), (-1, -1, 1)), ((2, 0, 1), (1, -1, 1)),
     ((1, 2, 0), (-1, 1, -1))],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_turned_file_gets_the_same_mask_in_its_own_axes(
    run, values, upright, order, signs, suffix
):
    """File axis i is the patient's axis order[i], backwards where its sign is negative."""
    stored, click = values.transpose(order), [CLICK[axis] for axis in order]
    for axis, sign in enumerate(signs):
        if sign < 0:
            stored = np.flip(stored, axis)
            click[axis] = stored.shape[axis] - 1 - click[axis]
    affine = affine_of(order, signs)
    nibabel.save(nibabel.Nifti1Image(stored, affine), f"v{suffix}")
    point = ",".join(map(str, click))
    status, _, err = run(f"v{suffix}", "--point", point, "--mask", f"m{suffix}")
    assert (status, err) == (0, "")
    found = nibabel.load(f"m{suffix}")
    np.testing.assert_allclose(found.affine, affine)
    assert (found.shape, found.get_data_dtype()) == (stored.shape, np.uint8)
    mask = np.asarray(found.dataobj)
    assert set(np.unique(mask)) == {0, 1}
    assert mask[tuple(click)] == 1
    canonical = np.asarray(nibabel.as_closest_canonical(found).dataobj)
    assert np.array_equal(canonical.astype(bool), upright)


def test_scaled_integers_and_a_series_of_one(run, values, upright):
    image = nibabel.Nifti1Image(values[..., None], affine_of((0, 1, 2), (1, 1, 1)))
    image.header.set_slope_inter(2.0, 0.0)
    nibabel.save(image, "v.nii.gz")
    point = "{},{},{}".format(*CLICK)
    assert run("v.nii.gz", "--point", point, "--mask", "m.nii.gz")[0] == 0
    found = nibabel.load("m.nii.gz")
    assert found.shape == (*values.shape, 1)
    assert np.array_equal(np.asarray(found.dataobj)[..., 0].astype(bool), upright)


def test_a_spacing_that_differs_is_said_and_resampled_when_asked(run):
    """Voxels of 3 mm along the last axis: the ball of 4.5 network voxels is half as many there."""
    values = np.random.default_rng(1).integers(1, 200, (30, 30, 15)).astype(np.int16)
    affine = affine_of((0, 1, 2), (1, 1, 1), (1.5, 1.5, 3.0))
    nibabel.save(nibabel.Nifti1Image(values, affine), "v.nii.gz")
    status, _, err = run("v.nii.gz", "--point", "15,15,7", "--mask", "as_is.npy")
    assert status == 0
    assert "the voxels are not cubes: 1.5 x 1.5 x 3 mm" in err
    assert "--resample 1.5" in err
    status, _, err = run(
        "v.nii.gz", "--point", "15,15,7", "--resample", "1.5", "--mask", "resampled.npy"
    )
    assert (status, err) == (0, "")
    plain, resampled = np.load("as_is.npy"), np.load("resampled.npy")
    assert plain.shape == resampled.shape == values.shape
    tall = [np.ptp(np.argwhere(mask), axis=0) + 1 for mask in (plain, resampled)]
    assert tall[0][0] == tall[0][2] == tall[1][0]
    assert tall[1][2] == pytest.approx(tall[0][2] / 2, abs=1)


def test_a_file_without_orientation_is_taken_as_it_is(run, values, upright):
    image = nibabel.Nifti1Image(values, None)
    image.header.set_zooms((1.5, 1.5, 1.5))
    nibabel.save(image, "v.nii.gz")
    point = "{},{},{}".format(*CLICK)
    status, _, err = run("v.nii.gz", "--point", point, "--mask", "m.npy")
    assert status == 0
    assert "does not tell its orientation" in err
    assert np.array_equal(np.load("m.npy"), upright)


def test_an_array_may_leave_as_nifti(run, values, upright):
    point = "{},{},{}".format(*CLICK)
    assert run("v.npy", "--point", point, "--mask", "m.nii.gz")[0] == 0
    found = nibabel.load("m.nii.gz")
    assert np.array_equal(found.affine, np.eye(4))
    assert np.array_equal(np.asarray(found.dataobj).astype(bool), upright)


@pytest.mark.parametrize(("unit", "sides"), [("meter", 1e-3), ("mm", 1), ("micron", 1e3)])
def test_lengths_are_in_the_unit_of_the_header(run, values, unit, sides):
    for name, spacing in (("known.nii", 1.5), ("large.nii", 1500.0)):
        spacing = (spacing * sides,) * 3
        image = nibabel.Nifti1Image(values, affine_of((0, 1, 2), (1, 1, 1), spacing))
        image.header.set_xyzt_units(unit)
        nibabel.save(image, name)
    point = ("--point", "{},{},{}".format(*CLICK), "--json")
    status, out, err = run("known.nii", *point)
    assert (status, err) == (0, "")
    assert json.loads(out)["volume"]["spacing"] == pytest.approx([1.5] * 3)
    assert "are 1500 x 1500 x 1500 mm" in run("large.nii", *point)[2]


def test_a_file_that_tells_nothing_has_no_millimetres(run, refused, values):
    nibabel.save(nibabel.Nifti1Image(values, None), "v.nii")
    point = ("--point", "{},{},{}".format(*CLICK))
    status, out, err = run("v.nii", *point, "--json")
    assert (status, json.loads(out)["volume"]["spacing"]) == (0, None)
    assert "does not tell its orientation" in err
    assert "mm" not in err
    assert "does not tell the size of its voxels" in refused("v.nii", *point, "--resample", "1.5")


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_an_affine_that_is_not_finite_is_no_masks(run, refused, tmp_path, values, wrong):
    header = nibabel.Nifti1Header()
    header.set_data_shape(values.shape)
    header["sform_code"], header["srow_x"], header["vox_offset"] = 1, (wrong, 0, 0, 0), 352
    raw = header.binaryblock + b"\0" * 4 + values.astype(np.float32).tobytes("F")
    (tmp_path / "v.nii").write_bytes(raw)
    point = ("--point", "{},{},{}".format(*CLICK))
    assert "write the mask to an .npy file" in refused("v.nii", *point, "--mask", "m.nii")
    assert run("v.nii", *point, "--mask", "m.npy")[0] == 0


def test_damaged_files(refused, tmp_path, values):
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "v.nii.gz")
    whole = (tmp_path / "v.nii.gz").read_bytes()
    raw = gzip.decompress(whole)
    damaged = {
        "empty.nii.gz": b"",
        "head.nii.gz": whole[:40],
        "half.nii.gz": whole[: len(whole) // 2],
        "half.nii": raw[: len(raw) // 2],
        "text.nii": b"not a scan",
        "plain.nii.gz": raw,
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        assert name in refused(name, "--point", "1,1,1", "--mask", "m.nii.gz")


def test_a_series_and_colours(refused, tmp_path):
    values = np.ones((6, 6, 6, 2), np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "series.nii")
    assert "4 axes" in refused("series.nii", "--point", "1,1,1")
    colours = np.zeros((6, 6, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colours, np.eye(4)), tmp_path / "colours.nii")
    assert "colours" in refused("colours.nii", "--point", "1,1,1")


def test_a_header_that_claims_too_much(refused, tmp_path):
    header = nibabel.Nifti1Header()
    header.set_data_shape((32_000, 32_000, 32_000))
    header["vox_offset"] = 352
    (tmp_path / "v.nii").write_bytes(header.binaryblock + b"\0\0\0\0")
    assert "at most are read" in refused("v.nii", "--point", "1,1,1")
