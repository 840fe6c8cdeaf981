"""`sam-export` as a user meets it: statuses, one line an error, nothing half done on the disk."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors.torch import load_file, save_file

from exporter.bundle import open_bundle, read_manifest, same_job, tree_files
from exporter.cli import main
from exporter.demo.network import WEIGHTS
from exporter.manifest import GraphFile
from exporter.targets import load_target, names
from exporter.variants import variants

ROOT = Path(__file__).parents[2]
JOB = ("--target", "onnx", "--precision", "fp32", "--quiet")
NAME = "demo-onnx-fp32"

pytestmark = pytest.mark.filterwarnings("ignore")  # the toolkits': torch versions, deprecations


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A copy: the embedded file may be replaced while the tests run."""
    return Path(shutil.copy(WEIGHTS, tmp_path_factory.mktemp("weights") / WEIGHTS.name))


@pytest.fixture(scope="session")
def exported(tmp_path_factory, weights):
    """A real bundle; shared, so no test may change it."""
    output = tmp_path_factory.mktemp("exported")
    assert main([*JOB, "--checkpoint", str(weights), "--output", str(output)]) == 0
    return output / NAME


@pytest.fixture
def run(capfd):
    """argv -> (status, the lines on stderr); nothing may be on stdout when it fails."""

    def call(*argv):
        try:
            status = main([str(a) for a in argv])
        except SystemExit as stop:
            status = stop.code
        said = capfd.readouterr()
        assert not (status and said.out)
        return status, said.err.splitlines()

    return call


@pytest.fixture
def refused(run):
    """argv -> the one line that a failing command prints, after checking status and form."""

    def call(*argv, status=2):
        got, lines = run(*argv)
        assert got == status, lines
        assert len(lines) == 1, lines
        assert lines[0].startswith("sam-export: error: ")
        return lines[0].removeprefix("sam-export: error: ")

    return call


@pytest.fixture
def fake(monkeypatch):
    """Put another `lower` into the onnx target."""

    def use(lower):
        target = dataclasses.replace(load_target("onnx"), lower=lower)
        monkeypatch.setattr("exporter.pipeline.load_target", lambda name: target)

    return use


@pytest.fixture
def quick(exported, weights, fake):
    """A target that has the exported graphs at hand; gives the job that exports them again."""

    def lower(graph, precision, folder, options):
        stored = open_bundle(exported).manifest.graph(graph.spec.name)
        path = Path(shutil.copy(exported / stored.file, folder))
        return GraphFile(graph.spec, path.name, path.stat().st_size)

    fake(lower)
    return (*JOB, "--checkpoint", weights)


def snapshot(folder):
    """name -> (bytes, time of the last change) of every file below `folder`."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# ------------------------------------------------------------------------------- asking for facts


def test_list_names_every_variant(capfd):
    assert main(["--list"]) == 0
    table, notes = capfd.readouterr().out.split("\n\n")
    header, *rows = table.splitlines()
    columns = "variant family params GMACs input licence fp16 MB checkpoint from"
    assert " ".join(header.split()) == columns
    assert [row.split()[0] for row in rows] == list(variants())
    for row, variant in zip(rows, variants().values(), strict=True):
        assert variant.published.file in row
        assert f"{variant.preprocess.size} x {variant.preprocess.size}" in row
        assert variant.licence.name in row
    assert ", ".join(names()) in notes


def test_list_as_json_has_every_field(capfd):
    assert main(["--list", "--json"]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert answer["planned_precisions"] == ["int8", "int8-weights", "int4-weights"]
    assert [row["name"] for row in answer["variants"]] == list(variants())
    for row in answer["variants"]:
        assert set(row) == {
            "name",
            "family",
            "summary",
            "parameters",
            "input_size",
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
            "multiply_accumulates",
            "bundle_bytes",
            "targets",
            "precisions",
        }
        assert row["targets"] == ["coreml", "onnx", "tflite"]
        assert row["precisions"] == ["fp16", "fp32"]
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


# -------------------------------------------------------------------------------- wrong requests


def test_an_unknown_variant_lists_those_there_are(refused, tmp_path):
    line = refused("--variant", "sam3", "--output", tmp_path / "out")
    assert "'sam3'" in line
    assert all(name in line for name in variants())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("precision", ["int8", "int8-weights", "int4-weights"])
def test_planned_precisions_are_refused_by_name(refused, precision):
    line = refused("--precision", precision)
    assert f"precision {precision} is not available in this release" in line
    assert "fp16, fp32" in line


def test_an_unknown_precision_lists_those_there_are(refused):
    assert "fp16, fp32" in refused("--precision", "bf16")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--target", "tensorrt"], ["--target", "tensorrt", "coreml", "onnx", "tflite"]),
        (["--max-points", "1"], ["--max-points", "from 2 to 64", "'1'"]),
        (["--max-points", "999"], ["--max-points", "from 2 to 64", "'999'"]),
        (["--max-points", "many"], ["--max-points", "from 2 to 64", "'many'"]),
        (["--batch", "0"], ["--batch", "from 1 to 64", "'0'"]),
        (["--minimum-ios", "15"], ["--minimum-ios", "15", "16"]),
        (["--colour", "red"], ["--colour"]),
    ],
)
def test_arguments_that_cannot_be_are_refused(refused, argv, words):
    line = refused(*argv)
    for word in words:
        assert word in line


def test_a_target_without_its_toolkit_says_what_to_install(refused, monkeypatch, weights):
    target = dataclasses.replace(load_target("onnx"), packages=("torch", "no-such-toolkit"))
    monkeypatch.setattr("exporter.pipeline.load_target", lambda name: target)
    line = refused(*JOB, "--checkpoint", weights)
    assert line == "--target onnx needs no-such-toolkit: pip install 'sam-export[onnx]'"


# ------------------------------------------------------------------------------- bad checkpoints


@pytest.fixture
def checkpoint_refused(refused, tmp_path):
    def call(path, *argv):
        line = refused(*JOB, "--checkpoint", path, "--output", tmp_path / "out", *argv)
        assert not (tmp_path / "out").exists()
        return line

    return call


def test_a_missing_checkpoint(checkpoint_refused, tmp_path):
    assert str(tmp_path / "none.pt") in checkpoint_refused(tmp_path / "none.pt")


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_truncated_checkpoint(checkpoint_refused, tmp_path, suffix):
    whole, path = tmp_path / "whole", tmp_path / f"cut.{suffix}"
    if suffix == "pt":
        torch.save(load_file(WEIGHTS), whole)
    else:
        shutil.copy(WEIGHTS, whole)
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert str(path) in checkpoint_refused(path)


def test_a_checkpoint_of_another_variant_says_which(checkpoint_refused, weights):
    line = checkpoint_refused(weights, "--variant", "mobile_sam")
    assert "not one of mobile_sam" in line
    assert "this looks like demo" in line


def test_a_strange_checkpoint_lists_what_is_missing_and_unused(checkpoint_refused, tmp_path):
    state = load_file(WEIGHTS)
    state.pop("mask_decoder.iou_token.weight")
    state["surprise"] = torch.zeros(3)
    state["mask_decoder.mask_tokens.weight"] = torch.zeros(5, 64)
    path = tmp_path / "strange.safetensors"
    save_file(state, path)
    line = checkpoint_refused(path)
    assert "1 missing (mask_decoder.iou_token.weight)" in line
    assert "1 unused (surprise)" in line
    assert "mask_decoder.mask_tokens.weight (5, 64) should be (4, 64)" in line


class Touch:
    """A pickle of it runs a shell command when it is read carelessly."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("form", ["zip", "legacy", "plain"])
def test_nothing_in_a_pickle_is_executed(checkpoint_refused, tmp_path, form):
    marker, path = tmp_path / "marker", tmp_path / "evil.pt"
    state = {"weight": torch.zeros(2), "more": Touch(marker)}
    if form == "plain":
        path.write_bytes(pickle.dumps({"more": Touch(marker)}))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    line = checkpoint_refused(path)
    assert not marker.exists()
    assert "evil.pt" in line
    with path.open("rb") as stream:  # the file is as bad as it is meant to be
        if form == "plain":
            pickle.load(stream)
        else:
            torch.load(stream, weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(checkpoint_refused, tmp_path, value):
    state = load_file(WEIGHTS)
    state["image_encoder.neck.1.weight"][0] = value
    path = tmp_path / "nan.safetensors"
    save_file(state, path)
    line = checkpoint_refused(path)
    assert "image_encoder.neck.1.weight" in line
    assert "NaN" in line


# ------------------------------------------------------------------------- what is already there


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


def test_the_same_job_again_is_done_already(exported, quick, run, tmp_path):
    shutil.copytree(exported, tmp_path / NAME)
    before = snapshot(tmp_path)
    status, lines = run(*quick, "--output", tmp_path)
    assert (status, lines) == (0, [])
    assert snapshot(tmp_path) == before


def different(exported, output):
    """A good bundle of the same name, made with another torch."""
    folder = Path(shutil.copytree(exported, output / NAME))
    manifest = read_manifest(folder)
    other = dataclasses.replace(manifest, tools=manifest.tools | {"torch": "1.0"})
    (folder / "manifest.json").write_text(other.to_json(), encoding="utf-8")
    open_bundle(folder)
    return folder


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


def test_a_score_that_nobody_published_is_refused(refused, tmp_path):
    line = refused("--variant", "tinysam", "--score", "stability", "--output", tmp_path)
    assert line.startswith("tinysam has no --score stability")
    assert "edge_sam, " in line
    assert not any(tmp_path.iterdir())


def test_more_slots_than_the_variant_reads_are_refused(refused, tmp_path):
    asked = ("--variant", "fastsam_s", "--max-points", "9", "--output", tmp_path)
    reason = "fastsam_s has no prompt slots: leave out --batch and --max-points"
    assert refused(*asked) == reason
    asked = ("--variant", "efficient_sam_vitt", "--max-points", "7", "--output", tmp_path)
    assert refused(*asked) == "efficient_sam_vitt reads 6 prompts at most: --max-points 6"
    assert not any(tmp_path.iterdir())


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


def test_an_output_that_cannot_be_written(quick, refused, tmp_path):
    (tmp_path / "file").write_text("in the way")
    line = refused(*quick, "--output", tmp_path / "file" / "bundles")
    assert str(tmp_path / "file") in line
    assert "--output" in line


# ---------------------------------------------------------------------------- failures half way


@pytest.mark.parametrize("full", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk(quick, refused, tmp_path, monkeypatch, full):
    def save(file, *args, **kwargs):
        Path(file).write_bytes(b"PK")
        raise OSError(full, os.strerror(full))

    monkeypatch.setattr(np, "savez_compressed", save)
    line = refused(*quick, "--output", tmp_path / "out", status=1)
    assert line.startswith(f"no space left on {tmp_path / 'out'}")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_disk_that_fills_up_inside_a_toolkit(fake, refused, tmp_path, weights):
    def lower(graph, precision, folder, options):
        try:
            (folder / "half.onnx").write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise RuntimeError("could not serialise") from error

    fake(lower)
    line = refused(*JOB, "--checkpoint", weights, "--output", tmp_path / "out", status=1)
    assert line.startswith(f"no space left on {tmp_path / 'out'}")
    assert [p for p in tree_files(tmp_path / "out") if not p.endswith("toolkit.log")] == []


@pytest.mark.parametrize("says", [b"the toolkit complains at length\n", b""])
def test_a_toolkit_that_fails(fake, refused, tmp_path, weights, says):
    def lower(graph, precision, folder, options):
        (folder / "half.onnx").write_bytes(b"half")
        os.write(1, says)
        os.write(2, says)
        raise ValueError("no operation for wobble\nand a second line")

    fake(lower)
    line = refused(*JOB, "--checkpoint", weights, "--output", tmp_path / "out", status=1)
    assert line.startswith(
        "onnx could not lower image_encoder: ValueError: no operation for wobble"
    )
    assert "second line" not in line
    log = Path(line.rpartition("log is ")[2])
    assert "and a second line" in log.read_text()
    assert log.read_bytes().count(says) >= 2
    assert not (tmp_path / "out" / NAME).exists()
    assert [p for p in (tmp_path / "out").rglob("*") if p.is_file()] == [log]


def perturbed(exported, change):
    """A target whose decoder is the exported one with a change to its model."""

    def lower(graph, precision, folder, options):
        path = folder / f"{graph.spec.name}.onnx"
        model = onnx.load(exported / path.name)
        if graph.spec.name == "mask_decoder":
            change(model)
        onnx.save(model, str(path))
        return GraphFile(graph.spec, path.name, path.stat().st_size)

    return lower


def scale_weights(model):
    """One matrix a thousandth too large."""
    weight = next(t for t in model.graph.initializer if len(t.dims) == 2 and t.dims[0] >= 64)
    scaled = numpy_helper.to_array(weight) * np.float32(1.001)
    weight.CopyFrom(numpy_helper.from_array(scaled, weight.name))


def drop_a_bias(model):
    """The iou head's last layer without its bias."""
    (last,) = (n for n in model.graph.node if "iou_predictions" in n.output)
    assert last.op_type in ("Gemm", "Add")
    bias = next(t for t in model.graph.initializer if t.name == last.input[-1])
    nothing = np.zeros_like(numpy_helper.to_array(bias))
    bias.CopyFrom(numpy_helper.from_array(nothing, bias.name))


@pytest.mark.parametrize(
    ("change", "output"), [(scale_weights, "low_res_masks"), (drop_a_bias, "iou_predictions")]
)
def test_a_graph_that_was_lowered_wrongly_makes_no_bundle(
    exported, fake, refused, tmp_path, weights, change, output
):
    fake(perturbed(exported, change))
    line = refused(*JOB, "--checkpoint", weights, "--output", tmp_path / "out", status=1)
    assert f"mask_decoder {output} psnr_db" in line
    assert "under the floor 100 dB of fp32" in line
    assert "image_encoder image_embeddings" not in line
    assert not (tmp_path / "out" / NAME).exists()
    assert [p for p in tree_files(tmp_path / "out") if not p.endswith("toolkit.log")] == []


def test_a_failed_export_leaves_the_bundle_that_was_there(
    exported, fake, refused, tmp_path, weights
):
    folder = different(exported, tmp_path)
    before = snapshot(folder)
    fake(perturbed(exported, scale_weights))
    job = (*JOB, "--checkpoint", weights, "--output", tmp_path, "--force")
    assert "under the floor" in refused(*job, status=1)
    assert snapshot(folder) == before


def test_an_unexpected_error_is_one_line_too(refused, monkeypatch):
    def broken(name):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("exporter.pipeline.load_target", broken)
    line = refused(*JOB, status=1)
    assert line.startswith("ZeroDivisionError: division by zero")
    assert "--debug" in line


def test_debug_adds_the_traceback(run, tmp_path):
    argv = (*JOB, "--checkpoint", tmp_path / "none.pt")
    status, lines = run(*argv, "--debug")
    assert status == 2
    assert "Traceback (most recent call last):" in lines
    assert lines[-1].startswith("sam-export: error: ")
    assert "Traceback (most recent call last):" not in run(*argv)[1]


def test_progress_is_on_stderr_and_quiet_stops_it(quick, run, tmp_path):
    loud = [part for part in quick if part != "--quiet"]
    status, lines = run(*loud, "--output", tmp_path / "a")
    assert status == 0
    stages = ("reading", "goldens", "lowering image_encoder", "lowering mask_decoder", "running")
    for stage in stages:
        assert any(stage in line for line in lines), stage
    assert run(*quick, "--output", tmp_path / "b") == (0, [])


def test_ctrl_c_half_way_leaves_nothing(tmp_path, weights):
    command = [sys.executable, "-m", "exporter.cli", "--target", "onnx", "--precision", "fp32"]
    command += ["--checkpoint", str(weights), "--output", str(tmp_path / "out")]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    try:
        for line in process.stderr:
            if "lowering" in line:
                break
        process.send_signal(signal.SIGINT)
        rest, said = process.stderr.read(), process.stdout.read()
        status = process.wait()
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
    assert status == 130, rest
    assert said == ""
    assert rest.splitlines() == ["sam-export: error: interrupted; nothing was written"]
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("after", ["goes on", "fails"])
def test_ctrl_c_counts_even_if_a_toolkit_swallows_it(fake, refused, tmp_path, weights, after):
    """coremltools has bare `except` clauses: a real Ctrl-C was lost there."""
    lowered = []

    def lower(graph, precision, folder, options):
        os.write(1, b"at work\n")
        lowered.append(graph.spec.name)
        try:
            signal.raise_signal(signal.SIGINT)
        except BaseException as error:
            if after == "fails":
                raise RuntimeError("callback failed") from error
        return GraphFile(graph.spec, "nothing", 0)

    fake(lower)
    before = signal.getsignal(signal.SIGINT)
    line = refused(*JOB, "--checkpoint", weights, "--output", tmp_path / "out", status=130)
    assert line == "interrupted; nothing was written"
    assert lowered == ["image_encoder"]
    assert list((tmp_path / "out").iterdir()) == []
    assert signal.getsignal(signal.SIGINT) is before
