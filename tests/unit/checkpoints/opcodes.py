"""Pickles written opcode by opcode, as no program of a checkpoint's author would write them."""

from __future__ import annotations

import io
import struct
import zipfile


def text(s: str) -> bytes:
    return b"X" + struct.pack("<I", len(s)) + s.encode()


def name(dotted: str) -> bytes:
    return (
        b"c"
        + dotted.rpartition(".")[0].encode()
        + b"\n"
        + dotted.rpartition(".")[2].encode()
        + b"\n"
    )


def whole(n: int) -> bytes:
    body = n.to_bytes(n.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8b" + struct.pack("<I", len(body)) + body


def row(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def call(function: str, *args: bytes) -> bytes:
    return name(function) + row(*args) + b"R"


def storage(key: bytes, numel: int = 16) -> bytes:
    return row(text("storage"), name("torch.FloatStorage"), key, text("cpu"), whole(numel)) + b"Q"


def tensor(
    shape: tuple[int, ...] = (1,),
    strides: tuple[int, ...] = (1,),
    *,
    key: bytes | None = None,
    offset: int = 0,
    numel: int = 16,
) -> bytes:
    view = row(*map(whole, shape)), row(*map(whole, strides))
    held = storage(text("0") if key is None else key, numel)
    return call("torch._utils._rebuild_tensor_v2", held, whole(offset), *view, b"\x89", b"}")


def state(tensors: dict[str, bytes]) -> bytes:
    return b"\x80\x02}(" + b"".join(text(n) + t for n, t in tensors.items()) + b"u."


def zipped(pickled: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/data/0", bytes(64))
    return stream.getvalue()


def legacy(pickled: bytes, keys: bytes, storages: bytes) -> bytes:
    """The five pickles of torch < 1.6, and the storages behind them."""
    magic = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
    system = b"\x80\x02}" + text("little_endian") + b"\x88s."
    return magic + b"\x80\x02M\xe9\x03." + system + pickled + keys + storages
