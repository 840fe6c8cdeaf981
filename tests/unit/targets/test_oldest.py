"""The oldest runtimes that a manifest states are those of the committed results."""

from __future__ import annotations

import json
from pathlib import Path

from exporter.targets import MINIMUM_IOS, Options, names
from exporter.targets._oldest import FILE, oldest_runtimes
from exporter.variants import variants
from profiles.lab.oldest.table import oldest, render

RESULTS = Path(__file__).parents[3] / "profiles" / "results"
ROWS = json.loads((RESULTS / "oldest.json").read_text(encoding="utf-8"))["rows"]


def test_what_manifests_state_is_what_was_run():
    assert json.loads(FILE.read_text(encoding="utf-8")) == oldest(ROWS)


def test_the_page_is_the_results():
    results = json.loads((RESULTS / "oldest.json").read_text(encoding="utf-8"))
    assert (RESULTS / "oldest.md").read_text(encoding="utf-8") == render(results)


def test_a_release_is_stated_only_if_it_passed():
    for row in ROWS:
        for run in row.get("runs", ()):
            options = Options(opset=int(run["form"]) if run["form"] else None)
            found = oldest_runtimes(row["target"], row["precision"], row["family"], options)
            assert (found.get(run["package"]) == run["version"]) == run["passed"]


def test_what_was_not_run_is_not_stated():
    assert oldest_runtimes("onnx", "fp16", "no such family", Options()) == {}
    assert oldest_runtimes("onnx", "no-such-precision", "demo", Options()) == {}
    assert oldest_runtimes("onnx", "fp16", "demo", Options(opset=18)) == {}


def test_core_ml_says_what_it_declares_and_that_it_was_not_run():
    for ios in MINIMUM_IOS:
        (line,) = oldest_runtimes("coreml", "fp16", "demo", Options(minimum_ios=ios)).values()
        assert f"(iOS {ios}); not run" in line


def test_rows_are_of_variants_and_targets_that_there_are():
    families = {variant.family for variant in variants().values()}
    assert {row["family"] for row in ROWS} <= families
    assert {row["target"] for row in ROWS} <= set(names())
