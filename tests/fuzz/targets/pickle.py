"""The pickle inside a zip that torch.save wrote; its storages are there and whole."""

from __future__ import annotations

import contextlib
import io
import pickletools
import zipfile
from pathlib import Path

import torch  # noqa: F401 - here, so that no input has to pay for it

from exporter.checkpoints.reading import read_checkpoint
from tests.fuzz.target import Target

_STORAGES = 8


def zipped(pickled: bytes) -> bytes:
    """A zip as torch.save writes it, around any pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key in range(_STORAGES):
            archive.writestr(f"archive/data/{key}", bytes(256))
    return stream.getvalue()


def _read(data: bytes, folder: Path) -> object:
    file = folder / "checkpoint.pt"
    file.write_bytes(zipped(data))
    return read_checkpoint(file)


_TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x10tQK\x00K\x04\x85K\x01\x85\x89}tR"
)
_OPCODES = b"().0123]}NabdehijlpqrstuQRG\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94"


def _places(data: bytes) -> list[int]:
    """Where opcodes begin, as far as the pickle can be followed."""
    found = []
    with contextlib.suppress(Exception):
        found += [place for _opcode, _argument, place in pickletools.genops(data) if place]
    return found


TARGET = Target(
    _read,
    places=_places,
    words=(
        _TENSOR,
        b"X\x01\x00\x00\x00w" + _TENSOR + b"s",
        *(bytes([opcode]) for opcode in _OPCODES),
        b"q\x00",
        b"h\x00",
        b"h\x00h\x01b",
        b"h\x00h\x01R",
        b"h\x01h\x00\x85R",
        b"j\xff\xff\xff\xff",
        b"\x8b\x10\x00\x00\x00" + b"\x7f" * 16,
        b"ctorch\nSize\n",
        b"ccollections\nOrderedDict\n",
        b"cbuiltins\nset\n",
        b"cbuiltins\ngetattr\n",
        b"ccopyreg\n_reconstructor\n",
        b"ctorch._utils\n_rebuild_parameter\n",
        b"ctorch._tensor\n_rebuild_from_type_v2\n",
        b"ctorch._utils\n_rebuild_tensor_v3\n",
        b"X\x08\x00\x00\x00_modules",
        b"X\x0b\x00\x00\x00_parameters",
    ),
)
