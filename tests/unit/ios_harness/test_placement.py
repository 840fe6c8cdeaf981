"""A compute plan of coremltools, as `Placed` rows: nested operations too, no constants."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

from ios_harness.placement import placed
from runtimes.device import Placed


class MLNeuralEngineComputeDevice: ...


class MLCPUComputeDevice: ...


@dataclass
class Operation:
    name: str
    unit: type | None = None
    weight: float | None = None
    blocks: list[object] = field(default_factory=list)

    @property
    def operator_name(self):
        return f"ios17.{self.name}"

    @property
    def outputs(self):
        return [SimpleNamespace(name=f"{self.name}_out")]


class Plan:
    def __init__(self, *operations):
        block = SimpleNamespace(operations=list(operations))
        program = SimpleNamespace(functions={"main": SimpleNamespace(block=block)})
        self.model_structure = SimpleNamespace(program=program)

    def get_compute_device_usage_for_mlprogram_operation(self, operation):
        if operation.unit is None:
            return None
        return SimpleNamespace(preferred_compute_device=operation.unit())

    def get_estimated_cost_for_mlprogram_operation(self, operation):
        return None if operation.weight is None else SimpleNamespace(weight=operation.weight)


def test_operations_of_every_block():
    inner = SimpleNamespace(operations=[Operation("add", MLCPUComputeDevice, 0.25)])
    plan = Plan(
        Operation("const"),
        Operation("conv", MLNeuralEngineComputeDevice, 0.75),
        Operation("cond", MLCPUComputeDevice, blocks=[inner]),
    )
    assert list(placed(plan)) == [
        Placed("conv_out", "ios17.conv", "neural engine", 0.75),
        Placed("cond_out", "ios17.cond", "cpu", None),
        Placed("add_out", "ios17.add", "cpu", 0.25),
    ]
