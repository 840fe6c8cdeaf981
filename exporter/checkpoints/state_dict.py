"""Find the tensors of state dicts and pickled modules among the values of a pickle.

Training code keeps weights under names of its own, often beside their moving average, the
optimiser's state and whatever else it needed. Every dictionary of tensors is a set of its own;
which one is the network's is told by its tensors, in `exporter.checkpoints.choose`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from exporter.checkpoints.budget import LONGEST_NAME, Budget
from exporter.checkpoints.contents import Storage, StoredTensor
from exporter.checkpoints.pickle_values import Record, Reference
from exporter.errors import CheckpointError
from exporter.printable import printable

_CONTAINERS = ("model", "state_dict", "model_state", "model_state_dict")
BARE = "tensor"
"""The name of a file's tensor that has none: the file holds nothing else."""
_MOST_MODULES = 50_000
_CHILD = 4
"""What a module inside another costs, in copies."""
_MOST_LEVELS = 64
_MOST_HOLDERS = 1000
"""Dictionaries and objects that are looked into for sets."""
_DEEPEST_SET = 4
_MOST_SETS = 32
_MOST_SKIPPED = 20
_MOST_TEXTS, _LONGEST_TEXT = 50, 200

Sets = dict[str, dict[str, StoredTensor]]


def tensor_sets(value: Any, budget: Budget) -> tuple[Sets, tuple[str, ...], tuple[str, ...]]:
    """Collect every set of tensors by their `state_dict` names.

    Args:
        value: of a pickle.
        budget: of the file; a tensor that is met costs a copy, however often it is shared.

    Returns:
        The sets by their place in the value, what lies beside them and is no tensor, and texts that
        lie there.

    Raises:
        CheckpointError: there are none, or a few objects mean more than the budget allows.
    """
    sets: Sets = {}
    beside = _Beside()
    waiting, seen = [("", _held(value))], set[int]()
    while waiting and len(seen) < _MOST_HOLDERS and len(sets) < _MOST_SETS:
        place, holder = waiting.pop(0)
        if id(holder) in seen:
            continue
        seen.add(id(holder))
        if isinstance(holder, Record) and "_modules" in holder.state:
            found = dict(_module_tensors(holder, budget))
        else:
            items = holder.state if isinstance(holder, Record) else holder
            if not isinstance(items, dict):
                continue
            found = dict(_tensors_of(items, "", budget))
            inner = list(_holders(items, place))
            found = found or _joined(inner, budget)
            waiting += inner if place.count(".") + 1 < _DEEPEST_SET else []
            beside.note(items, place)
        if found:
            sets[place] = found
    if not sets:
        raise CheckpointError("holds no tensors under names; a state dict is expected")
    first = [place for place in _CONTAINERS if place in sets]
    ordered = {p: sets[p] for p in (*first, *sets)}
    return ordered, tuple(beside.skipped[:_MOST_SKIPPED]), tuple(beside.texts[:_MOST_TEXTS])


def _held(value: Any) -> Any:
    """Say where to begin in a file's value."""
    if isinstance(value, StoredTensor):
        return {BARE: value}
    if isinstance(value, dict) and isinstance(value.get("ema"), Record):
        return value["ema"]  # ultralytics: the averaged module; their loader prefers it too
    return value


@dataclass
class _Beside:
    """What lies beside the sets."""

    skipped: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def note(self, items: Mapping[Any, Any], place: str) -> None:
        """Note what a holder has of it."""
        self.skipped += _others(items, place)
        if len(self.texts) < _MOST_TEXTS:
            found = [text for text in items.values() if isinstance(text, str)]
            self.texts += [text[:_LONGEST_TEXT] for text in found[:_MOST_TEXTS]]


def _holders(items: Mapping[Any, Any], place: str) -> Iterator[tuple[str, Any]]:
    """List what may hold a set, the usual names first."""
    names = [name for name in items if isinstance(name, str)]
    for name in sorted(names, key=lambda name: name not in _CONTAINERS):
        if isinstance(items[name], dict | Record):
            yield f"{place}.{_part(name)}".lstrip("."), items[name]


def _joined(inner: list[tuple[str, Any]], budget: Budget) -> dict[str, StoredTensor]:
    """Join several state dicts that lie in one file under the names of their modules."""
    tensors: dict[str, StoredTensor] = {}
    dicts = [(place, held) for place, held in inner if isinstance(held, dict)]
    if len(dicts) < 2:  # one is a set of its own
        return tensors
    for place, held in dicts:
        tensors.update(_tensors_of(held, f"{place.rpartition('.')[2]}.", budget))
    return tensors


def _others(items: Mapping[Any, Any], place: str) -> Iterator[str]:
    """Name the objects without tensors that lie beside a set."""
    for name, held in items.items():
        if isinstance(name, str) and isinstance(held, Record | Reference):
            kind = held.kind if isinstance(held, Record) else held.name
            if not isinstance(held, Record) or not held.state:
                where = f"{place}.{name[:60]}".lstrip(".")
                yield f"{printable(where, 60)} ({printable(kind, 60)})"


def _tensors_of(
    items: Mapping[Any, Any], prefix: str, budget: Budget
) -> Iterator[tuple[str, StoredTensor]]:
    budget.copy(len(items))
    for name, tensor in items.items():
        if isinstance(name, str) and isinstance(tensor, StoredTensor):
            yield prefix + _part(name), tensor


def _part(name: str) -> str:
    """Cut a part of a name that no tensor can have; the whole name is refused by its length."""
    return name[: LONGEST_NAME + 1]


def _module_tensors(root: Record, budget: Budget) -> Iterator[tuple[str, StoredTensor]]:
    waiting, seen = [("", root, 0)], 0
    while waiting:
        prefix, module, level = waiting.pop()
        seen += 1
        if seen > _MOST_MODULES or level > _MOST_LEVELS or len(prefix) > LONGEST_NAME:
            raise CheckpointError("nests modules without end")
        for name, tensor in _own_tensors(module, budget):
            yield prefix + _part(name), tensor
        wrapper = module.kind.endswith("DataParallel")
        children = _dict_of(module, "_modules")
        budget.copy(_CHILD * len(children))
        for name, child in reversed(children.items()):
            if isinstance(child, Record) and isinstance(name, str):
                # A wrapper adds `module.` inside names; the wrapped module has the real ones.
                inside = prefix if wrapper and name == "module" else f"{prefix}{_part(name)}."
                waiting.append((inside, child, level + 1))


def _own_tensors(module: Record, budget: Budget) -> Iterator[tuple[str, StoredTensor]]:
    skipped = module.state.get("_non_persistent_buffers_set")
    skipped = skipped if isinstance(skipped, set) else set()
    for place in ("_parameters", "_buffers"):
        items = _dict_of(module, place)
        budget.copy(len(items))
        for name, tensor in items.items():
            if isinstance(name, str) and isinstance(tensor, StoredTensor) and name not in skipped:
                yield name, tensor


def _dict_of(module: Record, place: str) -> dict[Any, Any]:
    held = module.state.get(place)
    return held if isinstance(held, dict) else {}


def storages_of(value: Any) -> Iterator[Storage]:
    """List every storage that a value mentions; each object is visited once."""
    waiting, seen = [value], set()
    while waiting:
        item = waiting.pop()
        if isinstance(item, str | int | float | bytes | None) or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, StoredTensor):
            yield item.storage
        elif isinstance(item, Storage):
            yield item
        elif isinstance(item, Record):
            waiting.append(item.state)
        elif isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)
