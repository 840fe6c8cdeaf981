"""Small files that would cost hours or gigabytes are refused by arithmetic, in one line."""

from __future__ import annotations

import json
import struct
import time
import zipfile

import pytest

from exporter.checkpoints.budget import MOST_TENSORS, Budget
from exporter.checkpoints.pickled import read_pickle
from exporter.checkpoints.reading import read_checkpoint
from exporter.errors import CheckpointError
from tests.unit.checkpoints.opcodes import (
    call,
    legacy,
    name,
    row,
    state,
    storage,
    tensor,
    text,
    whole,
    zipped,
)

LONG_LIST = b"]q\x00(" + b"N" * 100_000 + b"e"
LONG_DICT = b"}q\x00(" + b"".join(b"M" + struct.pack("<H", i) + b"N" for i in range(50_000)) + b"u"
PAIRS = b"]q\x00(" + b"K\x01N\x86" * 50_000 + b"e"
FEW = b"(" + b"K\x01" * 300_000 + b"tq\x00"
SHARED = b"}q\x06(" + b"".join(text(f"m{i}") + tensor() for i in range(2000)) + b"u"
DOUBLED = row(text("a")) + b"2\x86" * 60
"""A pair of a pair of a pair: 2**60 texts as soon as somebody prints it."""
DEEP = b")" + b"\x85" * 100_000


def many(times: int, piece: bytes, before: bytes = b"") -> bytes:
    """A list of what a piece makes."""
    return b"\x80\x04" + before + b"(" + piece * times + b"l."


def record(*items: bytes) -> bytes:
    """A module whose state has these keys and values."""
    return name("a.Module") + b")\x81}(" + b"".join(items) + b"ub"


CHILDREN = b"}(" + b"".join(text(f"m{i}") + b"h\x05" for i in range(20_000)) + b"u"
HEIRS = b"".join(text(f"m{i}") + record(text("_parameters"), b"h\x06") for i in range(5000))
PICKLES = {
    "one list, copied by 20,000 sizes": many(20_000, name("torch.Size") + b"h\x00\x85R", LONG_LIST),
    "one list, copied by 20,000 sets": many(
        20_000, name("builtins.set") + b"h\x00\x85R", LONG_LIST
    ),
    "one list of pairs, made 20,000 dictionaries": many(
        20_000, name("collections.OrderedDict") + b"h\x00\x85R", PAIRS
    ),
    "one dictionary as the state of 200,000 updates": many(
        200_000, b"h\x01h\x00b0", LONG_DICT + name("a.Module") + b")\x81q\x01"
    ),
    "one dictionary as the state of 20,000 objects": many(
        20_000, name("a.Module") + b")\x81h\x00b", LONG_DICT
    ),
    "300,000 arguments of 20,000 calls": many(
        20_000, name("torch._utils._rebuild_parameter") + b"h\x00R", FEW
    ),
    "300,000 parts of 20,000 persistent ids": many(20_000, b"h\x00Q", FEW),
    "a shape of 100,000 sides": many(
        500,
        call("torch._utils._rebuild_tensor_v2", storage(text("0")), b"K\x00h\x00h\x00"),
        LONG_LIST,
    ),
    "a million sets": many(1_000_000, b"\x8f"),
    "a million marks": b"\x80\x02" + b"(" * 1_000_000 + b".",
    "a tensor type inside itself": many(
        1, call("torch._tensor._rebuild_from_type_v2", b"h\x00", b"N", b"N", b"N"),
        name("torch._tensor._rebuild_from_type_v2") + b"q\x00",
    ),
    "an integer of a million bytes": b"\x80\x02" + whole(256**1_000_000) + b".",
    "a million digits": b"\x80\x02I" + b"9" * 1_000_000 + b"\n.",
    "a class whose name has a megabyte": b"\x80\x02c" + b"a" * 1_000_000 + b"\nb\n.",
    "a class called by a doubled pair": b"\x80\x04" + DOUBLED + text("x") + b"\x93.",
    "a call of a doubled pair": b"\x80\x02" + DOUBLED + b")R.",
    "a storage called by a doubled pair": state({"w": tensor(key=DOUBLED)}),
    "a storage called by a deep tuple": state({"w": tensor(key=DEEP)}),
    "a storage called by an integer of 6,000 digits": state({"w": tensor(key=whole(10**2400))}),
    "a side of 6,000 digits": state({"w": tensor((10**2400,))}),
    "no elements, and a side of 6,000 digits": state({"w": tensor((0, 10**2400), (1, 1))}),
    "no elements, and sides that overflow": state({"w": tensor((0, 2**39, 2**39), (1, 1, 1))}),
    "elements that overflow": state({"w": tensor((2**32, 2**32), (0, 0))}),
    "terabytes by a stride of 0": state({"w": tensor((2**19, 2**19), (0, 0))}),
    "a negative stride": state({"w": tensor((4,), (-1,), offset=3)}),
    "a negative offset": state({"w": tensor((4,), offset=-3)}),
    "an offset that overflows": state({"w": tensor((4,), offset=2**63)}),
    "a storage of 2**62 elements": state({"w": tensor((4,), numel=2**62)}),
    "a rank of 1,000": state({"w": tensor((1,) * 1000, (1,) * 1000)}),
    "a name of 5 MB": state({"w" * 5_000_000: tensor((99_999,))}),
    "a module of 20,000 children that are itself": (
        b"\x80\x02" + name("a.Module") + b")\x81q\x05}" + text("_modules") + CHILDREN + b"sb."
    ),
    "2,000 parameters in each of 5,000 modules": (
        b"\x80\x02"
        + record(text("_parameters"), SHARED, text("_modules"), b"}(" + HEIRS + b"u")
        + b"."
    ),
    "2,000 tensors under each of 5,000 keys": (
        b"\x80\x02}(" + text("a") + SHARED
        + b"".join(text(f"a{i}") + b"h\x06" for i in range(5000)) + b"u."
    ),
    "more tensors than any checkpoint has": many(MOST_TENSORS + 1, b"h\x00h\x01R",
        name("torch._utils._rebuild_tensor_v2") + b"q\x00"
        + row(storage(text("0")), b"K\x00", b")", b")") + b"q\x01"),
}  # fmt: skip


def refused(path, content: bytes) -> str:
    """How a file is refused; it must not take long."""
    path.write_bytes(content)
    start = time.process_time()
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    # On an idle machine none takes a second; neighbours on the same cores make that three.
    assert time.process_time() - start < 3.0
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 2000
    return message


@pytest.mark.parametrize("kind", PICKLES)
def test_a_pickle_that_means_more_than_it_is(tmp_path, kind):
    refused(tmp_path / "x.pt", zipped(PICKLES[kind]))


def test_what_a_budget_allows_grows_with_the_file():
    pickled = many(20_000, b"h\x00\x85", b"]q\x00")
    read_pickle(pickled, 0, Budget(len(pickled)))
    small = Budget(0)
    small.containers = 20_000
    with pytest.raises(CheckpointError, match="makes more objects"):
        read_pickle(pickled, 0, small)
    assert Budget(10**9).containers > 100 * Budget(0).containers


EMPTY = b"\x80\x02](" + b"e."
LEGACY = {
    "a storage of 2**62 elements": legacy(
        state({"w": tensor()}), b"\x80\x02](" + text("0") + b"e.", struct.pack("<q", 2**62)
    ),
    "a storage of less than nothing": legacy(
        state({"w": tensor()}), b"\x80\x02](" + text("0") + b"e.", struct.pack("<q", -5)
    ),
    "one storage 100,000 times": legacy(
        state({"w": tensor()}), b"\x80\x02](" + text("0") * 100_000 + b"e.", bytes(800_000)
    ),
    "a storage called by a deep tuple": legacy(
        state({"w": tensor()}), b"\x80\x02](" + DEEP + b"e.", bytes(72)
    ),
    "a storage that is not there": legacy(state({"w": tensor()}), EMPTY, b""),
}


@pytest.mark.parametrize("kind", LEGACY)
def test_a_legacy_file_that_claims_more_than_it_is(tmp_path, kind):
    refused(tmp_path / "x.pt", LEGACY[kind])


def safetensors(header: bytes, body: bytes = bytes(16)) -> bytes:
    return struct.pack("<Q", len(header)) + header + body


def entry(shape: object = (4,), end: object = 16, dtype: object = "F32") -> bytes:
    return json.dumps({"dtype": dtype, "shape": shape, "data_offsets": [0, end]}).encode()


HEADERS = {
    "10**7 empty lists": (b'{"w":[' + b"[]," * 10**7 + b"[]]}", "more than 50000 tensors"),
    "10**7 metadata": (b'{"__metadata__":{' + b'"":"",' * 10**7 + b'"a":""}}', "more than 50000"),
    "a nest of 10**5 lists": (b'{"w":' + b"[" * 10**5 + b"]" * 10**5 + b"}", "nests too deep"),
    "5,000 digits": (b'{"w":' + entry().replace(b"4", b"9" * 5000) + b"}", "of 5000 digits"),
    "NaN": (b'{"w":' + entry().replace(b"4", b"NaN") + b"}", "NaN is no number"),
    "a fraction": (b'{"w":' + entry((4.0,)) + b"}", "no whole number"),
    "a truth value": (b'{"w":' + entry((True,), 4) + b"}", "no whole number"),
    "a name twice": (b'{"w":' + entry() + b',"w":' + entry() + b"}", "holds w twice"),
    "a negative side": (b'{"w":' + entry((-4,)) + b"}", "no whole number"),
    "sides that overflow": (b'{"w":' + entry((2**39, 2**39, 0), 0) + b"}", "impossible sides"),
    "a rank of 1,000": (b'{"w":' + entry((1,) * 1000, 4) + b"}", "impossible sides"),
    "bytes that overflow": (b'{"w":' + entry((4,), 10**30) + b"}", "no whole number"),
    "no dtype": (b'{"w":' + entry(dtype=["F32"]) + b"}", "has no dtype"),
    "an escape as dtype": (b'{"w":' + entry(dtype="\x1b]0;") + b"}", r"is \\x1b\]0;"),
    "an escape as name": (b'{"\\u001b]0;":' + entry() + b"}", r"impossible name"),
    "half a letter as name": (b'{"\\ud800":' + entry() + b"}", r"impossible name \(.ud800"),
    "no text as name": (b'{"\xff":' + entry() + b"}", "no JSON"),
    "a name of 10 MB": (b'{"' + b"w" * 10**7 + b'":' + entry() + b"}", "impossible name"),
    "a list": (b"{}".replace(b"{}", b'{"w":[]}'), "has no dtype, shape and data_offsets"),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_header_that_no_library_writes(tmp_path, kind):
    header, words = HEADERS[kind]
    with pytest.raises(CheckpointError, match=words):
        raise CheckpointError(refused(tmp_path / "x.safetensors", safetensors(header)))


def test_bytes_that_belong_to_no_tensor(tmp_path):
    content = safetensors(b'{"w":' + entry() + b"}", bytes(17))
    assert "1 bytes belong to no tensor" in refused(tmp_path / "x.safetensors", content)


def test_a_zip_of_many_or_twofold_entries(tmp_path):
    path, count = tmp_path / "x.pt", 60_000
    directory = (b"PK\x01\x02" + bytes(42)) * count
    end = struct.pack("<4s4xHHIIH", b"PK\x05\x06", count, count, len(directory), 4, 0)
    many_entries = b"PK\x03\x04" + directory + end
    assert "holds 60000 entries" in refused(path, many_entries)
    assert "not fit" not in refused(path, many_entries.replace(b"\x60\xea", b"\xff\xff"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", state({"w": tensor()}))
        archive.writestr("a/data.pk1", state({"v": tensor()}))
    twice = path.read_bytes().replace(b"a/data.pk1", b"a/data.pkl")
    assert "two entries called a/data.pkl" in refused(path, twice)
