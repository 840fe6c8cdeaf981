"""A pack is whole, or it is refused."""

from __future__ import annotations

import pytest

from ios_harness.errors import AnswerError
from ios_harness.pack import MAGIC, read_pack, write_pack

FILES = {"answer.json": b'{"answer": 1}', "out-a.bin": bytes(range(256)) * 9, "empty": b""}


@pytest.fixture
def pack(tmp_path):
    path = tmp_path / "a.pack"
    size = write_pack(path, FILES)
    assert size == path.stat().st_size
    return path


def test_what_goes_in_comes_out(pack, tmp_path):
    assert read_pack(pack) == FILES
    (tmp_path / "file").write_bytes(b"of a file")
    write_pack(pack, {"folder/name": tmp_path / "file"})
    assert read_pack(pack) == {"folder/name": b"of a file"}


def test_no_cut_is_taken_for_whole(pack, tmp_path):
    raw = pack.read_bytes()
    cut = tmp_path / "cut.pack"
    for length in {*range(0, len(raw), 41), len(raw) - 1, 8, 16}:
        cut.write_bytes(raw[:length])
        with pytest.raises(AnswerError):
            read_pack(cut)


def test_a_changed_byte_is_found(pack):
    raw = bytearray(pack.read_bytes())
    raw[-5] ^= 1
    pack.write_bytes(raw)
    with pytest.raises(AnswerError, match="damaged on its way"):
        read_pack(pack)


@pytest.mark.parametrize(
    "raw",
    [
        b"PK\x03\x04 a zip of somebody",
        MAGIC + (1 << 62).to_bytes(8, "little"),
        MAGIC + (2).to_bytes(8, "little") + b"[]",
        MAGIC + (4).to_bytes(8, "little") + b"\xff\xfe{}",
    ],
)
def test_what_is_no_pack_is_refused(pack, raw):
    pack.write_bytes(raw)
    with pytest.raises(AnswerError):
        read_pack(pack)
