"""The protobuf classes of a Core ML model, without coremltools around them.

`import coremltools` also imports torch when it is installed: 4 s and 350 MB here, where the
generated message classes need 0.03 s and 17 MB. They are plain modules of one folder that import
each other relatively, so that folder is loaded as a package under a private name. Protobuf keeps
one class for a message however often its module is executed, so a process that imports coremltools
as well (an export does) sees the very same classes.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import PathFinder
from typing import Any

from runtimes.engines.mil.errors import MilError

_PACKAGE = "_sam_export_coreml_proto"


def parse_model(data: bytes) -> Any:
    """Parse a serialised `CoreML.Specification.Model`."""
    # Imported here because protobuf comes with the coreml extra.
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    model = _model_module().Model()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise MilError(f"the model file is not a whole Core ML model: {error}") from error
    return model


def data_type_names() -> dict[int, str]:
    """Map the numbers of `MILSpec.DataType` to their names in lower case."""
    enum = _load("MIL_pb2").DataType
    return {number: name.lower() for name, number in enum.items()}


def _model_module() -> Any:
    return _load("Model_pb2")


def _load(module: str) -> Any:
    if _PACKAGE not in sys.modules:
        _load_folder()
    return importlib.import_module(f"{_PACKAGE}.{module}")


def _load_folder() -> None:
    toolkit = PathFinder.find_spec("coremltools")
    if toolkit is None or toolkit.submodule_search_locations is None:
        raise MilError(
            "reading a Core ML package needs coremltools: pip install 'sam-export[run-coreml]'"
        )
    folder = PathFinder.find_spec("proto", list(toolkit.submodule_search_locations))
    if folder is None or folder.origin is None or folder.submodule_search_locations is None:
        raise MilError("this coremltools has no coremltools/proto folder")
    locations = list(folder.submodule_search_locations)
    spec = importlib.util.spec_from_file_location(
        _PACKAGE, folder.origin, submodule_search_locations=locations
    )
    if spec is None or spec.loader is None:
        raise MilError(f"cannot load the message classes in {folder.origin}")
    package = importlib.util.module_from_spec(spec)
    sys.modules[_PACKAGE] = package
    spec.loader.exec_module(package)
