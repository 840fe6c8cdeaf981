"""Core AI files: a function of the program for each graph. They name no modules.

Reading is done in a process of its own, since a damaged file may abort it.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from typing import Any

from exporter import child
from exporter.bundle.manifest import GraphFile
from exporter.errors import BundleError, ExportError, RequestError
from runtimes.engines import AGAIN
from runtimes.engines.coreai import missing, require_sound
from runtimes.lint import Network, Operation, Reader, Value

KINDS = {
    "batch_matmul": "matmul",
    "sdpa": "attention",
    "sdpa_maskless": "attention",
    "hardswish": "hard_swish",
}
TYPES = {"f16": "float16", "f32": "float32", "si32": "int32", "i32": "int32"}
_PREFIX = re.compile(r"^coreai\.(decomposable\.)?(broadcasting_)?")
_CALLS = "coreai.invoke"
_CALLED = re.compile(r"@(?P<name>\w+)_[a-z]{8}\b")
"""An inner function: the converter tells those of equal name apart by eight letters."""


def read(path: Path, graph: GraphFile) -> Network:
    """Read the function of a graph; what is computed of constants alone is a constant."""
    require_sound(path)
    module = "runtimes.lint.readers.coreai"
    given = [str(path.absolute()), graph.spec.name]
    try:
        told = child.call([module], given, what="reading it")
    except ExportError as error:
        raise BundleError(f"Core AI cannot read {path}: {error}; {AGAIN}") from error
    values = {name: Value(name, tuple(shape), dtype) for name, shape, dtype in told["values"]}
    operations = tuple(
        Operation(kind, name, tuple(inputs), tuple(values[each] for each in outputs))
        for kind, name, inputs, outputs in told["operations"]
    )
    return Network(operations, values)


def _tell(given: list[str]) -> dict[str, Any]:
    """In the child: the function's operations and values."""
    try:
        network = _read(Path(given[0]), given[1])
    except ImportError as error:
        raise RequestError(
            f"coreai-core is installed and does not load ({error}): "
            "pip install --force-reinstall 'sam-export[run-coreai]'"
        ) from error
    return {
        "values": [dataclasses.astuple(each) for each in network.values.values()],
        "operations": [
            (each.kind, each.name, each.inputs, [out.name for out in each.outputs])
            for each in network.operations
        ],
    }


def _read(path: Path, function: str) -> Network:
    from coreai.authoring import AIModelAsset

    program = AIModelAsset.load(path).program  # its operations live no longer than this
    functions = program._module._mlir_module.body.operations
    named = {f.attributes["sym_name"].value: f.operation for f in functions}
    if function not in named:
        raise BundleError(f"{path} has no function {function}; export the bundle again")
    block = named[function].regions[0].blocks[0]
    names = {argument: f"input{at}" for at, argument in enumerate(block.arguments)}
    values = {name: _value(name, argument.type) for argument, name in names.items()}
    operations = []
    for at, each in enumerate(block.operations):
        given = [names[operand] for operand in each.operation.operands if operand in names]
        if not given:
            continue
        outputs = []
        for place, result in enumerate(each.operation.results):
            names[result] = f"v{at}.{place}"
            values[names[result]] = _value(names[result], result.type)
            outputs.append(values[names[result]])
        if outputs:
            kind = _kind(each, constants=len(given) < len(each.operation.operands))
            operations.append(Operation(kind, f"#{at}", tuple(given), tuple(outputs)))
    return Network(tuple(operations), values)


def _kind(operation: Any, *, constants: bool) -> str:
    inner = operation.operation
    called = _CALLED.search(str(inner.attributes["callee"])) if _CALLS in inner.name else None
    kind = called["name"] if called else _PREFIX.sub("", inner.name)
    kind = KINDS.get(kind, kind)
    return "linear" if kind == "matmul" and constants else kind


def _value(name: str, kind: Any) -> Value:
    from coreai._compiler.ir import RankedTensorType

    if not isinstance(kind, RankedTensorType):
        return Value(name, (), str(kind))
    sides = tuple(-1 if kind.is_dynamic_dim(at) else side for at, side in enumerate(kind.shape))
    spelt = str(kind.element_type)
    return Value(name, sides, TYPES.get(spelt, spelt))


READER = Reader(read, missing, apple=True)

if __name__ == "__main__":
    sys.exit(child.serve(_tell))
