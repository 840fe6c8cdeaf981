"""Whether a lowered memory attention takes a bank as it should: what no single case shows.

- Another bank moves the frame's features as far as in torch: a graph that ignores its bank can be
  close to torch on every one.
- What empty slots hold does not show.
- The order of slots does not matter, so a host may write over the oldest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from exporter.bundle.goldens import Goldens
from exporter.bundle.layouts import Array
from exporter.bundle.manifest import Figure
from exporter.bundle.tensors import GraphSpec
from exporter.bundle.video import ALONE, FEW, FULL
from runtimes.measures import (
    EMPTY_SLOTS,
    FEATURES,
    MEMORY_SENSITIVITY,
    SLOT_ORDER,
    Floors,
    worst_error,
)
from runtimes.measures import prompt_sensitivity as follows

SLOTS = {"memories": "memory_age", "object_pointers": "pointer_age"}
"""What slots hold -> their ages."""
RUBBISH = 100.0
"""Times the largest number of a bank: what empty slots hold instead."""

TELLING = 1e-3
"""Share of the largest number that another bank has to move in torch itself. What moves less cannot
be told from the rounding that a lowered graph is allowed, and proves nothing: so it is with
EdgeTAM's network as long as its weights are not trained, whose features reach 1e7."""

Run = Callable[[dict[str, Array]], Mapping[str, Array]]
"""Inputs by name, canonical -> outputs."""


def takes_bank(spec: GraphSpec) -> bool:
    """Tell whether a graph is a memory attention."""
    return {tensor.name for tensor in spec.inputs} >= {*SLOTS, *SLOTS.values()}


def check_bank(
    spec: GraphSpec, goldens: Goldens, outputs: Mapping[str, Mapping[str, Array]], run: Run,
    floors: Floors,
) -> list[Figure]:  # fmt: skip
    """Measure a memory attention.

    Args:
        spec: its.
        goldens: with the cases FULL, FEW and ALONE of it.
        outputs: case -> what the lowered graph gave.
        run: the lowered graph.
        floors: of the precision.

    Raises:
        BundleError: the goldens have no such cases.
    """
    full, few = goldens.inputs(spec, FULL), goldens.inputs(spec, FEW)
    pair = [
        [np.asarray(found[case][FEATURES]) for case in (FULL, ALONE)]
        for found in (
            {case: {FEATURES: goldens.expected(spec, case, FEATURES)} for case in (FULL, ALONE)},
            outputs,
        )
    ]

    def figure(measure: str, value: float, better: Literal["higher", "lower"] = "lower") -> Figure:
        floor = floors(spec.name, FEATURES, measure)
        if measure == MEMORY_SENSITIVITY and not tells(*pair[0]):
            floor = None
        return Figure(spec.name, FEATURES, measure, value, "", better, floor)

    hidden = worst_error(outputs[FEW][FEATURES], run(with_rubbish(few))[FEATURES])
    order = worst_error(outputs[FULL][FEATURES], run(reversed_slots(full))[FEATURES])
    return [
        figure(MEMORY_SENSITIVITY, follows(pair[0], pair[1]), "higher"),
        figure(EMPTY_SLOTS, hidden),
        figure(SLOT_ORDER, order),
    ]


def tells(with_bank: Array, without: Array) -> bool:
    """Tell whether another bank moves torch's own numbers by enough to measure."""
    moved = float(np.abs(with_bank.astype(np.float64) - without).max())
    return moved > TELLING * float(np.abs(with_bank).max())


def with_rubbish(bank: Mapping[str, Array]) -> dict[str, Array]:
    """Fill the empty slots of a bank with large numbers."""
    changed = dict(bank)
    for name, age in SLOTS.items():
        held = bank[name].copy()
        held[:, bank[age][0] < 0] = RUBBISH * np.abs(held).max()
        changed[name] = held
    return changed


def reversed_slots(bank: Mapping[str, Array]) -> dict[str, Array]:
    """Turn the order of a bank's slots round."""
    turned = {name: bank[name][:, ::-1] for pair in SLOTS.items() for name in pair}
    return dict(bank) | {name: np.ascontiguousarray(array) for name, array in turned.items()}
