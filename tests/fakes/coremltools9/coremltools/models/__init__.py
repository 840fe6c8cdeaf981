from typing import Any

from coremltools import ComputeUnit


class MLModel:
    def __init__(
        self,
        model: str,
        is_temp_package: bool = False,
        mil_program: Any = None,
        skip_model_load: bool = False,
        compute_units: ComputeUnit = ComputeUnit.ALL,
        weights_dir: str | None = None,
        function_name: str | None = None,
        optimization_hints: Any = None,
    ) -> None:
        assert skip_model_load, "the Mac need not load it"
        self.path, self.compute_unit, self.weights_dir = model, compute_units, "weights"
