"""The smallest variant of every family through the whole pipeline, its image graph included.

Weights are filled, not trained. Targets and precisions go round from family to family, so that each
sees several networks in every run of the suite; `make matrix` sees all of them. A network that
takes other sizes has 512 pixels a side here, and the same operations in a fraction of the time: the
published size is the matrix's and the published cases'.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from exporter.errors import RequestError
from exporter.targets import groups
from exporter.variants import DEFAULT, Variant, families, load_variant, variants
from exporter.variants._sizes import resize
from profiles.lab import steps
from profiles.lab.bench.cost import Usage
from profiles.lab.matrix import __main__ as matrix
from profiles.lab.matrix import measure
from profiles.lab.matrix.conditioning import conditioning
from profiles.lab.matrix.goals import misses
from profiles.lab.matrix.jobs import PLAIN, MatrixJob
from profiles.lab.matrix.processes import ProcessEnd
from runtimes.engines import choose_engine

QUICK = [t for t in groups()["all"] if not choose_engine(t).reference]
"""Core AI's runtime takes a minute a network, so `test_core_ai.py` has two of them."""
TURNS = [(t, p) for p in PLAIN for t in QUICK]
# The demo has a suite of its own, and RAP-SAM's large input one at a small size.
FAMILIES = [name for name in families() if name not in (DEFAULT, "rap_sam")]
SIDE = 512

pytestmark = pytest.mark.parity


@pytest.mark.parametrize(("turn", "family"), list(enumerate(FAMILIES)), ids=FAMILIES)
def test_the_smallest_of_a_family(
    turn: int, family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "RESULTS", tmp_path / "none")  # no committed row stands in for it
    monkeypatch.setattr(matrix.MatrixRun, "child", _step_here)
    monkeypatch.setattr(measure, "load_variant", _small)
    variant = min(
        (v for v in variants().values() if v.family == family), key=lambda v: v.parameters
    )
    target, precision = TURNS[turn % len(TURNS)]
    job = ["--only", variant.name, "--target", target, "--precision", precision]
    assert matrix.main([*job, "--folder", str(tmp_path)]) == 0
    row = json.loads((tmp_path / "rows" / f"{variant.name}-{target}-{precision}.json").read_text())
    assert "error" not in row, row["error"]
    assert "skipped" not in row, row["skipped"]
    assert row["parity"]
    assert [f"{m.graph} {m.goal}: {m.what}" for m in misses(row) if not m.why] == []


def _small(name: str) -> Variant:
    variant = load_variant(name)
    try:
        return resize(variant, SIDE)
    except RequestError:
        return variant  # it has the one size


def _step_here(
    work: matrix.MatrixRun, step: str, job: MatrixJob, folder: Path, more: Sequence[str]
) -> ProcessEnd:
    """In this process, which has imported the toolkits; test_matrix_rows has one of its own."""
    words = ["--only", job.variant, "--precision", job.precision, *more]
    assert matrix.main(["--step", step, "--folder", str(folder), *words]) == 0
    for made in folder.glob(f"{job.name}-*"):  # its name tells the size
        made.rename(folder / job.name)
    return ProcessEnd(Usage(0.0, 0.0, 0.0), "")


@pytest.mark.parametrize("name", ["efficientvit_sam_l0", "repvit_sam"])
def test_filled_weights_magnify_no_rounding(name: str) -> None:
    """Else a figure of fp16 would speak of them: with every norm's output of size 1, 11 and 27 dB.

    fp16's floor is 40 dB, and every intermediate result is rounded too: 3 to 6 dB more were seen.
    """
    found = conditioning(load_variant(name))
    assert found.half_weights_db > 50
    assert found.float64_db > 110  # fp32's floor is 100
