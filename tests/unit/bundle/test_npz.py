"""Goldens that would cost memory are refused by arithmetic, damaged ones in one line."""

from __future__ import annotations

import io
import resource
import zipfile

import numpy as np
import pytest

from exporter.bundle.goldens import Goldens
from exporter.bundle.npz import list_arrays, read_array
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.errors import BundleError

IMAGE = TensorSpec("image", (1, 3, 64, 64), "float32", "NCHW")
EMBEDDINGS = TensorSpec("image_embeddings", (1, 4), "float32", "BC")
SPEC = GraphSpec("image_encoder", (IMAGE,), (EMBEDDINGS,), "image")
KEY = "image_encoder/scene/image"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "goldens.npz"


def store(path, entries, how=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in entries:
            with archive.open(name, "w", force_zip64=True) as stream:
                for part in content:
                    stream.write(part)


def header(shape, dtype="<f4", *, order=False, end=""):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": dtype, "fortran_order": order, "shape": shape}
    )
    return stream.getvalue().replace(b" \n", end.encode() + b" \n")


def open_it(path):
    return Goldens.open(path, [SPEC])


def test_a_decompression_bomb_is_not_inflated(path):
    gigabyte = (bytes(2**20) for _ in range(1024))
    store(path, [(f"{KEY}.npy", (header((2**28,)), *gigabyte))])
    assert path.stat().st_size < 2 * 2**20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BundleError, match="the manifest's shapes allow 98304"):
        open_it(path)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 100


def test_many_small_ones_are_one_too(path):
    entries = [(f"image_encoder/case_{i}/image.npy", (bytes(98304),)) for i in range(600)]
    store(path, entries)
    with pytest.raises(BundleError, match="bytes, and the manifest's shapes allow"):
        open_it(path)


def test_too_many_entries_are_refused(path):
    store(path, [(f"{i}.npy", ()) for i in range(5000)])
    with pytest.raises(BundleError, match="claims to hold 5000 arrays"):
        open_it(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_that_is_there_twice_is_refused(path):
    store(path, [(f"{KEY}.npy", (header((1,)), bytes(4)))] * 2)
    with pytest.raises(BundleError, match="holds an array twice"):
        open_it(path)


def test_an_array_that_no_graph_has_is_refused(path):
    store(path, [("other/scene/image.npy", (bytes(2**20),)), ("evil.pkl", (b"cos\nsystem\n",))])
    with pytest.raises(BundleError, match=r"holds 'other/scene/image\.npy', which is none of its"):
        open_it(path)
    store(path, [("end_to_end/*/evil.npy", (header((1,), "|O"), bytes(8)))])
    with pytest.raises(BundleError, match=r"holds 'end_to_end/\*/evil\.npy', which is none of its"):
        open_it(path)


DAMAGED = {
    "a giant shape": header((2**40, 2**40)),
    "a negative side": header((-1, 4)),
    "more numbers than bytes": header((64,)) + bytes(8),
    "fewer numbers than bytes": header((1,)) + bytes(8),
    "objects": header((1,), "|O") + bytes(8),
    "text": header((1,), "<U4") + bytes(16),
    "a structure": header((1,), [("a", "<f4")]) + bytes(4),
    "a header that is code": header((1,), end=", 'x': __import__('os')"),
    "a header of another kind": b"\x93NUMPY\x01\x00\x04\x00{}  ",
    "a deep header": b"\x93NUMPY\x01\x00\x00\x08" + b"(" * 2048,
    "a long header": b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b"[" * 64,
    "floats of one byte": header((4,), "<f4").replace(b"<f4", b"<f1") + bytes(4),
    "another version": b"\x93NUMPY\x03\x00" + bytes(64),
    "no array": b"hello",
    "nothing": b"",
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_array_is_one_line(path, case):
    store(path, [(f"{KEY}.npy", (DAMAGED[case],))])
    with pytest.raises(BundleError, match=r"goldens\.npz cannot be read") as caught:
        open_it(path).array("image_encoder", "scene", "image")
    assert str(caught.value).isprintable()


def test_columns_first_is_read_as_stored(path):
    array = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4))
    np.savez(path, **{KEY: array})
    entry = list_arrays(path, lambda _: 100, 100 + 4096)[KEY]
    np.testing.assert_array_equal(read_array(path, entry), array)


def test_a_size_that_the_directory_understates_gives_no_more_than_it_says(path):
    np.savez_compressed(path, **{KEY: np.zeros((1, 3, 64, 64), np.float32)})
    content = path.read_bytes()
    at = content.rindex(b"PK\x01\x02")
    lying = content[: at + 24] + (200).to_bytes(4, "little") + content[at + 28 :]
    path.write_bytes(lying)
    with pytest.raises(BundleError, match="cannot be read"):
        open_it(path).array("image_encoder", "scene", "image")
