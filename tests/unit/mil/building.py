"""Build one-operation programs with coremltools, save them, and run what was saved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

from runtimes.engines.mil import Program, load_package

TARGETS = {
    "iOS16": ct.target.iOS16,
    "iOS17": ct.target.iOS17,
    "iOS18": ct.target.iOS18,
}
_TYPES = {"float32": types.fp32, "float16": types.fp16, "int32": types.int32}


@dataclass(frozen=True)
class Case:
    """One operation, inputs for it, and results found without this interpreter."""

    operation: str
    build: Callable[..., Any]
    inputs: tuple[np.ndarray, ...]
    expected: tuple[Any, ...]
    opset: str = "iOS16"
    note: str = ""
    rtol: float = 1e-5
    atol: float = 1e-6

    @property
    def name(self) -> str:
        return "-".join(part for part in (self.operation, self.note, self.opset) if part)


def case(
    operation: str, build: Callable[..., Any], inputs: Any, *expected: Any, **more: Any
) -> Case:
    """A case; `inputs` is an array or several, `expected` arrays, tensors or nested lists."""
    arrays = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    return Case(operation, build, tuple(arrays), expected, **more)


def parametrize(cases: Sequence[Case]) -> pytest.MarkDecorator:
    """One test for each case, named after its operation."""
    return pytest.mark.parametrize("each", cases, ids=[each.name for each in cases])


def save_program(
    path: Path, build: Callable[..., Any], inputs: Sequence[np.ndarray], opset: str = "iOS16"
) -> Path:
    """Save the program `build(*variables)` without any of coremltools' rewriting."""
    names = [f"input_{index}" for index in range(len(inputs))]
    specs = [mb.TensorSpec(a.shape, dtype=_TYPES[a.dtype.name]) for a in inputs]
    # mb.program reads the inputs' names from the function's signature.
    scope: dict[str, Any] = {"build": build}
    exec(f"def program({', '.join(names)}): return build({', '.join(names)})", scope)
    program = mb.program(input_specs=specs, opset_version=TARGETS[opset])(scope["program"])
    model = ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=TARGETS[opset],
        pass_pipeline=ct.PassPipeline.EMPTY,
        skip_model_load=True,
    )
    model.save(str(path))
    return path


def run_program(
    path: Path, inputs: Sequence[np.ndarray], half: bool | None = None
) -> tuple[Program, list[np.ndarray]]:
    """Load what is at `path` and run it on inputs in order."""
    program = load_package(path)
    named = {feature.name: a for feature, a in zip(program.inputs, inputs, strict=True)}
    return program, list(program.run(named, half=half).values())


def run_cases(cases: Sequence[Case], folder: Path) -> dict[str, list[np.ndarray]]:
    """Results of each case by its name. An op set shares a package: saving one takes 0.3 s."""
    results: dict[str, list[np.ndarray]] = {}
    for opset in TARGETS:
        group = [each for each in cases if each.opset == opset]
        if group:
            found = _run_group(group, folder / f"{opset}.mlpackage", opset)
            results |= {each.name: arrays for each, arrays in zip(group, found, strict=True)}
    assert len(results) == len(cases), "two cases share a name"
    return results


def _run_group(group: Sequence[Case], path: Path, opset: str) -> list[list[np.ndarray]]:
    def build(*variables: Any) -> list[Any]:
        left, outputs = list(variables), []
        for each in group:
            mine, left = left[: len(each.inputs)], left[len(each.inputs) :]
            made = each.build(*mine)
            made = list(made) if isinstance(made, (list, tuple)) else [made]
            assert len(made) == len(each.expected), each.name
            assert each.operation in _ancestors(made), each.name
            outputs += made
        return outputs

    inputs = [array for each in group for array in each.inputs]
    program, arrays = run_program(save_program(path, build, inputs, opset), inputs)
    assert {each.operation for each in group} <= program.operation_counts.keys()
    found = []
    for each in group:
        mine, arrays = arrays[: len(each.expected)], arrays[len(each.expected) :]
        found.append(mine)
    return found


def _ancestors(variables: Sequence[Any]) -> set[str]:
    """Types of the operations that a case's outputs come from."""
    kinds: set[str] = set()
    left = list(variables)
    while left:
        operation = left.pop().op
        if operation is not None:
            kinds.add(operation.op_type)
            for argument in operation.inputs.values():
                left += argument if isinstance(argument, (list, tuple)) else [argument]
    return kinds


def compare(each: Case, results: Sequence[np.ndarray]) -> None:
    """A case's results are the expected ones."""
    for result, expected in zip(results, each.expected, strict=True):
        expected = np.asarray(expected)
        assert result.shape == expected.shape
        np.testing.assert_allclose(result, expected, rtol=each.rtol, atol=each.atol)


def check(each: Case, folder: Path) -> None:
    """Run one case by itself."""
    compare(each, run_cases([each], folder)[each.name])


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal float32 numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def positive(*shape: int, seed: int = 0) -> np.ndarray:
    """Numbers in 0.1..2.1."""
    return np.random.default_rng(seed).random(shape, np.float32) * 2 + np.float32(0.1)


def whole(*shape: int, low: int = -9, high: int = 10, seed: int = 0) -> np.ndarray:
    """Random int32 numbers."""
    return np.random.default_rng(seed).integers(low, high, shape, dtype=np.int32)
