"""Read a saved .mlpackage from disk."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from runtimes.engines.mil.blobs import BlobFile
from runtimes.engines.mil.errors import MilError
from runtimes.engines.mil.graph import Feature, Graph, Instruction, Port
from runtimes.engines.mil.program import Program
from runtimes.engines.mil.protos import parse_model
from runtimes.engines.mil.tensors import Array, TensorType
from runtimes.engines.mil.values import tensor_type, value

_MODEL_FOLDER = "@model_path"
_COLORS = {10: "GRAYSCALE", 20: "RGB", 30: "BGR", 40: "GRAYSCALE"}


def load_package(path: Path) -> Program:
    """Read the package saved at `path`; weights stay on disk until they are used."""
    model_file = _model_file(path)
    model = parse_model(model_file.read_bytes())
    if model.WhichOneof("Type") != "mlProgram":
        raise MilError(f"{path} holds a {model.WhichOneof('Type') or 'nothing'}, not an mlProgram")
    return Program(_Reader(model, model_file.parent).graph())


def _model_file(package: Path) -> Path:
    """Find the file that Manifest.json names as the root model."""
    manifest = package / "Manifest.json"
    try:
        entries = json.loads(manifest.read_text("utf-8"))
        relative = entries["itemInfoEntries"][entries["rootModelIdentifier"]]["path"]
    except FileNotFoundError as error:
        raise MilError(f"{package} is not an .mlpackage: it has no Manifest.json") from error
    except (ValueError, KeyError, TypeError) as error:
        raise MilError(f"{manifest} names no root model: {error!r}") from error
    model = _inside(package / "Data", relative)
    if not model.is_file():
        raise MilError(f"{package}: the model file Data/{relative} is missing")
    return model


def _inside(folder: Path, relative: str) -> Path:
    """Resolve a path. MilError if it is outside the package."""
    parts = PurePosixPath(relative)
    if parts.is_absolute() or ".." in parts.parts:
        raise MilError(f"'{relative}' points outside of the package")
    return folder / parts


class _Reader:
    """Turn one parsed model into a Graph; each weight file is opened once."""

    def __init__(self, model: Any, folder: Path) -> None:
        self._model = model
        self._folder = folder
        self._blobs: dict[str, BlobFile] = {}
        self._constants: dict[str, Array] = {}

    def graph(self) -> Graph:
        function = self._function()
        steps = self._steps(function)
        written = {port.name: port.kind for step in steps for port in step.outputs}
        written |= {item.name: tensor_type(item.type) for item in function.inputs}
        described = self._model.description
        inputs = [_feature(i.name, written, described.input) for i in function.inputs]
        outputs = [_feature(name, written, described.output) for name in _block(function).outputs]
        return Graph(
            tuple(inputs),
            tuple(outputs),
            self._constants,
            tuple(steps),
            self._model.specificationVersion,
        )

    def _function(self) -> Any:
        functions = self._model.mlProgram.functions
        default = self._model.description.defaultFunctionName or "main"
        if default not in functions:
            raise MilError(f"no function '{default}' among {sorted(functions) or 'none'}")
        return functions[default]

    def _steps(self, function: Any) -> list[Instruction]:
        steps = []
        for operation in _block(function).operations:
            if operation.type == "const":
                constant = value(operation.attributes["val"], self._blob)
                self._constants[operation.outputs[0].name] = constant
            else:
                steps.append(self._step(operation))
        return steps

    def _step(self, operation: Any) -> Instruction:
        """Read an operation; compressed weights, iOS 16's attributes or inputs, are arguments."""
        arguments: dict[str, tuple[str | Array, ...]] = {
            key: tuple(self._source(binding) for binding in argument.arguments)
            for key, argument in operation.inputs.items()
        }
        for key, attribute in operation.attributes.items():
            if key != "name":
                arguments[key] = (value(attribute, self._blob),)
        ports = tuple(Port(o.name, tensor_type(o.type)) for o in operation.outputs)
        if not ports:
            raise MilError(f"operation '{operation.type}' has no output")
        return Instruction(operation.type, arguments, ports)

    def _source(self, binding: Any) -> str | Array:
        if binding.WhichOneof("binding") == "name":
            return str(binding.name)
        return value(binding.value, self._blob)

    def _blob(self, name: str, offset: int, kind: TensorType) -> Array:
        if name not in self._blobs:
            root, _, relative = name.partition("/")
            if root != _MODEL_FOLDER:
                raise MilError(f"weight file '{name}' is not below {_MODEL_FOLDER}")
            self._blobs[name] = BlobFile(_inside(self._folder, relative))
        return self._blobs[name].tensor(offset, kind)


def _block(function: Any) -> Any:
    """Find the function's body for the op set it was written for."""
    if function.opset not in function.block_specializations:
        raise MilError(f"the program has no body for its op set '{function.opset}'")
    return function.block_specializations[function.opset]


def _feature(name: str, written: dict[str, TensorType], described: Any) -> Feature:
    if name not in written:
        raise MilError(f"the program never writes its output '{name}'")
    kind = written[name]
    color = ""
    for item in described:
        if item.name == name and item.type.WhichOneof("Type") == "imageType":
            color = _COLORS.get(item.type.imageType.colorSpace, "unknown")
    return Feature(name, kind.shape, kind.dtype, color)
