"""Read the JSON that describes weights; bounded before it is parsed."""

from __future__ import annotations

import json
from typing import Any

from exporter.checkpoints.budget import LONGEST_NAME, MOST_TENSORS
from exporter.errors import CheckpointError
from exporter.printable import printable

_LONGEST_NUMBER = 40
_VALUES_A_TENSOR = 20


def parse_bounded(text: bytes) -> Any:
    """Parse JSON whose every value costs memory in proportion to the text.

    Raises:
        CheckpointError: more values than the most tensors take, a name given twice, an impossible
            number.
        ValueError: it is no JSON.
    """
    values = sum(text.count(mark) for mark in (b",", b"{", b"["))
    if values > _VALUES_A_TENSOR * MOST_TENSORS:
        raise CheckpointError(f"describes more than {MOST_TENSORS} tensors; no checkpoint does")
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
    except RecursionError:
        raise ValueError("it nests too deep") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise CheckpointError(f"holds {printable(twice, LONGEST_NAME // 10)} twice")
    return made


def _integer(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


def _float(digits: str) -> float:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError(f"a number of {len(digits)} digits")
    return float(digits)


def _constant(word: str) -> float:
    raise ValueError(f"{word} is no number")
