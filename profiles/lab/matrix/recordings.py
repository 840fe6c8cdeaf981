"""What torch gives for a picture, asked once for all rows of a variant.

A row is a process of its own, and every export runs the network in torch on the goldens' picture
and, if masks judge it, on more. Within `recorded_in` a picture that an earlier row had run is read
from a file, with what that had cost: a row's times stay those of an export by itself.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from exporter import goldens, samples

FEW = {"CALIBRATION_PICTURES": 2, "GATE_PICTURES": 2}
"""Pictures for filled weights, whose masks say nothing: enough to see that everything runs."""


@dataclass
class Spent:
    """What the pictures that were read had cost: elapsed and processor seconds."""

    seconds: float = 0.0
    cpu_s: float = 0.0


@contextmanager
def recorded_in(folder: Path | None, *, few: bool) -> Iterator[Spent]:
    """Within it, `exporter.goldens.record` runs each picture once for all who name this folder.

    Args:
        folder: of one network with these weights; None to run every picture.
        few: record `FEW` pictures for calibration and judgement.
    """
    spent = Spent()
    kept = goldens.record if folder is None else _keeping(goldens.record, folder, spent)
    changed: dict[str, Any] = {"record": kept, **(FEW if few else {})}
    with patch.multiple(samples, **changed), patch.object(goldens, "record", kept):
        yield spent


def _keeping(record: Callable[..., Any], folder: Path, spent: Spent) -> Callable[..., Any]:
    """Wrap `record`; its picture is told apart by the arguments behind the graphs."""
    folder.mkdir(parents=True, exist_ok=True)

    def kept(graphs: Any, *asked: Any, **named: Any) -> Any:
        name = hashlib.sha256(repr((asked, named)).encode()).hexdigest()[:16]
        file, cost = folder / f"{name}.npz", folder / f"{name}.json"
        if cost.is_file():
            had = json.loads(cost.read_text(encoding="utf-8"))
            spent.seconds += had["seconds"]
            spent.cpu_s += had["cpu_s"]
            with np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
        start, cpu = time.perf_counter(), time.process_time()
        arrays = record(graphs, *asked, **named)
        took = {"seconds": time.perf_counter() - start, "cpu_s": time.process_time() - cpu}
        np.savez(file, allow_pickle=False, **arrays)
        cost.write_text(json.dumps(took), encoding="utf-8")  # last: without it the file is no file
        return arrays

    return kept
