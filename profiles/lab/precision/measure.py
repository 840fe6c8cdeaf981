"""A child process's work: a bundle's masks against the float reference's, and its times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from exporter.bundle.folder import Bundle, open_bundle
from exporter.progress import Progress
from profiles.accuracy.answers import Answer, Answers, answer
from profiles.accuracy.cases import KINDS, Shots
from profiles.accuracy.comparing import judge
from profiles.accuracy.latency import prepare, take_turns, untimed
from profiles.accuracy.rows import describe_bundle

THREADS = (1, 2)
FLOAT = "float"
"""The name under which a target's fp32 bundle takes its turns."""


def measure(
    bundle: Path, plain: Path, expected: Path, shots: Shots, seconds: float, report: Progress
) -> dict[str, Any]:
    """Measure one bundle.

    Args:
        bundle: the bundle's folder.
        plain: of the same target's bundle in fp32, which may be the same.
        expected: the reference's answers, as `save` wrote them.
        shots: pictures with their cases.
        seconds: of timing for each graph, thread count and bundle, about.
        report: called every few pictures.

    Returns:
        Fields of `profiles.accuracy.rows.Row`, `bytes` and `float_bytes` by graph, `masks`, and by
        threads and graph `ratios` (time over fp32's, the median of the rounds) and `ms` (medians).
    """
    opened, other = open_bundle(bundle), open_bundle(plain)
    answers = answer(opened, shots, KINDS, max(THREADS), report)
    row = describe_bundle(opened, bundle.name)
    known = {row.bundle: answers, "the reference": load(expected)}
    judged = judge(row, "the reference", known, chosen=True)
    times = {} if untimed(opened) else {n: _time(opened, other, n, seconds) for n in THREADS}
    return {
        **asdict(judged),
        "bytes": dict(row.graph_bytes),
        "float_bytes": {graph.spec.name: graph.bytes for graph in other.manifest.graphs},
        "masks": sum(map(len, answers)),
        "untimed": untimed(opened),
        "ratios": {n: {graph: _ratio(each) for graph, each in t.items()} for n, t in times.items()},
        "ms": {
            n: {graph: {name: median(ms) for name, ms in each.items()} for graph, each in t.items()}
            for n, t in times.items()
        },
    }


def _time(
    bundle: Bundle, plain: Bundle, threads: int, seconds: float
) -> dict[str, dict[str, list[float]]]:
    """Time a bundle and its fp32 in turns: graph -> which -> milliseconds of each round."""
    found = {}
    for graph in bundle.manifest.graphs:
        name = graph.spec.name
        calls = {FLOAT: prepare(plain, name, threads), "own": prepare(bundle, name, threads)}
        found[name] = take_turns(calls, seconds)
    return found


def _ratio(times: Mapping[str, list[float]]) -> float:
    """Take the median over the rounds: work of others that slows a whole round cancels out."""
    return median(own / plain for own, plain in zip(times["own"], times[FLOAT], strict=True))


def save(path: Path, answers: Answers) -> None:
    """Write answers; every mask of a picture has its size."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for number, shot in enumerate(answers):
        each = list(shot.values())
        arrays |= {
            f"{number}/places": np.array(list(shot)),
            f"{number}/bits": np.stack([one.bits for one in each]),
            f"{number}/shape": np.array(each[0].shape),
            f"{number}/best": np.array([one.best for one in each]),
            f"{number}/score": np.array([one.score for one in each]),
            f"{number}/truth": np.array([one.truth_iou for one in each], np.float64),
        }
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, allow_pickle=False, **arrays)
    partial.replace(path)


def load(path: Path) -> Answers:
    """Read what `save` wrote."""
    found = []
    with np.load(path, allow_pickle=False) as arrays:
        for number in range(len(arrays.files) // 6):
            part = {name: arrays[f"{number}/{name}"] for name in _PARTS}
            height, width = map(int, part["shape"])
            found.append(
                {
                    int(place): Answer(
                        part["bits"][at],
                        (height, width),
                        int(part["best"][at]),
                        float(part["score"][at]),
                        float(part["truth"][at]),
                        finite=True,
                    )
                    for at, place in enumerate(part["places"])
                }
            )
    return found


_PARTS = ("places", "bits", "shape", "best", "score", "truth")
