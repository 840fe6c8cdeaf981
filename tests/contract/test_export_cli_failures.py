"""`sam-export` that fails half way: one line, its status, and nothing half done on the disk."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from exporter.bundle.folder import tree_files
from exporter.bundle.manifest import GraphFile
from tests.contract.demo_exports import JOB, NAME, ROOT, different, snapshot

pytestmark = pytest.mark.filterwarnings("ignore")  # the toolkits': torch versions, deprecations


# ------------------------------------------------------------------------------ disks and toolkits


@pytest.mark.parametrize("full", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk(quick, refused, tmp_path, monkeypatch, full):
    def save(file, *args, **kwargs):
        Path(file).write_bytes(b"PK")
        raise OSError(full, os.strerror(full))

    monkeypatch.setattr(np, "savez_compressed", save)
    line = refused(*quick, "--output", tmp_path / "out", status=1)
    assert line.startswith(f"no space left on {tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


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


# -------------------------------------------------------------------------- graphs lowered wrongly


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


# --------------------------------------------------------------------------------- bugs and Ctrl-C


def test_an_unexpected_error_is_one_line_too(refused, monkeypatch):
    def broken(name):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("exporter.job.load_target", broken)
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


SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_half_way_leaves_nothing(tmp_path, weights, number):
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
        process.send_signal(number)
        rest, said = process.stderr.read(), process.stdout.read()
        status = process.wait()
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
    assert status == 128 + number, rest
    assert said == ""
    line = f"sam-export: error: {SIGNALS[number]}; no unfinished bundle is left"
    assert rest.splitlines() == [line]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("after", ["goes on", "fails"])
def test_a_signal_counts_even_if_a_toolkit_swallows_it(
    fake, refused, tmp_path, weights, after, number
):
    """coremltools has bare `except` clauses: a real Ctrl-C was lost there."""
    lowered = []

    def lower(graph, precision, folder, options):
        os.write(1, b"at work\n")
        lowered.append(graph.spec.name)
        try:
            signal.raise_signal(number)
        except BaseException as error:
            if after == "fails":
                raise RuntimeError("callback failed") from error
        return GraphFile(graph.spec, "nothing", 0)

    fake(lower)
    before = signal.getsignal(number)
    line = refused(*JOB, "--checkpoint", weights, "--output", tmp_path / "out", status=128 + number)
    assert line == f"{SIGNALS[number]}; no unfinished bundle is left"
    assert lowered == ["image_encoder"]
    assert not (tmp_path / "out").exists()
    assert signal.getsignal(number) is before
