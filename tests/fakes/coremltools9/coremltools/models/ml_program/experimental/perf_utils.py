from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from coremltools.models import MLModel
from coremltools.models.ml_program.experimental.async_wrapper import MLModelAsyncWrapper
from coremltools.models.ml_program.experimental.remote_device import Device
from tests.fakes.apple.world import World


class MLNeuralEngineComputeDevice: ...


class MLCPUComputeDevice: ...


class MLModelBenchmarker:
    @dataclass(frozen=True)
    class Measurement:
        samples: list[float]

    @dataclass
    class OperationExecutionInfo:
        spec: Any
        path: Any
        compute_device_usage: Any
        measurement: Any

    def __init__(self, model: MLModel, device: Device | None = None) -> None:
        self.model, self.device, self.loaded = model, device, None

    async def benchmark_load(self, iterations: int = 1) -> Measurement:
        samples = []
        for _ in range(iterations):
            self.loaded = MLModelAsyncWrapper(self.model.path, self.device)
            await self.loaded.load()
            samples.append(self.loaded.load_duration_in_nano_seconds / 1e6)
        return self.Measurement(samples)

    async def benchmark_predict(
        self, inputs: Any = None, iterations: int = 1, warmup: bool = False
    ) -> Measurement:
        samples = []
        for _ in range(iterations):
            await self.loaded.predict(inputs)
            samples.append(self.loaded.last / 1e6)
        return self.Measurement(samples)

    async def benchmark_operation_execution(
        self, inputs: Any = None, iterations: int = 1, warmup: bool = False
    ) -> list[OperationExecutionInfo]:
        (phone,) = (d for d in World.here().devices() if d.udid == self.device.udid)
        if phone.version < "17.4":
            raise ValueError("Remote device functionality for the compute plan is unavailable.")
        on = [MLNeuralEngineComputeDevice(), MLCPUComputeDevice(), None]
        return [
            self.OperationExecutionInfo(
                SimpleNamespace(type=kind, outputs=[SimpleNamespace(name=f"{kind}_out")]),
                None,
                SimpleNamespace(preferred_compute_device=unit) if unit else None,
                self.Measurement([] if cost is None else [cost]),
            )
            for kind, unit, cost in zip(
                ("conv", "gelu", "const"), on, (3.0, 1.0, None), strict=True
            )
        ]
