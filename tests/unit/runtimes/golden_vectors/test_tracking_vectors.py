"""The cases of tracking show every rule at work: a twin without one cannot give the same."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from runtimes.golden_vectors.__main__ import CASES
from runtimes.golden_vectors.stand_ins import stir, wholes


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return json.loads((CASES / "tracking.json").read_text())


@pytest.fixture(scope="module")
def steps(rows) -> list[tuple[str, dict[str, Any]]]:
    return [
        (row["network"], step) for row in rows if row["kind"] == "frames" for step in row["steps"]
    ]


def test_every_graph_is_called_and_every_answer_given(steps):
    calls = {call for _, step in steps for call in step.get("calls", "").split("; ") if call}
    assert {call[0] for call in calls} == set("IDMQAF")
    assert {call for call in calls if call.startswith("M")} == {"M 0 0", "M 0 1", "M 1 0", "M 1 1"}
    found = " ".join(step.get("found", "") for _, step in steps)
    assert set(re.findall("(present|absent) (prompted|tracked)", found)) == {
        (there, how) for there in ("present", "absent") for how in ("prompted", "tracked")
    }
    assert {step["error"] for _, step in steps if "error" in step} == {
        "RequestError", "PromptError", "ImageError", "BundleError"
    }  # fmt: skip


def test_banks_are_filled_pruned_and_shared_out(steps):
    ages = [
        (
            network,
            [int(age) for age in call.split()[1].split(",")],
            int(call.split()[2].split(":")[0]),
        )
        for network, step in steps
        for call in step.get("calls", "").split("; ")
        if call.startswith("A")
    ]
    full = [each for each in ages if each[0] == "full"]
    assert max(len(memories) for _, memories, _ in full) == 7
    assert max(pointers for _, _, pointers in full) == 16
    # Two of eight are left out, whichever they are.
    pruned = [memories for network, memories, _ in ages if network == "pruned"]
    assert [6, 5, 4, 3, 2, 1, 0] not in pruned
    assert any(len(memories) < max(memories) for memories in pruned)
    assert any(memories.count(0) > 1 for _, memories, _ in ages)
    assert {len(memories) for network, memories, _ in ages if network == "few"} == {1, 2}


def test_a_value_between_two_whole_numbers_is_no_case():
    assert wholes([0.5, -0.5, 1 / 4096]) == [2048, -2048, 1]
    assert stir(1) != stir(2) < 2**32
    with pytest.raises(RuntimeError, match="between two whole numbers"):
        wholes([1.5 / 4096])
