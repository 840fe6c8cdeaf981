"""`sam-export` in ordinary use: facts, results, progress, and a bundle that is already there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.bundle.folder import open_bundle, read_manifest, same_job
from exporter.cli import main
from exporter.precision import load_precision
from exporter.precision import names as precision_names
from exporter.targets import names
from exporter.variants import variants
from tests.contract.demo_exports import JOB, NAME, ROOT, different, snapshot

pytestmark = pytest.mark.filterwarnings("ignore")  # the toolkits': torch versions, deprecations


# -------------------------------------------------------------------------------- asking for facts


def test_list_names_every_variant(capfd):
    assert main(["--list"]) == 0
    table, notes = capfd.readouterr().out.split("\n\n")
    header, *rows = table.splitlines()
    columns = "variant family params GMACs input licence fp16 MB checkpoint from"
    assert " ".join(header.split()) == columns
    assert [row.split()[0] for row in rows] == list(variants())
    for row, variant in zip(rows, variants().values(), strict=True):
        assert variant.published.file in row
        assert " x ".join(map(str, variant.row()["input_shape"])) in row
        assert variant.licence.name in row
    assert ", ".join(names()) in notes


def test_list_as_json_has_every_field(capfd):
    assert main(["--list", "--json"]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert {each["name"]: each["weights"] for each in answer["precisions"]} == {
        name: load_precision(name).weights for name in precision_names()
    }
    assert all(each["summary"] for each in answer["precisions"])
    assert [row["name"] for row in answer["variants"]] == list(variants())
    for row in answer["variants"]:
        assert set(row) == {
            "name",
            "family",
            "summary",
            "parameters",
            "input_size",
            "input_shape",
            "licence",
            "licence_url",
            "commercial_use",
            "copyleft",
            "checkpoint",
            "url",
            "decoder_checkpoint",
            "decoder_url",
            "repository",
            "paper",
            "layouts",
            "video",
            "volume",
            "multiply_accumulates",
            "bundle_bytes",
            "input_sizes",
            "targets",
            "precisions",
        }
        assert row["targets"] == ["coreai", "coreml", "onnx", "tflite"]
        assert row["precisions"] == list(precision_names())
        assert row["parameters"] > 0
        assert row["url"].startswith("https://") or row["name"] == "demo"


def test_help_shows_examples_and_statuses(run, capfd):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    said = capfd.readouterr().out
    examples = [line for line in said.splitlines() if line.startswith("  sam-export ")]
    assert len(examples) >= 3
    assert "exit status: 0 done, 1 the export failed" in said
    options = "--variant --checkpoint --target --precision --max-points --batch --output --list"
    for option in (*options.split(), "--json", "--force", "--debug", "--quiet"):
        assert option in said


@pytest.mark.parametrize("option", ["--help", "--list"])
def test_asking_loads_no_toolkit(option):
    heavy = ("torch", "coremltools", "onnx", "onnxruntime", "litert_torch", "ai_edge_litert")
    code = (
        "import sys\nfrom exporter.cli import main\n"
        f"try: main([{option!r}])\nexcept SystemExit: pass\n"
        f"sys.exit(' '.join(m for m in {heavy} if m in sys.modules) or 0)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.stderr.strip() == ""
    assert ran.returncode == 0
    assert "sam-export" in ran.stdout or "demo" in ran.stdout


# ------------------------------------------------------------------------- what comes of an export


def test_the_result_is_one_line_and_json_on_request(exported, weights, capfd):
    argv = [*JOB, "--checkpoint", str(weights), "--output", str(exported.parent)]
    assert main(argv) == 0
    (line,) = capfd.readouterr().out.splitlines()
    assert line.startswith(f"{exported}: image_encoder ")
    assert "PSNR" in line
    assert "mask IoU" in line
    assert main([*argv, "--json"]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert answer["bundles"][0]["path"] == str(exported)
    assert answer["bundles"][0]["manifest"] == json.loads(
        (exported / "manifest.json").read_text(encoding="utf-8")
    )


def test_progress_is_on_stderr_and_quiet_stops_it(quick, run, tmp_path):
    loud = [part for part in quick if part != "--quiet"]
    status, lines = run(*loud, "--output", tmp_path / "a")
    assert status == 0
    stages = ("reading", "goldens", "lowering image_encoder", "lowering mask_decoder", "running")
    for stage in stages:
        assert any(stage in line for line in lines), stage
    assert run(*quick, "--output", tmp_path / "b") == (0, [])


def test_an_app_finds_its_source_beside_the_bundle_unless_it_wants_none(quick, run, tmp_path):
    assert run(*quick, "--output", tmp_path / "whole") == (0, [])
    assert run(*quick, "--output", tmp_path / "bare", "--no-glue") == (0, [])
    whole, bare = (set(snapshot(tmp_path / each / NAME)) for each in ("whole", "bare"))
    assert bare < whole
    assert {name.partition("/")[0] for name in whole - bare} == {"kotlin", "README.md"}
    assert bare - {".gitattributes"} == {
        *("manifest.json", "goldens.npz", "image_encoder.onnx", "mask_decoder.onnx")
    }


# --------------------------------------------------------------------------- what is already there


def test_the_same_job_again_is_done_already(exported, quick, run, tmp_path):
    shutil.copytree(exported, tmp_path / NAME)
    before = snapshot(tmp_path)
    status, lines = run(*quick, "--output", tmp_path)
    assert (status, lines) == (0, [])
    assert snapshot(tmp_path) == before


def test_a_different_bundle_stays(exported, quick, refused, tmp_path):
    folder = different(exported, tmp_path)
    before = snapshot(tmp_path)
    line = refused(*quick, "--output", tmp_path)
    assert str(folder) in line
    assert "different bundle" in line
    assert "--force" in line
    assert snapshot(tmp_path) == before


def test_other_slots_are_a_different_bundle(exported, quick, refused, tmp_path):
    shutil.copytree(exported, tmp_path / NAME)
    before = snapshot(tmp_path)
    assert "different bundle" in refused(*quick, "--output", tmp_path, "--max-points", "4")
    assert snapshot(tmp_path) == before


def test_another_score_is_a_different_bundle(exported, quick, refused, run, tmp_path):
    shutil.copytree(exported, tmp_path / NAME)
    asked = (*quick, "--output", tmp_path, "--score", "stability")
    assert "different bundle" in refused(*asked)
    assert run(*asked, "--force") == (0, [])
    rule = open_bundle(tmp_path / NAME).manifest.mask
    assert (rule.score, rule.score_offset) == ("stability", 1.0)
    assert run(*asked) == (0, [])  # the same job: recognised
    assert "different bundle" in refused(*quick, "--output", tmp_path)


def test_another_image_input_is_a_different_bundle(exported, quick, refused, tmp_path):
    """Also where the preprocessing is the same: FastSAM's is, in bytes or in floats."""
    folder = Path(shutil.copytree(exported, tmp_path / NAME))
    manifest = read_manifest(folder)
    encoder, decoder = manifest.graphs
    image = replace(encoder.spec.inputs[0], dtype="uint8", layout="RGB image")
    spec = replace(encoder.spec, inputs=(image,))
    other = replace(manifest, graphs=(replace(encoder, spec=spec), decoder))
    (folder / "manifest.json").write_text(other.to_json(), encoding="utf-8")
    assert same_job(other, open_bundle(exported).manifest)
    assert "different bundle" in refused(*quick, "--output", tmp_path)


def test_force_replaces_a_different_bundle(exported, quick, run, tmp_path):
    folder = different(exported, tmp_path)
    status, lines = run(*quick, "--output", tmp_path, "--force")
    assert (status, lines) == (0, [])
    manifest = open_bundle(folder).manifest
    assert same_job(manifest, open_bundle(exported).manifest)
    assert [p.name for p in tmp_path.iterdir()] == [NAME]


def test_a_damaged_bundle_is_not_taken_for_done(exported, quick, refused, run, tmp_path):
    folder = Path(shutil.copytree(exported, tmp_path / NAME))
    goldens = folder / "goldens.npz"
    goldens.write_bytes(goldens.read_bytes()[:-1] + b"!")
    before = snapshot(tmp_path)
    line = refused(*quick, "--output", tmp_path)
    assert "goldens.npz" in line
    assert "--force" in line
    assert snapshot(tmp_path) == before
    assert run(*quick, "--output", tmp_path, "--force") == (0, [])
    open_bundle(folder)


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_folder_that_is_no_bundle_is_never_touched(quick, refused, tmp_path, force):
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "thesis.txt").write_text("five years")
    before = snapshot(tmp_path)
    assert str(tmp_path / NAME) in refused(*quick, "--output", tmp_path, *force)
    assert snapshot(tmp_path) == before
