"""The values a pickle may describe, and the few calls it may ask for.

Each call a checkpoint needs is answered by a function of this file that makes a description. Any
other leaves a `Record` of its name, which nothing reads: a trainer pickles what it likes beside the
weights. Nothing here imports or runs anything that a file names, whatever it names: a name is a
text that is looked up in a table of this file. So no list of bad names protects anybody; a call
that means harm is refused only to tell whoever has such a file. Nothing is made into text before
its type is known: a key may be a tuple of a thousand levels.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from exporter.checkpoints.budget import LONGEST_NAME, MOST_RANK, MOST_SIDE, Budget
from exporter.checkpoints.contents import Storage, StoredTensor
from exporter.errors import CheckpointError
from exporter.printable import printable

_MOST_ARGUMENTS = 16


@dataclass(frozen=True)
class Reference:
    """The dotted name of a class or function that the file mentions."""

    name: str


@dataclass
class Record:
    """An object of an unknown class, with the state that the file gives it."""

    kind: str
    state: dict[Any, Any] = field(default_factory=dict)


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
    if type(value) is not int or not 0 <= value <= MOST_SIDE:
        raise ValueError("a count or offset that is no whole number of a tensor")
    return value


def storage_key(value: Any) -> str:
    """Check the name of a storage: a short text, or a number in files of old."""
    if type(value) is int:
        value = str(_whole(value))
    if not isinstance(value, str) or len(value) > LONGEST_NAME:
        raise ValueError("a storage whose name is no text")
    return value


def resolve_id(identity: Any, budget: Budget) -> Storage | Reference:
    """Resolve a persistent id to the bytes of tensors, or to a wrapped class."""
    if not isinstance(identity, tuple) or not 2 <= len(identity) <= _MOST_ARGUMENTS:
        raise ValueError("an unknown persistent id")
    kind, reference, *rest = identity
    if kind == "module" and isinstance(reference, Reference):  # torch < 1.6 wraps classes so
        return reference
    if kind != "storage":
        raise ValueError("an unknown persistent id")
    key, _location, numel, *view = rest
    dtype = _dtype_of(reference)
    budget.contain()
    if view and view[0] is not None:
        _view_key, start, view_numel = view[0]
        return Storage(storage_key(key), dtype, _whole(view_numel), _whole(start))
    return Storage(storage_key(key), dtype, _whole(numel))


def _sides(value: Any) -> tuple[int, ...]:
    if not isinstance(value, tuple | list) or len(value) > MOST_RANK:
        raise ValueError("a tensor of impossible rank")
    return tuple(_whole(side) for side in value)


def _tensor(budget: Budget, *args: Any) -> StoredTensor:
    storage, offset, shape, strides = args[:4]
    if not isinstance(storage, Storage):
        raise TypeError("a tensor without a storage")
    sides, steps = _sides(shape), _sides(strides)
    if len(sides) != len(steps):
        raise ValueError("a tensor of impossible rank")
    budget.describe()
    return StoredTensor(storage, storage.dtype, _whole(offset), sides, steps)


def _tensor_v2(budget: Budget, *args: Any) -> StoredTensor:
    # The seventh argument, if present, marks a lazily negated or conjugated tensor.
    tensor = _tensor(budget, *args)
    return dataclasses.replace(tensor, dtype="lazy") if args[6:] and args[6] else tensor


def _tensor_v3(budget: Budget, *args: Any) -> StoredTensor:
    return dataclasses.replace(_tensor(budget, *args), dtype=_dtype_of(args[6]))


def _odd_tensor(kind: str) -> Callable[..., StoredTensor]:
    def describe(budget: Budget, *_args: Any) -> StoredTensor:
        budget.describe()
        return StoredTensor(Storage("", kind, 0), kind, 0, (), ())

    return describe


def _first(_budget: Budget, value: Any, *_rest: Any) -> Any:
    return value


def _subclass_tensor(budget: Budget, function: Any, _type: Any, args: Any, _state: Any) -> Any:
    budget.operate()
    if isinstance(function, Reference) and _CALLS.get(function.name) is _subclass_tensor:
        raise ValueError("a tensor inside itself")
    return call(function, args, budget)


def _size(budget: Budget, sides: Any = ()) -> tuple[Any, ...]:
    if not isinstance(sides, tuple | list):
        raise TypeError("a size that is no row of sides")
    budget.copy(len(sides))
    return tuple(sides)


def describe_object(budget: Budget, reference: Any, *_args: Any) -> Record:
    """Describe an object without its class."""
    if not isinstance(reference, Reference):
        raise TypeError("an object without a class")
    budget.contain()
    return Record(reference.name)


def make_dict(budget: Budget, pairs: Any = (), *_rest: Any) -> dict[Any, Any]:
    """Make a dictionary of key and value pairs."""
    if not isinstance(pairs, tuple | list):
        raise TypeError("a dictionary of something else than pairs")
    budget.copy(len(pairs))
    return {make_key(key): value for key, value in pairs}


def make_set(budget: Budget, values: Any = ()) -> set[str]:
    """Make a set of the texts among values."""
    if not isinstance(values, tuple | list | set):
        raise TypeError("a set of something else than a row of values")
    budget.copy(len(values))
    return {value for value in values if isinstance(value, str)}


def _empty_dict(_budget: Budget, *_args: Any) -> dict[Any, Any]:
    return {}


def make_key(value: Any) -> Any:
    """Make a key of a dictionary; one that no checkpoint needs is replaced by a fresh object."""
    # Hashing a deeply nested tuple recurses in C.
    return value if isinstance(value, str | int | float | bytes | None) else object()


def describe_method(_budget: Budget, owner: Any, name: Any) -> Reference:
    """Name a method by its class, as pickled modules hold them; never the method itself."""
    if not isinstance(owner, Reference) or not isinstance(name, str):
        raise CheckpointError("asks to run builtins.getattr; nothing was executed")
    return Reference(f"{owner.name[:200]}.{name[:200]}")


# A call that a checkpoint may ask for -> the stand-in that answers it, from this file only.
_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": make_dict,
    "collections.defaultdict": _empty_dict,
    "collections.Counter": _empty_dict,
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
    "torch.Size": _size,
    "builtins.getattr": describe_method,
    "builtins.set": make_set,
    "builtins.frozenset": make_set,
    "copyreg._reconstructor": describe_object,
    "copyreg.__newobj__": describe_object,
}

_PLAIN = {
    *(f"builtins.{name}" for name in ("bytearray", "bytes", "complex", "dict", "list", "object")),
    *("builtins.range", "builtins.slice", "io.BytesIO", "io.StringIO", "operator.itemgetter"),
    *("types.MappingProxyType", "types.SimpleNamespace"),
}
"""Types of the modules below that training code leaves in a file."""
_HOSTILE = re.compile(
    r"(_frozen_importlib|_io|_posixsubprocess|_thread|_winapi|asyncio|bdb|builtins|"
    r"cloudpickle|code|codeop|commands|cProfile|ctypes|dill|gc|http|imp|importlib|"
    r"inspect|io|joblib|linecache|marshal|mmap|msvcrt|multiprocessing|nt|operator|"
    r"_operator|os|pdb|pickle|_pickle|pip|pkgutil|platform|posix|profile|pty|"
    r"pydoc|requests|runpy|setuptools|shutil|signal|smtplib|socket|ssl|subprocess|"
    r"sys|tempfile|threading|timeit|trace|types|urllib|webbrowser|winreg)(\.|$)"
)
"""Modules whose call in a pickle means harm, for a word about it: see `call`."""
_HOSTILE_CALLS = {"torch.load", "torch.hub", "torch.jit", "torch._dynamo", "numpy.load"}


def call(function: Any, args: Any, budget: Budget) -> Any:
    """Describe the result of a call, which is never made.

    Raises:
        CheckpointError: a loader that made it would run code or reach the system: a warning about
            the file. One that `_HOSTILE` misses becomes a `Record` like any other.
    """
    name = function.name if isinstance(function, Reference) else type(function).__name__
    if isinstance(function, Reference):
        budget.contain()
        if name in _CALLS:
            if not isinstance(args, tuple) or len(args) > _MOST_ARGUMENTS:
                raise TypeError("a call with impossible arguments")
            return _CALLS[name](budget, *args)
        if not _is_hostile(name):
            return Record(name)
    raise CheckpointError(
        f"asks to run {printable(name, 100)}; nothing was executed. "
        "Use the checkpoint that its authors publish, or one saved as a state dict"
    )


def _is_hostile(name: str) -> bool:
    """Tell whether a call by this dotted name would run code or reach the system."""
    if name in _PLAIN:
        return False
    return _HOSTILE.match(name) is not None or name.startswith(tuple(_HOSTILE_CALLS))
