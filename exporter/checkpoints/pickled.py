"""Read a pickle without running anything it asks for, within a budget.

A pickle is a small program: it imports names and calls them. This reader executes none of it. Its
machine knows containers, numbers, text and *descriptions*: a name stays a `Reference`, an object of
any class a `Record`, a tensor a `StoredTensor` that says where its bytes are. Nothing that the file
names is imported or called, so there is nothing to escape from. A file that asks for a call that
means harm is refused by the name of that call.
"""

from __future__ import annotations

import pickle
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from typing import Any

from exporter.checkpoints.budget import LONGEST_NAME, MOST_LEVELS, Budget
from exporter.checkpoints.pickle_arguments import Arguments, Readable
from exporter.checkpoints.pickle_values import (
    Record,
    Reference,
    call,
    describe_object,
    make_key,
    make_set,
    resolve_id,
)
from exporter.errors import CheckpointError
from exporter.printable import printable


def _reference(module: str, name: str) -> Reference:
    """Translate a name of Python 2 into today's."""
    today = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return Reference(".".join(today))


class _Machine:
    """A pickle machine that cannot import or call; each method is named after its opcode."""

    def __init__(self, arguments: Arguments, budget: Budget) -> None:
        self.arguments, self.budget = arguments, budget
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.steps = self._literals() | self._methods()

    def _literals(self) -> dict[int, Callable[[], None]]:
        """Opcodes that put what stands behind them on the stack."""
        a = self.arguments
        readers: dict[bytes, Callable[[], Any]] = {
            pickle.NONE: lambda: None,
            pickle.NEWTRUE: lambda: True,
            pickle.NEWFALSE: lambda: False,
            pickle.EMPTY_TUPLE: tuple,
            pickle.INT: a.short_decimal,
            pickle.LONG: a.decimal,
            pickle.LONG1: lambda: a.long(1),
            pickle.LONG4: lambda: a.long(4),
            pickle.BININT: lambda: a.number(4, signed=True),
            pickle.BININT1: a.byte,
            pickle.BININT2: lambda: a.number(2),
            pickle.FLOAT: a.decimal_real,
            pickle.BINFLOAT: a.real,
            pickle.STRING: a.quoted,
            pickle.BINSTRING: lambda: a.counted(4).decode("latin-1"),
            pickle.SHORT_BINSTRING: lambda: a.counted(1).decode("latin-1"),
            pickle.UNICODE: a.escaped,
            pickle.BINUNICODE: lambda: a.counted(4).decode("utf-8", "surrogatepass"),
            pickle.SHORT_BINUNICODE: lambda: a.counted(1).decode("utf-8", "surrogatepass"),
            pickle.BINUNICODE8: lambda: a.counted(8).decode("utf-8", "surrogatepass"),
            pickle.BINBYTES: lambda: a.counted(4),
            pickle.SHORT_BINBYTES: lambda: a.counted(1),
            pickle.BINBYTES8: lambda: a.counted(8),
            pickle.BYTEARRAY8: lambda: a.counted(8),
        }
        return {code[0]: self._pusher(read) for code, read in readers.items()}

    def _pusher(self, read: Callable[[], Any]) -> Callable[[], None]:
        def push() -> None:
            self.stack.append(read())

        return push

    def _methods(self) -> dict[int, Callable[[], None]]:
        return {
            getattr(pickle, name.removeprefix("on_").upper())[0]: getattr(self, name)
            for name in dir(self)
            if name.startswith("on_")
        }

    def run(self) -> Any:
        read, steps, stop = self.arguments.byte, self.steps, pickle.STOP[0]
        for _ in range(self.budget.operations + 1):
            self.budget.operations -= 1
            code = read()
            if code == stop:
                return self.stack.pop()
            step = steps.get(code)
            if step is None:
                raise CheckpointError(f"uses pickle opcode {code:#x}, which no checkpoint needs")
            step()
        raise self.budget.spent("takes more steps to read")

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

    def push(self, container: Any) -> None:
        self.budget.contain()
        self.stack.append(container)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        held = target.state if isinstance(target, Record) else target
        held.update(_pairs(items))

    def on_proto(self) -> None:
        self.arguments.byte()

    def on_frame(self) -> None:
        self.arguments.number(8)

    def on_empty_list(self) -> None:
        self.push([])

    def on_empty_dict(self) -> None:
        self.push({})

    def on_empty_set(self) -> None:
        self.push(set())

    def on_mark(self) -> None:
        if len(self.below) >= MOST_LEVELS:
            raise CheckpointError(f"nests over {MOST_LEVELS} levels deep; no checkpoint does")
        self.below.append(self.stack)
        self.stack = []

    def on_pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.stack = self.below.pop()

    def on_pop_mark(self) -> None:
        self.pop_marked()

    def on_dup(self) -> None:
        self.stack.append(self.stack[-1])

    def put(self, slot: int) -> None:
        self.memo[slot] = self.stack[-1]

    def on_put(self) -> None:
        self.put(self.arguments.decimal())

    def on_binput(self) -> None:
        self.put(self.arguments.byte())

    def on_long_binput(self) -> None:
        self.put(self.arguments.number(4))

    def on_memoize(self) -> None:
        self.put(len(self.memo))

    def get(self, slot: int) -> None:
        self.stack.append(self.memo[slot])

    def on_get(self) -> None:
        self.get(self.arguments.decimal())

    def on_binget(self) -> None:
        self.get(self.arguments.byte())

    def on_long_binget(self) -> None:
        self.get(self.arguments.number(4))

    def on_tuple(self) -> None:
        items = self.pop_marked()
        self.push(tuple(items))

    def on_tuple1(self) -> None:
        self.push(self.take(1))

    def on_tuple2(self) -> None:
        self.push(self.take(2))

    def on_tuple3(self) -> None:
        self.push(self.take(3))

    def on_list(self) -> None:
        items = self.pop_marked()
        self.push(items)

    def on_dict(self) -> None:
        items = self.pop_marked()
        self.push(_pairs(items))

    def on_frozenset(self) -> None:
        items = self.pop_marked()
        self.push(make_set(self.budget, items))

    def on_append(self) -> None:
        (item,) = self.take(1)
        self.extend([item])

    def on_appends(self) -> None:
        self.extend(self.pop_marked())

    def extend(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):  # a Record of a list's subclass drops them
            self.stack[-1].extend(items)

    def on_additems(self) -> None:
        items = self.pop_marked()
        if isinstance(self.stack[-1], set):
            self.stack[-1].update(make_set(self.budget, items))

    def on_setitem(self) -> None:
        self.set_items(list(self.take(2)))

    def on_setitems(self) -> None:
        self.set_items(self.pop_marked())

    def on_global(self) -> None:
        self.push(_reference(self.arguments.name(), self.arguments.name()))

    def on_stack_global(self) -> None:
        names = self.take(2)
        if not all(isinstance(name, str) and len(name) <= LONGEST_NAME for name in names):
            raise ValueError("a class whose name is no text, or too long")
        self.push(Reference(".".join(names)))

    def on_binpersid(self) -> None:
        (identity,) = self.take(1)
        self.stack.append(resolve_id(identity, self.budget))

    def on_reduce(self) -> None:
        function, args = self.take(2)
        self.stack.append(call(function, args, self.budget))

    def on_newobj(self) -> None:
        reference, _args = self.take(2)
        self.stack.append(describe_object(self.budget, reference))

    def on_newobj_ex(self) -> None:
        reference, _args, _keywords = self.take(3)
        self.stack.append(describe_object(self.budget, reference))

    def on_inst(self) -> None:
        reference = _reference(self.arguments.name(), self.arguments.name())
        self.stack.append(call(reference, tuple(self.pop_marked()), self.budget))

    def on_obj(self) -> None:
        function, *args = self.pop_marked()
        self.stack.append(call(function, tuple(args), self.budget))

    def on_build(self) -> None:
        target, state = self.take(2)
        if isinstance(state, tuple) and len(state) == 2:  # (attributes, slots)
            state = state[0]
        if isinstance(target, Record) and isinstance(state, dict):
            self.budget.copy(len(state))
            target.state.update(state)
        self.stack.append(target)


def _pairs(items: list[Any]) -> dict[Any, Any]:
    keys, values = items[::2], items[1::2]
    return {make_key(key): value for key, value in zip(keys, values, strict=True)}


def read_pickle(data: Readable, at: int, budget: Budget) -> tuple[Any, int]:
    """Read a pickle: containers, Record, Reference, StoredTensor.

    Args:
        data: what it stands in; it may be followed by something else.
        at: where it begins.
        budget: of the file; spent for what is read.

    Returns:
        Its value, and where it ends.

    Raises:
        CheckpointError: it asks to run something, is damaged, or spends the budget.
    """
    arguments = Arguments(data, at)
    try:
        value = _Machine(arguments, budget).run()
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError) as error:
        raise CheckpointError(f"holds a damaged pickle ({_reason(error)})") from error
    return value, arguments.at


def _reason(error: Exception) -> str:
    """Say what was wrong; a KeyError may hold an object that must not become text."""
    if isinstance(error, IndexError | EOFError):
        return "it ends too early, or takes what was never put there"
    said = error.args[0] if error.args else ""
    return printable(said) if isinstance(said, str) else type(error).__name__
