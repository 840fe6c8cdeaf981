"""Where Core ML means to run each operation of a package on this Mac.

    python -m ios_harness.placement < {"package": PATH, "units": COMPUTE_UNITS}

prints a list of `runtimes.device.Placed` as one line of JSON. It takes macOS 14.4 and coremltools.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from exporter import child
from runtimes.device import Placed
from runtimes.engines.coreml import NAMES

UNIT_OF = {
    "MLNeuralEngineComputeDevice": "neural engine",
    "MLGPUComputeDevice": "gpu",
    "MLCPUComputeDevice": "cpu",
}


def placement(package: Path, units: str) -> tuple[Placed, ...]:
    """Load the compute plan of a package and list its operations, nested ones too."""
    from coremltools import ComputeUnit
    from coremltools.models.compute_plan import MLComputePlan
    from coremltools.models.utils import compile_model

    with tempfile.TemporaryDirectory(prefix="sam-export-") as folder:
        compiled = compile_model(str(package), str(Path(folder) / "graph.mlmodelc"))
        plan = MLComputePlan.load_from_path(str(compiled), ComputeUnit[NAMES[units]])
        shutil.rmtree(compiled, ignore_errors=True)
    return tuple(placed(plan))


def placed(plan: Any) -> Iterator[Placed]:
    """List the operations of a loaded plan; constants and folded ones have no place."""
    for function in plan.model_structure.program.functions.values():
        yield from _of_block(plan, function.block)


def _of_block(plan: Any, block: Any) -> Iterator[Placed]:
    for operation in block.operations:
        usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
        if usage is not None:
            preferred = type(usage.preferred_compute_device).__name__
            cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
            yield Placed(
                name=operation.outputs[0].name if operation.outputs else "",
                operation=operation.operator_name,
                unit=UNIT_OF.get(preferred, "cpu"),
                cost=None if cost is None else cost.weight,
            )
        for inner in operation.blocks:
            yield from _of_block(plan, inner)


def _work(given: dict[str, str]) -> list[dict[str, Any]]:
    return [asdict(row) for row in placement(Path(given["package"]), given["units"])]


if __name__ == "__main__":
    sys.exit(child.serve(_work))
