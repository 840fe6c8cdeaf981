"""Time one row's contenders in one process, in turns.

It runs in a process of its own (`__main__`), after another process has lowered the graphs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.bundle.layouts import to_layout
from exporter.bundle.manifest import GraphFile
from exporter.bundle.reading import parse
from exporter.errors import ParityError
from profiles.lab.bench.rows import LOWERINGS, NEXT, OURS, PLAIN, PUBLISHED, BenchRow
from runtimes.engines import choose_engine

THREADS = 2
TORCH_TOLERANCE = 1e-4
"""Share of the largest absolute value: the same arithmetic in another order, in float32."""
RUNTIME_TOLERANCE = 1e-3
"""The same share, with the runtime's own exponentials and GELU."""

Array = npt.NDArray[Any]
Call = Callable[[], object]


@dataclass(frozen=True)
class TurnPlan:
    """Number and length of turns.

    Attributes:
        rounds: turns of each contender.
        calls: timed calls in a turn.
        pause_s: before a turn, so that the last contender's threads have gone to sleep: torch's
            wait for work on a core that the next contender needs.
        busy: whether other work has the machine: one thread's processor time is taken then, which
            that disturbs the least, instead of the time that `THREADS` threads need.
    """

    rounds: int
    calls: int = 1
    pause_s: float = 0.05
    busy: bool = False

    @property
    def threads(self) -> int:
        """Threads of each contender."""
        return 1 if self.busy else THREADS

    def clock_ns(self) -> int:
        """Read the clock."""
        return time.process_time_ns() if self.busy else time.perf_counter_ns()


def interleave(
    contenders: Mapping[str, Call],
    plan: TurnPlan,
    clock_ns: Callable[[], int] | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> dict[str, list[float]]:
    """Time every call, in milliseconds by contender. Each round begins with the next contender."""
    names, clock_ns = list(contenders), clock_ns or plan.clock_ns
    samples: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(plan.rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            sleep(plan.pause_s)
            for _ in range(plan.calls):
                start = clock_ns()
                contenders[name]()
                samples[name].append((clock_ns() - start) / 1e6)
    return samples


def ratios(samples: Mapping[str, list[float]], against: str = PUBLISHED) -> dict[str, float]:
    """Divide the minimum of `against` by each contender's: speed as a multiple, 1 is as fast."""
    base = min(samples[against])
    return {name: base / min(values) for name, values in samples.items()}


def measure(row: BenchRow, folder: Path, lowered: Mapping[str, Any], plan: TurnPlan) -> Any:
    """Check every contender against the published code, then time all of them.

    Args:
        row: what to measure.
        folder: written by `lower_row`.
        lowered: returned by `lower_row`.
        plan: how turns are taken.

    Raises:
        ParityError: a contender gives other numbers, so that its time would mean nothing.
    """
    import torch

    torch.set_num_threads(plan.threads)
    with torch.inference_mode():
        contenders, notes = _contenders(row, folder, lowered, plan.threads)
        expected = contenders[PUBLISHED]()
        errors = {
            name: check(f"{row.name} {name}", expected, call(), _tolerance(name))
            for name, call in contenders.items()
            if name != PUBLISHED
        }
        samples = interleave(contenders, plan)
    return {
        "row": row.name,
        "rounds": plan.rounds,
        "calls": plan.calls,
        "pause_s": plan.pause_s,
        "threads": plan.threads,
        "clock": "processor" if plan.busy else "elapsed",
        "goals": row.goals,
        "samples_ms": samples,
        "worst_error": errors,
        "notes": notes,
        "plain_opset": lowered.get(PLAIN["onnx"], {}).get("opset"),
    }


def _tolerance(contender: str) -> float:
    return TORCH_TOLERANCE if contender == OURS else RUNTIME_TOLERANCE


def check(name: str, expected: Any, actual: Any, limit: float) -> float:
    """Compute the worst difference over the largest absolute value. ParityError above `limit`."""
    worst = 0.0
    for want, got in zip(expected, actual, strict=True):
        a, b = np.asarray(want, np.float64), np.asarray(got, np.float64)
        if a.shape != b.shape:
            raise ParityError(f"{name} gives {b.shape}, the published code {a.shape}")
        error = float(np.abs(a - b).max() / np.abs(a).max())
        worst = max(worst, error if np.isfinite(error) else np.inf)
    if worst > limit:
        raise ParityError(
            f"{name} differs from the published code by {worst:.1e} of its largest value, "
            f"at most {limit:.0e} is allowed: its time would mean nothing"
        )
    return worst


def _contenders(
    row: BenchRow, folder: Path, lowered: Mapping[str, Any], threads: int
) -> tuple[dict[str, Callable[[], Any]], dict[str, str]]:
    """Make every contender a call that returns its outputs; also gives reasons for absent ones."""
    from profiles.lab.bench.subjects import build

    subject = build(row)
    theirs, given = subject.published, tuple(subject.given.values())
    ours, inputs = subject.ours.module, subject.inputs
    calls: dict[str, Callable[[], Any]] = {
        PUBLISHED: lambda: _as_tuple(theirs(*given)),
        OURS: lambda: _as_tuple(ours(*inputs)),
    }
    named = {t.name: i.numpy() for t, i in zip(subject.ours.spec.inputs, inputs, strict=True)}
    named |= {name: tensor.numpy() for name, tensor in subject.shared.items()}
    plain = {name: tensor.numpy() for name, tensor in subject.given.items()}
    notes: dict[str, str] = {}
    for target in LOWERINGS:
        for key, arrays in ((target, named), (NEXT[target], named), (PLAIN[target], plain)):
            if "error" in lowered.get(key, {}):
                notes[key] = lowered[key]["error"]
            elif key in lowered:
                entry = parse(GraphFile, lowered[key]["file"], key)
                calls[key] = _load(target, folder / key, entry, arrays, threads)
    return calls, notes


def _as_tuple(outputs: Any) -> tuple[Any, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _load(
    target: str, folder: Path, entry: GraphFile, arrays: Mapping[str, Array], threads: int
) -> Callable[[], tuple[Array, ...]]:
    """Load a lowered graph; returns a call on fixed inputs, laid out beforehand."""
    session = choose_engine(target).open(folder / entry.file, entry, threads)
    inputs = {t.name: to_layout(arrays[t.name], t) for t in entry.spec.inputs}

    def call() -> tuple[Array, ...]:
        outputs = session.run(inputs)
        return tuple(outputs[t.name] for t in entry.spec.outputs)

    return call
