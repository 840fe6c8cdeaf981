"""The values a pickle may describe, and the few calls it may ask for.

Each call a checkpoint needs is answered by a function of this file that makes a description; any
other is refused by name. Nothing here imports or runs anything that a file names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from exporter.errors import CheckpointError


@dataclass(frozen=True)
class Reference:
    """The dotted name of a class or function that the file mentions."""

    name: str


@dataclass
class Record:
    """An object of an unknown class, with the state that the file gives it."""

    kind: str
    state: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Storage:
    """A run of `numel` elements, `start` elements into the bytes stored under `key`."""

    key: str
    dtype: str
    numel: int
    start: int = 0


@dataclass(frozen=True)
class StoredTensor:
    """A view of a storage; offset and strides count elements."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


_STORAGE_DTYPES = {
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "DoubleStorage": "float64",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "UntypedStorage": "bytes",
}


def _dtype_of(reference: Any) -> str:
    if not isinstance(reference, Reference):
        raise TypeError("a storage without a type")
    short = reference.name.rsplit(".", 1)[-1]
    return _STORAGE_DTYPES.get(short, short)


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("a count or offset that is not a whole number")
    return value


def resolve_id(identity: Any) -> Storage | Reference:
    """Resolve a persistent id to the bytes of tensors, or to a wrapped class."""
    kind, reference, *rest = identity
    if kind == "module" and isinstance(reference, Reference):  # torch < 1.6 wraps classes so
        return reference
    if kind != "storage":
        raise ValueError("an unknown persistent id")
    key, _location, numel, *view = rest
    dtype = _dtype_of(reference)
    if view and view[0] is not None:
        _view_key, start, view_numel = view[0]
        return Storage(str(key), dtype, _whole(view_numel), _whole(start))
    return Storage(str(key), dtype, _whole(numel))


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_rest: Any) -> StoredTensor:
    if not isinstance(storage, Storage) or len(shape) != len(strides) or len(shape) > 8:
        raise ValueError("a tensor without a storage, or of impossible rank")
    return StoredTensor(
        storage,
        storage.dtype,
        _whole(offset),
        tuple(_whole(side) for side in shape),
        tuple(_whole(stride) for stride in strides),
    )


def _tensor_v2(*args: Any) -> StoredTensor:
    # The seventh argument, if present, marks a lazily negated or conjugated tensor.
    tensor = _tensor(*args[:4])
    return dataclasses.replace(tensor, dtype="lazy") if args[6:] and args[6] else tensor


def _tensor_v3(*args: Any) -> StoredTensor:
    return dataclasses.replace(_tensor(*args[:4]), dtype=_dtype_of(args[6]))


def _odd_tensor(kind: str) -> Callable[..., StoredTensor]:
    return lambda *_args: StoredTensor(Storage("", kind, 0), kind, 0, (), ())


def _first(value: Any, *_rest: Any) -> Any:
    return value


def _subclass_tensor(function: Any, _type: Any, args: Any, _state: Any) -> Any:
    return call(function, args)


def describe_object(reference: Any, *_args: Any) -> Record:
    """Describe an object without its class."""
    if not isinstance(reference, Reference):
        raise TypeError("an object without a class")
    return Record(reference.name)


def make_dict(pairs: Iterable[Any] = (), *_rest: Any) -> dict[Any, Any]:
    """Make a dictionary of key and value pairs."""
    return {_key(key): value for key, value in pairs}


def make_set(values: Iterable[Any] = ()) -> set[str]:
    """Make a set of the texts among values."""
    return {value for value in values if isinstance(value, str)}


def _key(value: Any) -> Any:
    # Hashing a deeply nested tuple recurses in C; no checkpoint needs such a key.
    return value if isinstance(value, str | int | float | bytes | None) else object()


def describe_method(owner: Any, name: Any) -> Reference:
    """Name a method by its class, as pickled modules hold them; never the method itself."""
    if not isinstance(owner, Reference) or not isinstance(name, str):
        raise CheckpointError("asks to run builtins.getattr; nothing was executed")
    return Reference(f"{owner.name:.200}.{name:.200}")


# A call that a checkpoint may ask for -> the stand-in that answers it, from this file only.
_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": make_dict,
    "collections.defaultdict": lambda *_args: {},
    "collections.Counter": lambda *_args: {},
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_qtensor": _odd_tensor("quantised"),
    "torch._utils._rebuild_sparse_tensor": _odd_tensor("sparse"),
    "torch._utils._rebuild_nested_tensor": _odd_tensor("nested"),
    "torch._utils._rebuild_meta_tensor_no_storage": _odd_tensor("meta"),
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._tensor._rebuild_from_type_v2": _subclass_tensor,
    "torch.Size": lambda sides=(): tuple(sides),
    "builtins.getattr": describe_method,
    "builtins.set": make_set,
    "builtins.frozenset": make_set,
    "copyreg._reconstructor": describe_object,
    "copyreg.__newobj__": describe_object,
}

# Settings that training code leaves in a file; nothing reads their value.
_SETTINGS = {
    "torch.device",
    "torch.serialization._get_layout",
    "_codecs.encode",
    "builtins.bytearray",
    "builtins.complex",
    "builtins.slice",
    "builtins.range",
    "functools.partial",
    "datetime.datetime",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib.PurePosixPath",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.core.numeric._frombuffer",
    "numpy._core.numeric._frombuffer",
}


def call(function: Any, args: Any) -> Any:
    """Describe the result of a call. CheckpointError if no checkpoint needs that call."""
    name = function.name if isinstance(function, Reference) else type(function).__name__
    if isinstance(function, Reference) and name in _CALLS:
        return _CALLS[name](*args)
    if isinstance(function, Reference) and name in _SETTINGS:
        return Record(name)
    raise CheckpointError(
        f"asks to run {name:.100}; nothing was executed. "
        "Use the checkpoint that its authors publish, or one saved as a state dict"
    )
