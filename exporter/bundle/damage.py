"""Why a bundle's file is not as it was exported: line ends, pointers, broken copies.

A change that alters no meaning is let through: line ends of a text, and JSON that was written anew
with the same content. Every check here is made only after a hash did not fit.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path

from exporter.bundle.travel import AGAIN, ATTRIBUTES, KEEP_BYTES

TEXTS = frozenset({".json", ".md", ".txt", ".kt", ".swift"})
_MOST = 64 * 2**20
"""Bytes of a file that are looked at."""
_TAIL = 66_000
"""Bytes at a file's end in which an archive's directory must begin."""
_ZEROS = 4096
_ARCHIVES = frozenset({".npz", ".zip"})


def explain_change(path: Path, digest: str) -> str | None:
    """Say why a file is not as it was exported; None if its meaning is the same.

    Args:
        path: the file.
        digest: sha256 of what was exported, in hex.
    """
    with path.open("rb") as stream:
        data = stream.read(_MOST)
        stream.seek(max(0, path.stat().st_size - _TAIL))
        tail = stream.read(_TAIL)
    fault = explain_content(path, data)
    if fault is not None:
        return fault
    if path.suffix in TEXTS and digest in map(_sha, _same_texts(path, data)):
        return None
    return (
        _explain_line_ends(path, data, digest)
        or _explain_cut(path, tail)
        or f"was changed after the export; {AGAIN}"
    )


def explain_content(path: Path, data: bytes) -> str | None:
    """Recognise what stands in a file's place, by its first bytes; None if nothing known."""
    for kind, is_it, cure in _KINDS:
        if is_it(data):
            return f"{kind}: {cure.format(shlex.quote(str(path)))}"
    packed = _explain_packed(path, data)
    if packed is not None:
        return packed
    return explain_text(path, data) if path.suffix == ".json" else None


def explain_text(path: Path, data: bytes) -> str | None:
    """Say what an editor, a shell or git did to a JSON text; None if nothing known."""
    for kind, is_it, cure in _TEXT_FAULTS:
        if is_it(data):
            return f"{kind}: {cure.format(shlex.quote(str(path)))}"
    return None


Fault = tuple[str, Callable[[bytes], bool], str]
"""What it is, how it is known, and what mends it; `{}` is the file."""

_COPY = "copy it again"
_KINDS: tuple[Fault, ...] = (
    ("is empty", lambda data: not data, _COPY),
    (
        "is a git-lfs pointer, not the file",
        lambda data: data.startswith(b"version https://git-lfs.github.com/spec/"),
        "git lfs install && git lfs pull, in the repository of {}",
    ),
    (
        "is a git-annex pointer, not the file",
        lambda data: b"/annex/objects/" in data[:256] and len(data) < 512,
        "git annex get {}",
    ),
    (
        "is a DVC pointer, not the file",
        lambda data: data.startswith((b"outs:\n", b"outs:\r\n")),
        "dvc pull {}",
    ),
    (
        "is a web page, not the file",
        lambda data: data[:64].lstrip().lower().startswith((b"<!doctype html", b"<html")),
        "download it again, signed in if need be",
    ),
)
_TEXT_FAULTS: tuple[Fault, ...] = (
    (
        "begins with a byte order mark",
        lambda data: data.startswith(b"\xef\xbb\xbf"),
        "tail -c +4 {0} > FILE && mv FILE {0}",
    ),
    (
        "is UTF-16, not UTF-8",
        lambda data: data.startswith((b"\xff\xfe", b"\xfe\xff")),
        "iconv -f UTF-16 -t UTF-8 {0} > FILE && mv FILE {0}",
    ),
    (
        "holds a merge conflict of git",
        lambda data: re.search(rb"^<{7} ", data, re.MULTILINE) is not None,
        "git checkout --ours -- {0}, or --theirs",
    ),
    (
        "is not whole, its end is missing",
        lambda data: (
            len(data) < _MOST
            and not data.rstrip(b"\0 \r\n\t").endswith(b"}")
            and not _is_json(data)
        ),
        _COPY,
    ),
)


_PACKERS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


def _explain_packed(path: Path, data: bytes) -> str | None:
    """Recognise a file that was compressed on its way."""
    for magic, program in _PACKERS.items():
        if data.startswith(magic):
            name = shlex.quote(str(path))
            return f"is compressed by {program}: {program} -dc {name} > FILE && mv FILE {name}"
    if data.startswith(b"PK\3\4") and path.suffix not in _ARCHIVES:
        name = shlex.quote(str(path))
        return f"is in a zip archive: unzip -p {name} > FILE && mv FILE {name}"
    return None


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _same_texts(path: Path, data: bytes) -> Iterable[bytes]:
    """List the texts that mean the same: with other line ends; JSON as coremltools writes it."""
    plain = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    yield from (plain, plain.replace(b"\n", b"\r\n"), plain.rstrip(b"\n") + b"\n")
    if path.suffix == ".json":
        try:
            yield f"{json.dumps(json.loads(data), indent=4, sort_keys=True)}\n".encode()
        except (ValueError, RecursionError):
            return


def _explain_line_ends(path: Path, data: bytes, digest: str) -> str | None:
    """Find line ends that were changed in a file that is no text."""
    ends = data.count(b"\n")
    undone = _sha(data.replace(b"\r\n", b"\n")) == digest
    if not undone and not (data.count(b"\r\n") == ends > len(data) / _ZEROS):
        return None  # chance puts a CR before an LF once in 256
    name = shlex.quote(str(path))
    return (
        f"has other line ends than the export (LF became CRLF): put the line "
        f"'{KEEP_BYTES.strip()}' into the bundle's {ATTRIBUTES}, then rm {name} && "
        f"git checkout -- {name}; or {AGAIN}"
    )


def _explain_cut(path: Path, tail: bytes) -> str | None:
    if path.suffix in _ARCHIVES and b"PK\5\6" not in tail:
        return f"is not whole, its end is missing: {_COPY}"
    if tail.endswith(bytes(_ZEROS)):
        return f"ends in zeros, as after a broken download: {_COPY}"
    return None


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
