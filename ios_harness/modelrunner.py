"""coremltools' own runner on a phone, in a process of its own: only here is it imported.

    python -m ios_harness.modelrunner < REQUEST     prints the answer as one line of JSON

coremltools 9 builds, signs, installs and starts an app (`modelrunnerd`) and calls a package there.
The request says what: `time` (loads, calls, where operations run) or `check` (outputs of cases).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from exporter import child
from exporter.errors import DeviceLostError
from ios_harness.placement import UNIT_OF
from runtimes.engines.coreml import NAMES

NS_IN_MS = 1e6


async def work(given: Mapping[str, Any]) -> dict[str, Any]:
    """Do a request. DeviceLostError if the phone is not connected; coremltools' own errors."""
    from coremltools.models.ml_program.experimental.remote_device import AppSigningCredentials

    phone = await _phone(given["udid"]).prepare_for_model_debugging(
        credentials=AppSigningCredentials(development_team=given["team"]),
        working_directory=Path(given["folder"]),
    )
    try:
        verb = {"time": _time, "check": _check}[given["verb"]]
        answer = await verb(given, phone)
    finally:
        phone.session.stop()
    return {**answer, "runtime": f"coremltools {importlib.metadata.version('coremltools')}"}


def _phone(udid: str) -> Any:
    from coremltools.models.ml_program.experimental.remote_device import Device

    for device in Device.get_devices():
        if device.udid == udid:
            return device
    raise DeviceLostError(f"coremltools does not see {udid}: check its cable, unlock it")


async def _time(given: Mapping[str, Any], phone: Any) -> dict[str, Any]:
    """Load twice, call until there are enough, ask where operations run."""
    from coremltools import ComputeUnit
    from coremltools.models import MLModel
    from coremltools.models.ml_program.experimental.perf_utils import MLModelBenchmarker

    units = ComputeUnit[NAMES[given["units"]]]
    model = MLModel(given["package"], compute_units=units, skip_model_load=True)
    inputs = _read(given["cases"][0]["inputs"])
    bench = MLModelBenchmarker(model, device=phone)
    loads = await bench.benchmark_load(iterations=2)
    warmup = await bench.benchmark_predict(inputs, iterations=given["warmup"])
    start, samples = time.monotonic(), list[float]()
    while len(samples) < given["runs"] or time.monotonic() - start < given["seconds"]:
        timed = await bench.benchmark_predict(inputs, iterations=given["warmup"])
        samples += timed.samples
    placement, note = [], ""
    try:
        placement = _placed(await bench.benchmark_operation_execution(inputs, iterations=1))
    except (RuntimeError, ValueError) as error:  # a forecast: the times are as good without it
        note = f"no placement: {error}"
    return {
        "loads_ns": _ns(loads.samples),
        "warmup_ns": _ns(warmup.samples),
        "samples_ns": _ns(samples),
        "placement": placement,
        "notes": [note] if note else [],
    }


async def _check(given: Mapping[str, Any], phone: Any) -> dict[str, Any]:
    """Write the outputs of every case, in order: a later one may read what an earlier one wrote."""
    from coremltools import ComputeUnit
    from coremltools.models import MLModel
    from coremltools.models.ml_program.experimental.async_wrapper import MLModelAsyncWrapper

    wrappers: dict[str, Any] = {}
    for case in given["cases"]:
        package = case["package"]
        if package not in wrappers:
            model = MLModel(package, skip_model_load=True)
            wrappers[package] = MLModelAsyncWrapper.from_spec_or_path(
                spec_or_path=package,
                weights_dir=model.weights_dir,
                compute_units=ComputeUnit[NAMES[given["units"]]],
                device=phone,
            )
            await wrappers[package].load()
        answer = await wrappers[package].predict(_read(case["inputs"]))
        for name, path in case["outputs"].items():
            Path(path).write_bytes(np.ascontiguousarray(answer[name], "<f4").tobytes())
    return {}


def _read(tensors: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Read input tensors from raw files."""
    return {
        t["name"]: np.fromfile(t["file"], np.dtype(t["dtype"])).reshape(t["shape"]) for t in tensors
    }


def _placed(operations: Sequence[Any]) -> list[dict[str, Any]]:
    """Make rows of `runtimes.device.Placed`; constants and folded operations have no place."""
    known = [row for row in operations if row.compute_device_usage is not None]
    weights = [sum(row.measurement.samples) for row in known]
    total = sum(weights)
    return [
        {
            "name": row.spec.outputs[0].name if row.spec.outputs else "",
            "operation": row.spec.type,
            "unit": UNIT_OF.get(
                type(row.compute_device_usage.preferred_compute_device).__name__, "cpu"
            ),
            "cost": weight / total if total else None,
        }
        for row, weight in zip(known, weights, strict=True)
    ]


def _ns(milliseconds: Sequence[float]) -> list[int]:
    return [round(value * NS_IN_MS) for value in milliseconds]


def _serve(given: dict[str, Any]) -> dict[str, Any]:
    with contextlib.redirect_stdout(sys.stderr):  # its progress is no answer
        return asyncio.run(work(given))


if __name__ == "__main__":
    sys.exit(child.serve(_serve))
