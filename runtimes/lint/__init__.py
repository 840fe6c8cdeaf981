"""Known wrong or aborting forms in a bundle's graphs: `sam-export check`.

    rules.py     what is looked for, with its public source
    readers/     one file a target: a graph's file -> a `Network`
    checking.py  bundle -> findings

To add a rule: an entry of `RULES`, with a test that it finds the form and one that it leaves the
mended form alone. To add a target: a file in `readers/` with `READER`. No phone is asked: a finding
says what went wrong on somebody's, and where this graph has the same form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from exporter.bundle.manifest import GraphFile

FAR = 12
"""Operations between two that still count as near each other."""


@dataclass(frozen=True)
class Value:
    """A tensor of a graph.

    Attributes:
        name: in the file.
        shape: 0 for a side that is empty, -1 for one known only at run time.
        dtype: `float16`, `float32`, `int32` ...
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Count its numbers."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        kind: `argmax`, `topk`, `linear`, `matmul`, `softmax`, `attention`, `hard_swish`,
            `hard_sigmoid`; any other as the format spells it.
        name: its own in the file, or its first output's.
        inputs: names of what it reads, constants too.
        outputs: what it gives.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[Value, ...]


@dataclass(frozen=True)
class Network:
    """A graph as its file has it.

    Attributes:
        operations: in execution order, without constants.
        values: all that are typed, by name, inputs and constants too.
        modules: constant -> the module of the published network that owns it; the others have none.
    """

    operations: tuple[Operation, ...]
    values: Mapping[str, Value]
    modules: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def makers(self) -> dict[str, Operation]:
        """Map a value to the operation that gives it."""
        return {out.name: each for each in self.operations for out in each.outputs}

    @cached_property
    def readers(self) -> dict[str, list[Operation]]:
        """Map a value to the operations that read it."""
        found: dict[str, list[Operation]] = {}
        for each in self.operations:
            for name in each.inputs:
                found.setdefault(name, []).append(each)
        return found

    def given(self, operation: Operation) -> Iterator[Value]:
        """List the typed inputs of an operation."""
        return (self.values[name] for name in operation.inputs if name in self.values)

    def before(self, operation: Operation, through: Iterable[str] = ()) -> Iterator[Operation]:
        """List what an operation reads from, looking through operations of some kinds."""
        passed = frozenset(through)
        for name in operation.inputs:
            maker = self.makers.get(name)
            if maker is not None:
                yield maker
                if maker.kind in passed:
                    yield from self.before(maker, passed)

    def after(self, operation: Operation, through: Iterable[str] = ()) -> Iterator[Operation]:
        """List what reads from an operation, looking through operations of some kinds."""
        passed = frozenset(through)
        for out in operation.outputs:
            for reader in self.readers.get(out.name, []):
                yield reader
                if reader.kind in passed:
                    yield from self.after(reader, passed)

    def module_near(self, operation: Operation) -> str:
        """Find the module whose weight is read nearest; empty if the file names none."""
        ring, seen = [operation], {operation.name}
        for _ in range(FAR):
            for each in ring:
                for name in each.inputs:
                    if name in self.modules:
                        return self.modules[name]
            around = [n for each in ring for n in (*self.before(each), *self.after(each))]
            ring = [n for n in around if n.name not in seen]
            seen.update(n.name for n in ring)
        return ""


@dataclass(frozen=True)
class Reader:
    """How a target's graphs are read; a file of `readers/` exports it as `READER`.

    Attributes:
        read: a graph's file and its entry in the manifest -> the network. BundleError if it cannot
            be read.
        missing: None if that works here, else what to install.
        apple: whether Apple's frameworks run the file.
        ranges: module that finds ranges of values, see `exporter.calibration`; empty if there is
            none.
    """

    read: Callable[[Path, GraphFile], Network]
    missing: Callable[[], str | None]
    apple: bool = False
    ranges: str = ""


@dataclass(frozen=True)
class Rule:
    """One known fault.

    Attributes:
        name: for `--json` and the README.
        finds: network -> operations with the form, and what of them shows it.
        effect: what happened there.
        advice: what to do.
        sources: where it was reported or documented.
        apple: whether only what Apple's frameworks run has it.
    """

    name: str
    finds: Callable[[Network], Iterator[tuple[Operation, str]]]
    effect: str
    advice: str
    sources: tuple[str, ...]
    apple: bool = True


@dataclass(frozen=True)
class Finding:
    """A rule's form in a graph.

    Attributes:
        rule: its name.
        graph: that has it.
        operation: its kind and name in the file.
        module: of the published network, nearest to it; empty if the file names none.
        shown: what of it has the form.
    """

    rule: str
    graph: str
    operation: str
    module: str
    shown: str
