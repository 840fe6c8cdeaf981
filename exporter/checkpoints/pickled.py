"""Read a pickle without running anything it asks for.

A pickle is a small program: it imports names and calls them. This reader executes none of it. Its
machine knows containers, numbers, text and *descriptions*: a name stays a `Reference`, an object of
any class a `Record`, a tensor a `StoredTensor` that says where its bytes are. Nothing that the file
names is imported or called, so there is nothing to escape from. A file that asks for a call no
checkpoint needs is refused by the name of that call.
"""

from __future__ import annotations

import pickletools
import struct
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from typing import Any, Protocol

from exporter.checkpoints.pickle_values import (
    Record,
    Reference,
    call,
    describe_object,
    make_dict,
    make_set,
    resolve_id,
)
from exporter.errors import CheckpointError


class Readable(Protocol):
    """A binary stream; `read` must not allocate more than it holds (BytesIO and mmap do not)."""

    def read(self, size: int, /) -> bytes:
        """Read up to `size` bytes."""
        ...

    def readline(self) -> bytes:
        """Read up to the next newline."""
        ...

    def tell(self) -> int:
        """Current position."""
        ...


_NOTHING = {"PROTO", "FRAME", "STOP"}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_LITERALS = {
    "INT",
    "LONG",
    "LONG1",
    "LONG4",
    "BININT",
    "BININT1",
    "BININT2",
    "FLOAT",
    "BINFLOAT",
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
    "UNICODE",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
    "BINBYTES",
    "SHORT_BINBYTES",
    "BINBYTES8",
    "BYTEARRAY8",
}


def _reference(names: str) -> Reference:
    """Translate `module name` of a protocol with Python 2 names into today's name."""
    module, name = names.split(" ", 1)
    today = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return Reference(".".join(today))


class _Machine:
    """A pickle machine that cannot import or call; each method is named after its opcode."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def step(self, opcode: str, argument: Any) -> None:
        if opcode in _LITERALS:
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode]())
        elif opcode not in _NOTHING:
            method = getattr(self, f"on_{opcode.lower()}", None)
            if method is None:
                raise CheckpointError(f"uses pickle opcode {opcode}, which no checkpoint needs")
            method(argument)

    def pop_marked(self) -> list[Any]:
        items = self.stack
        self.stack = self.below.pop()
        return items

    def take(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise ValueError("an empty stack")
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        return items

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        held = target.state if isinstance(target, Record) else target
        held.update(make_dict(zip(items[::2], items[1::2], strict=True)))

    def on_mark(self, _: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def on_pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.stack = self.below.pop()

    def on_pop_mark(self, _: Any) -> None:
        self.pop_marked()

    def on_dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def on_put(self, slot: int) -> None:
        self.memo[slot] = self.stack[-1]

    def on_memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def on_get(self, slot: int) -> None:
        self.stack.append(self.memo[slot])

    on_binput = on_long_binput = on_put
    on_binget = on_long_binget = on_get

    def on_tuple(self, _: Any) -> None:
        items = self.pop_marked()
        self.stack.append(tuple(items))

    def on_tuple1(self, _: Any) -> None:
        self.stack.append(self.take(1))

    def on_tuple2(self, _: Any) -> None:
        self.stack.append(self.take(2))

    def on_tuple3(self, _: Any) -> None:
        self.stack.append(self.take(3))

    def on_list(self, _: Any) -> None:
        items = self.pop_marked()
        self.stack.append(items)

    def on_dict(self, _: Any) -> None:
        items = self.pop_marked()
        self.stack.append(make_dict(zip(items[::2], items[1::2], strict=True)))

    def on_frozenset(self, _: Any) -> None:
        items = self.pop_marked()
        self.stack.append(make_set(items))

    def on_append(self, _: Any) -> None:
        (item,) = self.take(1)
        self.extend([item])

    def on_appends(self, _: Any) -> None:
        self.extend(self.pop_marked())

    def extend(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):  # a Record of a list's subclass drops them
            self.stack[-1].extend(items)

    def on_additems(self, _: Any) -> None:
        items = self.pop_marked()
        if isinstance(self.stack[-1], set):
            self.stack[-1].update(make_set(items))

    def on_setitem(self, _: Any) -> None:
        self.set_items(list(self.take(2)))

    def on_setitems(self, _: Any) -> None:
        self.set_items(self.pop_marked())

    def on_global(self, names: str) -> None:
        self.stack.append(_reference(names))

    def on_stack_global(self, _: Any) -> None:
        module, name = self.take(2)
        self.stack.append(Reference(f"{module!s:.200}.{name!s:.200}"))

    def on_binpersid(self, _: Any) -> None:
        (identity,) = self.take(1)
        self.stack.append(resolve_id(identity))

    def on_reduce(self, _: Any) -> None:
        function, args = self.take(2)
        self.stack.append(call(function, args))

    def on_newobj(self, _: Any) -> None:
        reference, _args = self.take(2)
        self.stack.append(describe_object(reference))

    def on_newobj_ex(self, _: Any) -> None:
        reference, _args, _keywords = self.take(3)
        self.stack.append(describe_object(reference))

    def on_inst(self, names: str) -> None:
        call(_reference(names), None)

    def on_obj(self, _: Any) -> None:
        call(self.pop_marked()[0], None)

    def on_build(self, _: Any) -> None:
        target, state = self.take(2)
        if isinstance(state, tuple) and len(state) == 2:  # (attributes, slots)
            state = state[0]
        if isinstance(target, Record) and isinstance(state, dict):
            target.state.update(state)
        self.stack.append(target)


def read_pickle(stream: Readable) -> Any:
    """Read the next pickle of a stream: containers, Record, Reference, StoredTensor.

    Raises:
        CheckpointError: it asks to run something, or is damaged.
    """
    machine = _Machine()
    try:
        for opcode, argument, _position in pickletools.genops(stream):  # type: ignore[arg-type]
            machine.step(opcode.name, argument)
        return machine.stack.pop()
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError) as error:
        raise CheckpointError(f"holds a damaged pickle ({error!s:.200})") from error
    except struct.error as error:
        raise CheckpointError("holds a pickle that ends too early") from error
