"""Run a program operation by operation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from runtimes.engines.mil.call import Call
from runtimes.engines.mil.errors import MilError
from runtimes.engines.mil.graph import Feature, Graph, Instruction, Port
from runtimes.engines.mil.memory import Memory
from runtimes.engines.mil.parallel import one_blas_thread
from runtimes.engines.mil.registry import EXACT, OPERATIONS
from runtimes.engines.mil.rounding import round_to_half
from runtimes.engines.mil.tensors import Array, TensorType, working_dtype

# Compressed weights are unpacked each time they are read, so that no copy outlives its use.
_DEFERRED = "constexpr_"


class Program:
    """A loaded package.

    Attributes:
        inputs: Of `run`, in order.
        outputs: Of `run`, in order.
        operation_counts: Operation -> number of occurrences, without constants.
        max_rank: The highest rank of any tensor an operation writes.
        specification_version: 7 is iOS 16, 8 iOS 17, 9 iOS 18.
    """

    def __init__(self, graph: Graph) -> None:
        self.inputs: tuple[Feature, ...] = graph.inputs
        self.outputs: tuple[Feature, ...] = graph.outputs
        self.specification_version: int = graph.specification_version
        self.operation_counts: dict[str, int] = dict(
            Counter(step.operation for step in graph.steps).most_common()
        )
        ranks = [len(port.kind.shape) for step in graph.steps for port in step.outputs]
        self.max_rank: int = max(ranks, default=0)
        self._graph = graph
        self._last_use = _last_uses(graph)

    @property
    def graph(self) -> Graph:
        """The program as data, for counting in it."""
        return self._graph

    def run(
        self,
        inputs: Mapping[str, npt.NDArray[Any]],
        half: bool | None = None,  # noqa: FBT001 - part of the API
    ) -> dict[str, npt.NDArray[Any]]:
        """Compute the outputs.

        Args:
            inputs: Every input by name; an image as a float array (1, 3, H, W) in 0..255.
            half: None rounds every tensor that the program types as float16. False rounds nothing.
                True rounds every float tensor, weights too, whatever the program says.

        Returns:
            Every output by name. Floats are float32, even if their values are float16's.
        """
        for step in self._graph.steps:
            if step.operation not in OPERATIONS:
                raise MilError(f"{step.label} is not known to this interpreter")
        run = _Run(self._graph, half=half)
        for name, array in self._check(inputs).items():
            run.store(Port(name, array[0]), array[1])
        # An overflow here is an overflow on the phone: a result, not a reason to warn.
        with one_blas_thread(), np.errstate(all="ignore"):
            for index, step in enumerate(self._graph.steps):
                if not step.operation.startswith(_DEFERRED):
                    run.execute(step, self._last_use[index])
        return {feature.name: run.resolve(feature.name) for feature in self.outputs}

    def _check(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, tuple[TensorType, Array]]:
        """Check the inputs and copy each, so that operations may overwrite it."""
        wanted = {feature.name: feature.kind for feature in self.inputs}
        if wanted.keys() != inputs.keys():
            raise MilError(f"inputs are {sorted(wanted)}, got {sorted(inputs)}")
        copies = {}
        for name, kind in wanted.items():
            array = np.array(inputs[name], working_dtype(kind.dtype), order="C")
            if not kind.accepts(array.shape):
                raise MilError(f"input '{name}' has shape {kind.shape}, got {array.shape}")
            copies[name] = (kind, array)
        return copies


def _last_uses(graph: Graph) -> list[list[str]]:
    """List, for each step, the tensors that nothing reads after it; the program's outputs stay."""
    keep = {feature.name for feature in graph.outputs}
    last: dict[str, int] = {feature.name: 0 for feature in graph.inputs}
    for index, step in enumerate(graph.steps):
        last.update((port.name, index) for port in step.outputs)
        last.update((name, index) for name in step.reads() if name in last)
    dying: list[list[str]] = [[] for _ in graph.steps]
    for name, index in last.items():
        if name not in keep and graph.steps:
            dying[index].append(name)
    return dying


class _Run:
    """One run: its tensors and their rounding."""

    def __init__(self, graph: Graph, *, half: bool | None) -> None:
        self._constants = graph.constants
        self._half = half
        self._deferred = {
            port.name: step
            for step in graph.steps
            if step.operation.startswith(_DEFERRED)
            for port in step.outputs
        }
        self._memory = Memory()

    def execute(self, step: Instruction, dying: Sequence[str]) -> None:
        """Run one operation; it may put its result in memory that nothing else reads any more."""
        arguments = self._arguments(step)
        spare = self._memory.release(dying)
        for port, result in zip(step.outputs, self._results(step, arguments, spare), strict=True):
            self.store(port, result, exact=step.operation in EXACT)
        unread = [port.name for port in step.outputs if port.name in dying]
        spare |= self._memory.release(unread)
        self._memory.recycle(spare.values())

    def store(self, port: Port, result: Array, *, exact: bool = False) -> None:
        """Keep a tensor in the type the program declares; an exact one needs no rounding."""
        if self._rounds(port.kind) and not exact:
            result = self._round(result)
        self._memory.keep(port.name, result)

    def resolve(self, source: str | Array) -> Array:
        """Look up a tensor or constant in its working type."""
        if isinstance(source, str):
            alive = self._memory.get(source)
            if alive is not None:
                return alive
            if source in self._deferred:
                return self._unpack(source)
            if source not in self._constants:
                raise MilError(f"tensor '{source}' is read before it is written")
            source = self._constants[source]
        return self._widen(source)

    def _arguments(self, step: Instruction) -> dict[str, list[Array]]:
        return {name: [self.resolve(s) for s in group] for name, group in step.arguments.items()}

    def _results(
        self, step: Instruction, arguments: Mapping[str, Sequence[Array]], spare: Collection[int]
    ) -> list[Array]:
        """Compute the operation's results and check them against the declared types."""
        call = Call(step, arguments, spare, self._memory.empty)
        try:
            raw = OPERATIONS[step.operation](call)
        except (ValueError, IndexError, TypeError, ZeroDivisionError) as error:
            raise MilError(f"{step.label}: {error}") from error
        results = raw if isinstance(raw, tuple) else (raw,)
        if len(results) != len(step.outputs):
            raise MilError(f"{step.label} gave {len(results)} of {len(step.outputs)} outputs")
        return [
            _set_type(step, port, array) for port, array in zip(step.outputs, results, strict=True)
        ]

    def _unpack(self, name: str) -> Array:
        step = self._deferred[name]
        results = self._results(step, self._arguments(step), ())
        array = results[[port.name for port in step.outputs].index(name)]
        kind = next(port.kind for port in step.outputs if port.name == name)
        return self._round(array) if self._rounds(kind) else array

    def _rounds(self, kind: TensorType) -> bool:
        if self._half is None:
            return kind.dtype == "float16"
        return self._half and kind.is_float

    def _round(self, array: Array) -> Array:
        """Round in place, unless other tensors share the memory."""
        if (
            self._memory.is_shared(array)
            or not array.flags.c_contiguous
            or not array.flags.writeable
        ):
            array = np.array(array, order="C")
        round_to_half(array)
        return array

    def _widen(self, constant: Array) -> Array:
        if constant.dtype.kind != "f":
            return constant
        if constant.dtype == np.float32 and not self._half:
            return constant
        array = constant.astype(np.float32)
        if self._half:
            round_to_half(array)
        return array


def _set_type(step: Instruction, port: Port, result: Array) -> Array:
    array = np.asarray(result)
    if not port.kind.accepts(array.shape):
        raise MilError(f"{step.label} gave {array.shape}, the program says {port.kind.shape}")
    return array.astype(working_dtype(port.kind.dtype), copy=False)
