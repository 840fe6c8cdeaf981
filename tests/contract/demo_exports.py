"""The demo model's ONNX export as the tests of `sam-export` ask for it and look at it."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from exporter.bundle.folder import open_bundle, read_manifest

ROOT = Path(__file__).parents[2]
JOB = ("--target", "onnx", "--precision", "fp32", "--quiet")
NAME = "demo-onnx-fp32"


def snapshot(folder):
    """name -> (bytes, time of the last change) of every file below `folder`."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def different(exported, output):
    """A good bundle of the same name, made with another torch."""
    folder = Path(shutil.copytree(exported, output / NAME))
    manifest = read_manifest(folder)
    other = dataclasses.replace(manifest, tools=manifest.tools | {"torch": "1.0"})
    (folder / "manifest.json").write_text(other.to_json(), encoding="utf-8")
    open_bundle(folder)
    return folder
