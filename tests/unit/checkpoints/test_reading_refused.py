"""Checkpoint files that are damaged, hostile or of another kind."""

from __future__ import annotations

import json
import os
import struct
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from exporter.checkpoints import reading as checkpoint_module
from exporter.checkpoints.reading import read_checkpoint
from exporter.errors import CheckpointError
from tests.unit.checkpoints.small_checkpoints import state

# --------------------------------------------------------------------- damaged or not a checkpoint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
        (b"\x00" * 100, "neither a torch nor a safetensors"),
        (b"PK\x03\x04" + b"\x00" * 100, "truncated"),
        (b"\x80\x02K\x01.", "torch.save did not write it"),
        (b"\x1f\x8b\x08" + b"\x00" * 100, "packed with gzip: unpack it"),
        (b"7z\xbc\xaf\x27\x1c" + b"\x00" * 100, "a 7z archive: unpack it"),
        (
            b"w.pt".ljust(257, b"\x00") + b"ustar\x0000" + b"\x00" * 248,
            "a tar archive around w.pt: unpack it",
        ),
        (b"{}", "neither"),
    ],
)
def test_what_is_no_checkpoint_is_told(tmp_path, content, message):
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_every_truncation_is_an_error_of_ours(tmp_path, kind):
    path = tmp_path / "x"
    if kind == "safetensors":
        save_file(state(), path)
    else:
        torch.save(state(), path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    for size in (*range(1, len(whole), max(len(whole) // 60, 1)), len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError):
            read_checkpoint(path)
    path.write_bytes(whole[:-1])
    expected = "truncated" if kind == "zip" else f"expected .*{len(whole)} bytes, {len(whole) - 1}"
    with pytest.raises(CheckpointError, match=expected):
        read_checkpoint(path)


def test_a_changed_byte_fails_the_crc(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"w": torch.full((1000,), 2.0)}, path)
    data = bytearray(path.read_bytes())
    data[data.index(struct.pack("<f", 2.0) * 4)] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="fails its CRC"):
        read_checkpoint(path)


def test_a_compressed_zip_is_not_unpacked(tmp_path):
    torch.save({"w": torch.zeros(1_000_000)}, tmp_path / "x.pt")
    bomb = tmp_path / "bomb.pt"
    with (
        zipfile.ZipFile(tmp_path / "x.pt") as source,
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert bomb.stat().st_size < 10_000
    with pytest.raises(CheckpointError, match="compressed entries"):
        read_checkpoint(bomb)


def test_a_zip_that_claims_more_than_it_has(tmp_path):
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02}.")
        archive.writestr("x/data/0", b"1234")
        archive.filelist[1].file_size = archive.filelist[1].compress_size = 10**12
    with pytest.raises(CheckpointError, match=r"claims 10000000000.. bytes"):
        read_checkpoint(path)


def test_other_zips_are_refused(tmp_path):
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/constants.pkl", b"\x80\x02).")
    with pytest.raises(CheckpointError, match="TorchScript"):
        read_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "text")
    with pytest.raises(CheckpointError, match=r"torch\.save did not write it"):
        read_checkpoint(path)


# ----------------------------------------------------------------------------------------- hostile


class Runs:
    """Unpickles as a shell command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_file_runs_nothing(tmp_path, zipped):
    marker, path = tmp_path / "marker", tmp_path / "x.pt"
    value = {**state(), "extra": Runs(f"touch {marker}")}
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        CheckpointError, match=r"x\.pt asks to run posix\.system; nothing was executed"
    ):
        read_checkpoint(path)
    assert not marker.exists()


def test_a_message_is_one_printable_line(tmp_path):
    path = tmp_path / "x.pt"
    for name in ("bad\x1b[2J\nname", "n" * 5000):
        torch.save({name: torch.ones(2)}, path)
        with pytest.raises(CheckpointError, match="impossible name") as caught:
            read_checkpoint(path)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("zipped", [True, False])
def test_a_small_storage_does_not_become_a_huge_tensor(tmp_path, zipped):
    path = tmp_path / "x.pt"
    value = {"w": torch.ones(1).expand(100_000, 100_000)}
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"tensor w .* larger than its storage of 1 elements"):
        read_checkpoint(path)


def test_many_names_for_one_storage_do_not_add_up(tmp_path):
    path, shared = tmp_path / "x.pt", torch.ones(100_000)
    torch.save({f"w{i}": shared for i in range(50)}, path)
    with pytest.raises(CheckpointError, match="describes 20000000 bytes of tensors"):
        read_checkpoint(path)


def test_a_legacy_storage_that_claims_terabytes(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"w": torch.ones(77)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<q", 77), struct.pack("<q", 10**12)))
    with pytest.raises(CheckpointError, match="truncated: expected at least 4000000000"):
        read_checkpoint(path)


def test_a_file_over_the_limit_is_not_read(tmp_path, monkeypatch):
    torch.save(state(), tmp_path / "x.pt")
    monkeypatch.setattr(checkpoint_module, "MOST_BYTES", 100)
    with pytest.raises(CheckpointError, match="at most 100 are read"):
        read_checkpoint(tmp_path / "x.pt")


# --------------------------------------------------------- tensors of other kinds, and safetensors


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_values_that_are_no_numbers_are_named(tmp_path, value, dtype):
    weight = torch.ones(5, dtype=dtype)
    weight[3] = value
    torch.save({"fine": torch.ones(2), "bad.weight": weight}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"tensor bad\.weight holds NaN or infinite"):
        read_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize(
    "dtype", [torch.complex64, torch.bool, torch.int8, torch.uint8, torch.uint16]
)
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_other_dtypes_are_refused_by_name(tmp_path, dtype, kind):
    path, value = tmp_path / "x", {"w": torch.ones(8).to(dtype)}
    if kind == "safetensors":
        save_file(value, path)
    else:
        torch.save(value, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(CheckpointError, match=f"tensor w is {str(dtype)[6:]};"):
        read_checkpoint(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["sparse", "quantised", "meta"])
def test_tensors_of_other_kinds_are_refused(tmp_path, kind):
    value = {
        "sparse": lambda: torch.eye(3).to_sparse(),
        "quantised": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        "meta": lambda: torch.ones(3, device="meta"),
    }[kind]()
    torch.save({"w": value}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=f"tensor w is {kind}"):
        read_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (struct.pack("<Q", 10**15) + b"{}", "header alone needs"),
        (struct.pack("<Q", 2) + b"{]", "damaged"),
        (struct.pack("<Q", 2) + b"{}", "holds no tensors"),
    ],
)
def test_absurd_safetensors_headers(tmp_path, header, message):
    path = tmp_path / "x.safetensors"
    path.write_bytes(header)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)


def test_overlapping_safetensors_are_refused(tmp_path):
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    header = json.dumps({"a": entry, "b": entry}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 8)
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(path)
