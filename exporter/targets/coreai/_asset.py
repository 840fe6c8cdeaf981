"""Programs -> one .aimodel: equal jobs give equal bytes, and its metadata says what it is.

image_encoder.aimodel + mask_decoder.aimodel   ->   segment_anything.aimodel
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.bundle.manifest import GraphFile, Manifest
from exporter.targets.coreai._constants import CONSTANT, bytes_of, is_stored, stored_as

if TYPE_CHECKING:
    from exporter.targets import Joining, Lowering

NAME, METADATA = "segment_anything.aimodel", "metadata.json"


def save(program: Any, work: Lowering) -> GraphFile:
    """Write a program as `GRAPH.aimodel`, a part of the bundle's file."""
    from coreai.runtime import AIModelAssetMetadata

    spec = work.graph.spec
    path = work.folder / f"{spec.name}.aimodel"
    module = program._module._mlir_module
    with module.context:
        _name_constants(module, spec.name)
    program.save_asset(path, AIModelAssetMetadata())
    _write_metadata(path / METADATA, {})
    return GraphFile(spec, path.name, _size(path), signature=spec.name)


def join(work: Joining) -> tuple[GraphFile, ...]:
    """Write NAME, with a function for each graph, and return the graphs' new entries."""
    from coreai.authoring.asset import AIModelAsset
    from coreai.authoring.context import Context
    from coreai.runtime import AIModelAssetMetadata

    # Nothing public joins programs. Constants belong to a context, so all are read into one.
    with Context()._mlir_context:
        first, *others = [AIModelAsset.load(work.parts / f.file).program for f in work.files]
        functions = first._module._mlir_module.body
        for other in others:
            for operation in other._module._mlir_module.body.operations:
                functions.append(operation.clone())
        first.save_asset(work.folder / NAME, AIModelAssetMetadata())
    _write_metadata(work.folder / NAME / METADATA, _about(work.manifest))
    return tuple(_entries(work.files, _size(work.folder / NAME)))


def _name_constants(module: Any, graph: str) -> None:
    """Number the constants in the order they stand; the compiler names them anew in each run.

    Names hold the graph's: if two graphs of a file had one in common, both would get one's values.
    """
    from coreai._compiler.ir import WalkResult

    found: list[Any] = []

    def look(operation: Any) -> Any:
        if operation.name == CONSTANT and is_stored(operation):
            found.append(operation)
        return WalkResult.ADVANCE

    module.operation.walk(look)
    for place, constant in enumerate(found):
        named = stored_as(bytes_of(constant), f"{graph}_{place}", constant.results[0].type)
        constant.attributes["value"] = named


def _entries(files: tuple[GraphFile, ...], size: int) -> Iterator[GraphFile]:
    """Share the file's size out among its graphs.

    Each has what it is by itself, and the largest bears the difference: a small one may have less
    weights than a file of its own has frame.
    """
    rest = size - sum(file.bytes for file in files)
    largest = max(files, key=lambda file: file.bytes)
    for file in files:
        yield dataclasses.replace(file, file=NAME, bytes=file.bytes + (file is largest) * rest)


def _about(manifest: Manifest) -> dict[str, Any]:
    """Say what the file is."""
    source = manifest.source
    return {
        "author": "sam-export",
        "license": f"{manifest.licence.name} {manifest.licence.url}".strip(),
        "description": f"{manifest.variant}, {manifest.precision}",
        "creatorDefinedMetadata": {
            "variant": manifest.variant,
            "precision": manifest.precision,
            "repository": source.repository,
            "checkpoint": source.checkpoint,
            "checkpoint_sha256": source.sha256,
            "sam-export": manifest.tools["sam-export"],
        },
    }


def _write_metadata(path: Path, about: dict[str, Any]) -> None:
    """Add to a file's metadata, and leave out the date."""
    data = json.loads(path.read_text(encoding="utf-8")) | about
    del data["creationDate"]
    text = json.dumps(data, indent=2, sort_keys=True) + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
