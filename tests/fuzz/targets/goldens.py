"""goldens.npz: a zip of arrays, read as `sam-run --check` reads those of the corpus's bundle."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

from exporter.bundle.agreement import END_TO_END
from exporter.bundle.end_to_end import AFTER, PICTURE, Answer, Ask, check_facts, prompt_inputs
from exporter.bundle.goldens import SHARED, Goldens
from exporter.bundle.manifest import Manifest
from exporter.bundle.preprocess import fit
from exporter.errors import BundleError
from tests.fuzz.target import CORPUS, Target

MANIFEST = Manifest.from_json((CORPUS / "manifest" / "slots.json").read_text())
SIZE = (86, 55)
"""Width and height of the picture in the corpus."""


def _read(data: bytes, folder: Path) -> object:
    (folder / "goldens.npz").write_bytes(data)
    specs = [graph.spec for graph in MANIFEST.graphs]
    goldens = Goldens.open(folder / "goldens.npz", specs)
    for spec in specs:
        for case in goldens.cases(spec.name):
            for tensor in spec.outputs:
                goldens.expected(spec, case, tensor.name)
    frame = fit(*SIZE, MANIFEST.preprocess)
    for case in goldens.cases(END_TO_END):
        ask = Ask.of(goldens, case)
        if not case.startswith(AFTER):
            prompt_inputs(MANIFEST, ask.prompts, frame)
        Answer.read(goldens, case, SIZE)
    if goldens.array(END_TO_END, SHARED, PICTURE).ndim != 3:
        raise BundleError("no picture")
    check_facts(MANIFEST, goldens)
    return goldens


def _repair(data: bytes) -> bytes:
    """Pack the members again, so that checksums and sizes fit what they hold."""
    packed = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(packed, "w") as new:
            for info in old.infolist()[:100]:
                with old.open(info) as stream:
                    stream._expected_crc = None
                    content = stream.read(1 << 16)
                new.writestr(info.filename, content, zipfile.ZIP_STORED)
    except (ValueError, OSError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return data
    return packed.getvalue()


TARGET = Target(
    _read,
    words=(
        b"\x93NUMPY\x01\x00",
        b"\x93NUMPY\x02\x00",
        b"'descr': '|O'",
        b"'descr': '<U9'",
        b"'fortran_order': True",
        b"(9999999999, 9999999999)",
        b"(-1,)",
        b"()",
        b"end_to_end/*/picture.npy",
        b"../../x.npy",
        b"PK\x03\x04",
        b"PK\x01\x02",
        b"PK\x05\x06",
        b"\xff\xff\xff\xff",
        b"\x00\x00\xc0\x7f",
    ),
    repair=_repair,
)
