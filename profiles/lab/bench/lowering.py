"""Lower one row: our graph with our targets, the published code with the toolkits alone.

It runs in a process of its own, so that the timing process loads no toolkit.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from exporter.bundle.manifest import GraphFile
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.graphs.image_encoder import as_padded
from exporter.precision import load_precision
from exporter.targets import Options, load_target
from exporter.variants import load_variant
from profiles.lab.bench.rows import COUNTED, NEXT, PLAIN, BenchRow
from profiles.lab.bench.subjects import Subject, build

if TYPE_CHECKING:
    from torch import Tensor

LETTERS = 200
"""Length at which a note cuts a toolkit's reason."""


def lower_row(row: BenchRow, folder: Path, keys: Collection[str]) -> dict[str, Any]:
    """Write `folder/KEY/...` for each key.

    Returns:
        For each key the file's entry, the seconds it took, and other data on it; for a plain export
        that its toolkit refuses, the reason.
    """
    subject = build(row)
    makers: dict[str, Callable[[Path], dict[str, Any]]] = {
        PLAIN["onnx"]: lambda to: _plain_onnx(subject, to),
        PLAIN["tflite"]: lambda to: _plain_tflite(subject, to),
    }
    done: dict[str, Any] = {}
    for key in keys:
        if key in NEXT.values() and subject.following is None:
            continue
        to = folder / key
        to.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        try:
            answer = makers[key](to) if key in makers else _ours(row, subject, key, to)
        except Exception as error:
            if key not in makers:
                raise
            answer = {"error": _reason(error)}
        done[key] = answer | {"seconds": round(time.perf_counter() - start, 2)}
    return done


def _ours(row: BenchRow, subject: Subject, key: str, to: Path) -> dict[str, Any]:
    following = {NEXT[each]: COUNTED[each] for each in NEXT}
    name, precision = (COUNTED | following)[key]
    target, options = load_target(name), Options()
    rule = target.preprocess(load_variant(row.variant).preprocess, options)
    graph = subject.following if key in following and subject.following else subject.ours
    file = target.lower(as_padded(graph, rule), load_precision(precision), to, options)
    return {"file": dataclasses.asdict(file)}


def _plain_onnx(subject: Subject, to: Path) -> dict[str, Any]:
    """Call `torch.onnx.export` as its documentation says, in its default opset."""
    spec = _plain_spec(subject)
    program = torch.onnx.export(
        subject.published,
        tuple(subject.given.values()),
        dynamo=True,
        input_names=[t.name for t in spec.inputs],
        output_names=[t.name for t in spec.outputs],
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    path = to / f"{spec.name}.onnx"
    program.save(str(path))
    opset = next(o.version for o in program.model_proto.opset_import if o.domain in ("", "ai.onnx"))
    return {"file": _entry(spec, path), "opset": opset}


def _plain_tflite(subject: Subject, to: Path) -> dict[str, Any]:
    """Convert with `litert_torch` as its documentation says; the image stays NCHW."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    import litert_torch

    spec = _plain_spec(subject)
    signed = litert_torch.signature(spec.name, subject.published, sample_kwargs=subject.given)
    path = to / f"{spec.name}.tflite"
    signed.convert().export(str(path))
    return {"file": _entry(spec, path)}


def _plain_spec(subject: Subject) -> GraphSpec:
    inputs = tuple(_tensor_spec(name, tensor) for name, tensor in subject.given.items())
    return dataclasses.replace(subject.ours.spec, inputs=inputs)


def _tensor_spec(name: str, tensor: Tensor) -> TensorSpec:
    return TensorSpec(
        name, tuple(tensor.shape), "float32", "NCHW" if tensor.dim() == 4 else "ABC"[: tensor.dim()]
    )


def _entry(spec: GraphSpec, path: Path) -> dict[str, Any]:
    return dataclasses.asdict(GraphFile(spec, path.name, path.stat().st_size, spec.name))


def _reason(error: BaseException) -> str:
    """Describe the root of a chain of errors: its type and its first line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {(lines or ['no reason given'])[0]}"[:LETTERS]
