"""What `--list` says of every variant: counted, not typed in, and there at once."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.cli import listing
from exporter.listing import COUNTED, licence, macs, read_counts, readme_table, rows, sizes
from exporter.variants import load_variant, variants
from profiles.lab.matrix import counts

AGAIN = (
    "demo",
    "mobile_sam",
    "sam2_hiera_tiny",
    "efficientvit_sam_l0",
    "nanosam_resnet18",
    "fastsam_s",
)


def test_every_variant_is_counted_and_none_is_stale():
    """`make counts` after a variant was added, changed or removed."""
    assert list(read_counts()) == list(variants())
    for name, count in read_counts().items():
        assert count["parameters"] == load_variant(name).parameters, name
        assert count["multiply_accumulates"], name
        assert all(n > 1e6 for n in count["multiply_accumulates"].values()), name


@pytest.mark.filterwarnings("ignore")  # torch's
@pytest.mark.parametrize("name", AGAIN)
def test_counting_again_gives_the_same(name):
    stored = {k: v for k, v in read_counts()[name].items() if k != "bytes"}
    assert counts.count(load_variant(name)) == stored


def test_one_network_counts_alike_whatever_its_weights():
    found = {name: count["multiply_accumulates"] for name, count in read_counts().items()}
    assert found["tinysam"] == found["mobile_sam"]
    assert found["surgical_sam2"] == found["sam2_hiera_small"]
    assert found["sam_vit_b"]["mask_decoder"] == found["mobile_sam"]["mask_decoder"]


def test_the_json_has_all_that_is_known():
    data = json.loads(listing(as_json=True))
    for row in data["variants"]:
        assert row["multiply_accumulates"] == read_counts()[row["name"]]["multiply_accumulates"]
        assert row["bundle_bytes"] == read_counts()[row["name"]]["bytes"]
        assert {"licence", "commercial_use", "copyleft", "checkpoint", "url", "repository"} <= set(
            row
        )


def test_the_table_has_a_line_for_each_with_licence_and_address():
    text = listing(as_json=False)
    for row in rows():
        (line,) = re.findall(rf"^{row['name']} .*$", text, re.MULTILINE)
        assert licence(row) in line
        assert row["checkpoint"] in line
        assert row["url"] in line
        assert macs(row) in line


def test_licences_say_what_they_restrict():
    marks = {row["name"]: licence(row) for row in rows()}
    assert marks["mobile_sam"] == "Apache-2.0"
    assert "not commercial" in marks["edge_sam"]
    assert "copyleft" in marks["fastsam_s"]


def test_sizes_are_blank_where_nothing_was_measured():
    row = {"targets": ["coreml", "onnx"], "bundle_bytes": {}}
    assert sizes(row, "/") == ""
    assert sizes(row | {"bundle_bytes": {"onnx-fp16": 20_400_000}}, "/") == "-/20.4"
    assert sizes(row | {"bundle_bytes": {"onnx-fp32": 20_400_000}}, "/") == ""


def test_sizes_come_from_the_rows_of_the_matrix(tmp_path):
    matrix = tmp_path / "matrix.json"
    row = {"variant": "demo", "target": "onnx", "precision": "fp16"}
    graphs = [{"bytes": 10}, {"bytes": 5}]
    failed = {**row, "target": "tflite", "error": "no memory"}
    matrix.write_text(json.dumps({"rows": [{**row, "graphs": graphs}, failed]}))
    assert counts.sizes(matrix) == {"demo": {"onnx-fp16": 15}}
    assert counts.sizes(tmp_path / "none.json") == {}


def test_the_readmes_table_is_the_generated_one():
    readme = counts.README.read_text(encoding="utf-8")
    assert counts.with_table(readme, readme_table(rows())) == readme, "run `make counts`"


def test_a_readme_without_its_marks_is_refused():
    with pytest.raises(counts.SamExportError, match="missing a mark"):
        counts.with_table("no table", "table")


def test_counted_json_is_beside_the_families_and_packaged():
    assert COUNTED.is_file()
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert '"exporter.variants" = ["*.json", "*.json.gz"]' in project


def test_the_list_waits_for_nothing_of_an_export():
    code = (
        "import sys; from exporter.cli import main\n"
        "assert main(['--list', '--json']) == 0\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    imported = set(ran.stderr.split())
    assert "exporter.listing" in imported
    slow = {"exporter.targets", "exporter.calibration", "exporter.bundle.manifest", "numpy", "PIL"}
    assert not slow & imported
