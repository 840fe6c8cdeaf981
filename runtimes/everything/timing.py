"""Everything of one picture timed in a process of its own, so that its peak memory is its own.

exporter.child.call(["runtimes.everything.timing"], {"folder": ..., "picture": ..., ...})
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter import child
from exporter.bundle.folder import Bundle, read_manifest
from exporter.bundle.reading import parse
from runtimes.everything import everything
from runtimes.pictures.reading import read_picture
from runtimes.process import peak_bytes
from runtimes.segmenters import open_segmenter

MB = 1e6


@dataclass(frozen=True)
class EverythingJob:
    """What to time.

    Attributes:
        folder: of a bundle whose hashes were checked.
        picture: file.
        method: of `runtimes.everything.everything`.
        points_per_side: of its grid; None for a method without one.
        threads: of the engine.
        repeats: how often, after one that is not counted.
    """

    folder: str
    picture: str
    method: str
    points_per_side: int | None = None
    threads: int = 2
    repeats: int = 3


def work(data: Any) -> dict[str, Any]:
    """Do an `EverythingJob` (JSON).

    Returns:
        `masks`, `prompts`; lists with a number for each repeat, in seconds: `total` and `stages`;
        and in MB, `peak_mb` of the process, and `loaded_mb`, its peak before the first picture.
    """
    job = parse(EverythingJob, data, "job")
    folder = Path(job.folder)
    segmenter = open_segmenter(Bundle(folder, read_manifest(folder)), threads=job.threads)
    rgb = read_picture(Path(job.picture)).rgb
    loaded = peak_bytes()
    options: dict[str, Any] = {}
    if job.points_per_side is not None:
        options["points_per_side"] = job.points_per_side
    found = everything(segmenter, rgb, job.method, **options)
    totals: list[float] = []
    stages: dict[str, list[float]] = {}
    for _ in range(job.repeats):
        start = time.perf_counter()
        found = everything(segmenter, rgb, job.method, **options)
        totals.append(time.perf_counter() - start)
        for stage, seconds in found.seconds.items():
            stages.setdefault(stage, []).append(seconds)
    return {
        "masks": len(found),
        "prompts": found.asked.prompts,
        "total": totals,
        "stages": stages,
        "peak_mb": peak_bytes() / MB,
        "loaded_mb": loaded / MB,
    }


if __name__ == "__main__":
    sys.exit(child.serve(work))
