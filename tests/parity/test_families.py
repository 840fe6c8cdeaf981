"""The smallest variant of every family through the whole pipeline, its image graph included.

Weights are filled, not trained. Targets and precisions go round from family to family, so that each
sees several networks in every run of the suite; `make matrix` sees all of them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from exporter.matrix import __main__ as matrix
from exporter.matrix.conditioning import conditioning
from exporter.matrix.goals import PARITY, misses
from exporter.matrix.jobs import PRECISIONS
from exporter.targets import names as target_names
from exporter.variants import DEFAULT, families, variants

TURNS = [(t, p) for p in PRECISIONS for t in target_names()]
MARGIN_DB = 10.0
"""fp16 rounds every intermediate result too, fp32 runtimes have exponentials of their own: 3 to 6
dB were seen. A wrong epsilon or GELU would cost tens."""
FAMILIES = [name for name in families() if name != DEFAULT]  # the demo has a suite of its own

pytestmark = pytest.mark.parity


@pytest.mark.parametrize(("turn", "family"), enumerate(FAMILIES), ids=FAMILIES)
def test_the_smallest_of_a_family(
    turn: int, family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix, "RESULTS", tmp_path / "none")  # no committed row stands in for it
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
    missed = misses(row)
    assert [f"{m.graph} {m.goal}: {m.what}" for m in missed if not m.why] == []
    if any(miss.goal == PARITY for miss in missed):
        # Filled weights excuse what torch itself loses with them, and little more.
        loss = conditioning(variant)
        least = loss.half_weights_db if precision == "fp16" else loss.float64_db
        figures = [f for f in row["parity"] if f["graph"] == "image_encoder"]
        reached = next(f["value"] for f in figures if f["measure"] == "psnr_db")
        assert reached >= least - MARGIN_DB
