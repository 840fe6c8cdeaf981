"""The runtimes that can run a bundle on this machine.

How to add an engine: write `runtimes/engines/NAME.py` with

    ENGINE = EngineKind(name="NAME", target="TARGET", missing=..., open=...)

* `target` is the export target whose files it runs.
* `missing()` says what to install, or None if the engine can run. It must not import a toolkit.
* `open(path, graph, threads)` returns a `LoadedGraph`. Its `run` gets exactly the inputs of
  `graph.spec`, in its order, shapes, dtypes and layouts, and returns outputs by name.

Importing the file must not import its toolkit either. Nothing else changes: `sam-run --engine NAME`
and the parity check find the file. Several engines may run one target; by default the first by file
name that can run here is taken (so Core ML itself on macOS, and `mil` elsewhere). A folder here
is part of an engine, not an engine.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from exporter import catalog
from exporter.bundle.folder import Bundle
from exporter.bundle.layouts import Array, from_layout, to_layout
from exporter.bundle.manifest import GraphFile
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.closest import unknown
from exporter.errors import BundleError, RequestError
from exporter.printable import printable, quote
from runtimes.process import MOST_THREADS

ALIASES = {
    "onnxruntime": "ort", "onnx": "ort", "tflite": "litert", "ai-edge-litert": "litert",
    "tensorflow": "litert", "coremltools": "coreml", "interpreter": "mil",
}  # fmt: skip
"""Packages and formats that people name for an engine."""


class LoadedGraph(Protocol):
    """One graph, loaded by an engine."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once: inputs by name -> outputs by name, shapes and dtypes as in the graph's spec."""
        ...


def arithmetic_of(loaded: LoadedGraph) -> str:
    """`float32` if a graph is computed in it and its file says half; else empty."""
    inner = loaded.inner if isinstance(loaded, CheckedGraph) else loaded
    return str(getattr(inner, "arithmetic", ""))


AGAIN = "copy or export the bundle again"
"""What to do about a file that an engine cannot load."""

Arithmetic = Literal["usual", "literal", "quick"]
"""Half arithmetic as the file says if that is done in about a minute, always, or never."""

Load = Callable[[str], LoadedGraph]
"""Graph name -> the loaded graph."""


@dataclass(frozen=True)
class EngineKind:
    """An engine; its file exports it as `ENGINE`.

    Attributes:
        name: for `--engine`.
        target: the export target it runs.
        missing: None if usable here, else what to install.
        open: path, graph, threads -> a loaded graph.
        module: the toolkit, imported before a load is timed; its top package has `__version__`.
        interprets: no app would use this runtime, so its times say nothing of the bundle.
        reference: it is the maker's own to compare with, which `sam-bench` does not time at all.
        literal: name of the engine that computes every number as the file says, however long it
            takes; empty if this one does.
        quick: name of the engine that computes in float32 what this one computes in half, which
            takes it long; empty if there is none.
    """

    name: str
    target: str
    missing: Callable[[], str | None]
    open: Callable[[Path, GraphFile, int], LoadedGraph]
    module: str = ""
    interprets: bool = False
    reference: bool = False
    literal: str = ""
    quick: str = ""


@dataclass(frozen=True)
class CheckedGraph:
    """A loaded graph whose inputs and outputs are checked against its spec."""

    spec: GraphSpec
    inner: LoadedGraph

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once.

        Raises:
            RequestError: a name, shape or dtype is not the spec's.
            BundleError: the file's outputs are not the spec's.
        """
        wrong = _difference(inputs, self.spec.inputs)
        if wrong:
            raise RequestError(f"{self.spec.name} takes {_listing(self.spec.inputs)}; got {wrong}")
        given = {t.name: np.ascontiguousarray(inputs[t.name]) for t in self.spec.inputs}
        outputs = self.inner.run(given)
        wrong = _difference(outputs, self.spec.outputs)
        if wrong:
            raise BundleError(
                f"{self.spec.name} should give {_listing(self.spec.outputs)}; its file gave {wrong}"
            )
        return {t.name: outputs[t.name] for t in self.spec.outputs}


def engine_kinds() -> tuple[EngineKind, ...]:
    """List every engine, in the order of their file names."""
    folder = Path(__file__).parent
    entries = [name for name in catalog.names(__name__) if (folder / f"{name}.py").is_file()]
    return tuple(importlib.import_module(f"{__name__}.{name}").ENGINE for name in entries)


def choose_engine(target: str, name: str | None = None) -> EngineKind:
    """Choose the named engine, or the first that runs `target` here. RequestError if none does."""
    kinds = engine_kinds()
    if name is not None:
        known = [kind.name for kind in kinds]
        if not isinstance(name, str):
            raise RequestError(f"engine is a name ({', '.join(known)}) or None, not {quote(name)}")
        if name not in known:
            raise unknown("engine", name, known, aliases=ALIASES)
        kinds = tuple(kind for kind in kinds if kind.name == name)
        if kinds[0].target != target:
            raise RequestError(f"engine {name} runs {kinds[0].target} bundles, not {target}")
    fitting = [(kind, kind.missing()) for kind in kinds if kind.target == target]
    for kind, missing in fitting:
        if missing is None:
            return kind
    reasons = "; ".join(f"{kind.name}: {missing}" for kind, missing in fitting)
    raise RequestError(f"no engine here runs {target} bundles ({reasons or 'none is known'})")


def engine_in(target: str, arithmetic: Arithmetic) -> str:
    """Name the engine that runs `target` here in an arithmetic. RequestError if none does."""
    kind = choose_engine(target)
    return {"usual": "", "literal": kind.literal, "quick": kind.quick}[arithmetic] or kind.name


def load_graph(
    bundle: Bundle, graph: str, engine: str | None = None, threads: int = 2
) -> LoadedGraph:
    """Load one graph of a bundle.

    Raises:
        RequestError: no such engine, it is not for this target, or its toolkit is not installed, or
            does not load.
        BundleError: no such graph, or the engine cannot load its file.
    """
    # numpy's whole numbers are no `int`, and a bool is one.
    given: object = threads
    whole = isinstance(given, int | np.integer) and not isinstance(given, bool)
    if not whole or not 1 <= threads <= MOST_THREADS:
        raise RequestError(f"threads must be 1 to {MOST_THREADS}, not {quote(threads)}")
    kind = choose_engine(bundle.manifest.target, engine)
    entry = bundle.manifest.graph(graph)
    path = bundle.file(graph)
    if not path.exists():
        raise BundleError(f"{path} is missing; {AGAIN}")
    try:
        return CheckedGraph(entry.spec, kind.open(path, entry, threads))
    except ImportError as error:
        first = (str(error).splitlines() or ["no reason given"])[0]
        raise RequestError(
            f"engine {kind.name} is installed and does not load ({printable(first, 200)}): "
            f"pip install --force-reinstall 'sam-export[run-{kind.target}]'"
        ) from error


def loader(bundle: Bundle, engine: str | None = None, threads: int = 2) -> Load:
    """Make a `Load` of a bundle's graphs; its errors are those of `load_graph`."""
    return lambda graph: load_graph(bundle, graph, engine, threads)


def run_canonical(
    loaded: LoadedGraph, spec: GraphSpec, canonical: Mapping[str, Array]
) -> dict[str, Array]:
    """Run a graph on canonical arrays; its outputs are canonical too."""
    inputs = {t.name: to_layout(canonical[t.name], t) for t in spec.inputs if t.name in canonical}
    outputs = loaded.run(inputs)
    return {t.name: from_layout(outputs[t.name], t) for t in spec.outputs}


def _difference(arrays: Mapping[str, Array], specs: tuple[TensorSpec, ...]) -> str:
    """Describe how arrays differ from their specs; empty if they do not."""
    missing = [t.name for t in specs if t.name not in arrays]
    if missing:
        return f"no {', '.join(missing)}"
    unknown = sorted(set(arrays) - {t.name for t in specs})
    if unknown:
        return f"also {', '.join(unknown)}"
    wrong = [
        f"{t.name} {arrays[t.name].dtype} {arrays[t.name].shape}"
        for t in specs
        if arrays[t.name].shape != t.shape or arrays[t.name].dtype != np.dtype(t.dtype)
    ]
    return ", ".join(wrong)


def _listing(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"{t.name} {t.dtype} {t.shape}" for t in specs)
