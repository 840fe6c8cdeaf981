import time
from typing import Any

from coremltools import ComputeUnit
from coremltools.models.ml_program.experimental.remote_device import Device, DeviceCtlError
from tests.fakes.apple.world import World


class MLModelAsyncWrapper:
    def __init__(self, path: str, device: Device) -> None:
        self.path, self.device, self.session = path, device, None
        self.last = self.load_duration_in_nano_seconds = 0

    @staticmethod
    def from_spec_or_path(
        spec_or_path: Any,
        weights_dir: str,
        compute_units: ComputeUnit = ComputeUnit.ALL,
        function_name: str | None = None,
        optimization_hints: Any = None,
        device: Device = None,
    ) -> "MLModelAsyncWrapper":
        return MLModelAsyncWrapper(spec_or_path, device)

    async def load(self) -> None:
        import onnxruntime

        start = time.perf_counter_ns()
        assert self.device.session is not None, "prepare_for_model_debugging comes first"
        self.session = onnxruntime.InferenceSession(self.path)
        self.load_duration_in_nano_seconds = time.perf_counter_ns() - start

    async def unload(self) -> None:
        self.session = None

    async def predict(self, inputs: dict[str, Any], state: Any = None) -> dict[str, Any]:
        (phone,) = (d for d in World.here().devices() if d.udid == self.device.udid)
        if phone.fault == "lost":
            raise DeviceCtlError("[Error Code 1] The connection was lost.")
        if phone.fault == "hang":
            time.sleep(60)
        start = time.perf_counter_ns()
        names = [output.name for output in self.session.get_outputs()]
        answer = dict(zip(names, self.session.run(names, inputs), strict=True))
        self.last = time.perf_counter_ns() - start
        return answer
