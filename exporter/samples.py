"""Pictures with prompts, run through the float32 network: what few bits are measured against.

A picture's file is a file of goldens (`exporter.bundle.goldens`) of another scene: inputs for
calibration, torch's masks for `runtimes.gate`. No picture is used for both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from exporter.bundle.goldens import key
from exporter.bundle.rules import DrawnPrompts, MaskRule, PromptRule
from exporter.goldens import SCENE, record
from exporter.graphs import Graph
from exporter.progress import Progress

CALIBRATION_SEED = 10_500_000
GATE_SEED = 10_250_000
"""First seeds of scenes that the demo model was never trained on."""
CALIBRATION_PICTURES = 8
GATE_PICTURES = 16


@dataclass(frozen=True)
class Samples:
    """Files of goldens, one for each picture.

    Attributes:
        calibration: ranges are found on these.
        gate: masks are compared on these.
    """

    calibration: tuple[Path, ...]
    gate: tuple[Path, ...]


@contextmanager
def record_samples(
    graphs: Sequence[Graph],
    rule: PromptRule | DrawnPrompts | None,
    mask: MaskRule,
    report: Progress,
    *,
    calibrated: bool,
) -> Iterator[Samples]:
    """Run the network on scenes; the files are there within the block.

    Args:
        graphs: the variant's.
        rule: how prompts reach them.
        mask: the bundle's.
        report: called once a picture.
        calibrated: whether calibration pictures are wanted.
    """
    with TemporaryDirectory(prefix="sam-export-") as folder:

        def files(first: int, count: int, what: str) -> tuple[Path, ...]:
            made = []
            for at in range(count):
                report(f"{what} picture {at + 1} of {count} in torch")
                path = Path(folder) / f"{first + at}.npz"
                arrays = record(graphs, rule, mask, seed=first + at) | _filled(graphs)
                np.savez(path, allow_pickle=False, **arrays)
                made.append(path)
            return tuple(made)

        calibration = CALIBRATION_PICTURES if calibrated else 0
        yield Samples(
            files(CALIBRATION_SEED, calibration, "calibration"),
            files(GATE_SEED, GATE_PICTURES, "test"),
        )


def _filled(
    graphs: Sequence[Graph],
) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """`resized_size` of a scene, which fills the input; for graphs that write the padding."""
    return {
        key(graph.spec.name, SCENE, "resized_size"): np.full((1, 2), t.shape[-1], np.float32)
        for graph in graphs
        for t in graph.spec.inputs
        if t.name == "image"
    }
