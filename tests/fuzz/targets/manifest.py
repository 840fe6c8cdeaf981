"""manifest.json: JSON with a hash of its own content."""

from __future__ import annotations

import json
from pathlib import Path

from exporter.bundle.folder import MANIFEST, read_manifest
from exporter.bundle.manifest import HASH, canonical, content_hash
from tests.fuzz.target import Target


def _read(data: bytes, folder: Path) -> object:
    (folder / MANIFEST).write_bytes(data)
    return read_manifest(folder)


def _repair(data: bytes) -> bytes:
    """Make the hash and the form anew, as a forger would."""
    try:
        content = json.loads(data)
        return canonical(content | {HASH: content_hash(content)}).encode()
    except (ValueError, TypeError, RecursionError):
        return data


TARGET = Target(
    _read,
    words=(
        b'"slots": 1000000000',
        b'"size": 16384',
        b'"threshold": 1e308',
        b'"multi": []',
        b'"shape": [1, 3, 268435456]',
        b'"runs": "frame"',
        b'"layout": "NHWC"',
        b'"dtype": "uint8"',
        b'"padded_by": "graph"',
        b'"resize": "letterbox"',
        b'"upscale": "letterbox_bilinear"',
        b'"detections": null',
        b'"file": "../../x"',
        b'"graph": "end_to_end"',
        b'"softness": 1,',
        b"1" + b"0" * 400,
        b"[" * 100,
        b'{"":' * 100,
        b"null",
        b"true",
        b"-1",
        b"0.5",
        b"1e999",
        b"NaN",
        b'"\\ud800"',
        b'"\\u001b]0;"',
        b"\r\n",
    ),
    repair=_repair,
)
