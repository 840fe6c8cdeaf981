"""What is said of a zip that cannot be opened: cut short, not torch's, or damaged."""

from __future__ import annotations

import pytest
import torch

from exporter.checkpoints.reading import read_checkpoint
from exporter.errors import CheckpointError

ENTRY, VERSION_NEEDED = b"PK\x01\x02", 6
END_BYTES = 22


@pytest.fixture
def path(tmp_path):
    torch.save({"w": torch.zeros(3)}, tmp_path / "x.pt")
    return tmp_path / "x.pt"


def refusal(path, content):
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    return str(caught.value)


@pytest.mark.parametrize("missing", [1, 2, END_BYTES - 1, END_BYTES, END_BYTES + 1, 200])
def test_a_cut_file_is_truncated(path, missing):
    whole = path.read_bytes()
    said = refusal(path, whole[:-missing])
    assert f"truncated: its {len(whole) - missing} bytes have no zip directory" in said
    assert "download it again" in said


def test_a_directory_that_cannot_be_read_is_damage(path):
    whole = path.read_bytes()
    said = refusal(path, whole.replace(ENTRY, b"PK\xff\xff", 1))
    assert "truncated" not in said
    assert "damaged: its end is there, but its zip directory cannot be read (bad magic" in said
    assert "compare its sha256" in said


def test_a_zip_of_a_later_version_is_named_as_such(path):
    content = bytearray(path.read_bytes())
    content[content.index(ENTRY) + VERSION_NEEDED] = 99
    said = refusal(path, bytes(content))
    assert "truncated" not in said
    assert "download" not in said
    assert "zip as torch.save writes none (zip file version 9.9); save it again" in said
