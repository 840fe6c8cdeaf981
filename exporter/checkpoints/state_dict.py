"""Find the tensors of a state dict or a pickled module among the values of a pickle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from exporter.checkpoints.budget import LONGEST_NAME, Budget
from exporter.checkpoints.contents import Storage, StoredTensor
from exporter.checkpoints.pickle_values import Record
from exporter.errors import CheckpointError

_CONTAINERS = ("model", "state_dict", "model_state", "model_state_dict")
_MOST_MODULES = 50_000
_CHILD = 4
"""What a module inside another costs, in copies."""
_MOST_LEVELS = 64


def flatten(value: Any, budget: Budget) -> dict[str, StoredTensor]:
    """Collect tensors by their `state_dict` names.

    Args:
        value: of a pickle.
        budget: of the file; a tensor that is met costs a copy, however often it is shared.

    Raises:
        CheckpointError: there are none, or a few objects mean more than the budget allows.
    """
    held = value
    if isinstance(held, dict) and isinstance(held.get("ema"), Record):
        held = held["ema"]  # ultralytics: the averaged module; their loader prefers it too
    elif isinstance(held, dict):
        held = next((held[c] for c in _CONTAINERS if isinstance(held.get(c), dict | Record)), held)
    if isinstance(held, Record) and "_modules" in held.state:
        tensors = dict(_module_tensors(held, budget))
    else:
        items = held.state if isinstance(held, Record) else held
        tensors = _state_dict(items, budget) if isinstance(items, dict) else {}
    if not tensors:
        raise CheckpointError("holds no tensors under names; a state dict is expected")
    return tensors


def _state_dict(items: Mapping[Any, Any], budget: Budget) -> dict[str, StoredTensor]:
    found = dict(_tensors_of(items, "", budget))
    if found:
        return found
    # Several state dicts in one file, under the names of their modules.
    tensors: dict[str, StoredTensor] = {}
    for key, held in items.items():
        if isinstance(key, str) and isinstance(held, dict):
            tensors.update(_tensors_of(held, f"{_part(key)}.", budget))
    return tensors


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
