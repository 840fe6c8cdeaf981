from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil import Builder as mb

from runtimes.engines.mil import MilError, load_package
from tests.unit.mil.building import normal, save_program

WEIGHT = normal(64, 32)
X = normal(2, 32, seed=1)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("package") / "linear.mlpackage"
    return save_program(path, lambda x: mb.relu(x=mb.linear(x=x, weight=WEIGHT)), [X])


@pytest.fixture
def package(saved, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(saved, tmp_path / "copy.mlpackage")


def _weights(package):
    return package / "Data/com.apple.CoreML/weights/weight.bin"


def _model(package):
    return package / "Data/com.apple.CoreML/model.mlmodel"


def test_describes_itself(saved):
    program = load_package(saved)
    (given,), (made,) = program.inputs, program.outputs
    assert (given.name, given.shape, given.dtype, given.color) == (
        "input_0",
        (2, 32),
        "float32",
        "",
    )
    assert (made.shape, made.dtype) == ((2, 64), "float32")
    assert program.operation_counts == {"linear": 1, "relu": 1}
    assert (program.max_rank, program.specification_version) == (2, 7)


def test_image_input_is_named_as_one(tmp_path):
    traced = torch.jit.trace(torch.nn.ReLU(), torch.zeros(1, 3, 8, 8))
    image = ct.ImageType(name="image", shape=(1, 3, 8, 8), color_layout=ct.colorlayout.RGB)
    target = ct.target.iOS16
    model = ct.convert(
        traced, inputs=[image], minimum_deployment_target=target, skip_model_load=True
    )
    model.save(str(tmp_path / "image.mlpackage"))
    program = load_package(tmp_path / "image.mlpackage")
    assert (program.inputs[0].color, program.inputs[0].shape) == ("RGB", (1, 3, 8, 8))
    pixels = np.full((1, 3, 8, 8), 255, np.uint8)
    (result,) = program.run({"image": pixels}).values()
    np.testing.assert_array_equal(result, pixels)


def test_runs_leave_their_inputs_alone(saved):
    program, x = load_package(saved), X.copy()
    first = program.run({"input_0": x})
    second = program.run({"input_0": x})
    np.testing.assert_array_equal(x, X)
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"other": X}, r"inputs are \['input_0'\], got \['other'\]"),
        ({"input_0": X[:1]}, r"input 'input_0' has shape \(2, 32\), got \(1, 32\)"),
    ],
)
def test_wrong_inputs(saved, inputs, message):
    with pytest.raises(MilError, match=message):
        load_package(saved).run(inputs)


def test_unknown_operation_is_named(tmp_path):
    """`tan` under a name of the same length that no operation has."""
    path = save_program(tmp_path / "odd.mlpackage", lambda x: mb.tan(x=x, name="slope"), [X])
    model = _model(path)
    model.write_bytes(model.read_bytes().replace(b"\x03tan", b"\x03foo", 1))
    program = load_package(path)
    message = "operation 'foo' (output 'slope') is not known to this interpreter"
    with pytest.raises(MilError) as error:
        program.run({"input_0": X})
    assert str(error.value) == message


def test_no_package(tmp_path):
    with pytest.raises(MilError, match=r"not an \.mlpackage: it has no Manifest.json"):
        load_package(tmp_path)


def test_missing_weights(package):
    _weights(package).unlink()
    with pytest.raises(MilError, match=r"weight file .* is missing"):
        load_package(package)


@pytest.mark.parametrize(
    ("size", "message"), [(0, "empty"), (50, "cut short"), (4000, "cut short")]
)
def test_short_weights(package, size, message):
    data = _weights(package).read_bytes()
    _weights(package).write_bytes(data[:size])
    with pytest.raises(MilError, match=message):
        load_package(package)


def test_bad_sentinel(package):
    data = bytearray(_weights(package).read_bytes())
    data[64:68] = b"\0\0\0\0"
    _weights(package).write_bytes(data)
    with pytest.raises(MilError, match=r"offset 64: no blob here, found 0x00000000"):
        load_package(package)


def test_blob_of_another_size(package):
    data = bytearray(_weights(package).read_bytes())
    struct.pack_into("<Q", data, 72, 4)
    _weights(package).write_bytes(data)
    with pytest.raises(MilError, match=r"4 bytes stored, float32 \(64, 32\) takes 8192"):
        load_package(package)


def test_other_storage_version(package):
    data = bytearray(_weights(package).read_bytes())
    struct.pack_into("<I", data, 4, 9)
    _weights(package).write_bytes(data)
    with pytest.raises(MilError, match="has version 9, expected 2"):
        load_package(package)


def test_cut_model(package):
    data = _model(package).read_bytes()
    _model(package).write_bytes(data[: len(data) // 2])
    with pytest.raises(MilError, match="not a whole Core ML model"):
        load_package(package)


def test_missing_model(package):
    _model(package).unlink()
    with pytest.raises(MilError, match=r"model file .* is missing"):
        load_package(package)


def test_empty_model(package):
    _model(package).write_bytes(b"")
    with pytest.raises(MilError, match="not an mlProgram"):
        load_package(package)


@pytest.mark.parametrize("text", ["{", "{}", "[]"])
def test_bad_manifest(package, text):
    (package / "Manifest.json").write_text(text)
    with pytest.raises(MilError, match="names no root model"):
        load_package(package)


def test_manifest_may_not_point_outside(package):
    manifest = package / "Manifest.json"
    content = json.loads(manifest.read_text())
    content["itemInfoEntries"][content["rootModelIdentifier"]]["path"] = "../../etc/passwd"
    manifest.write_text(json.dumps(content))
    with pytest.raises(MilError, match="points outside"):
        load_package(package)


def test_loading_imports_neither_coremltools_nor_torch(saved):
    """Together they take 4 s and 350 MB; the message classes alone 0.03 s."""
    code = (
        "import sys, pathlib\n"
        "from runtimes.engines.mil import load_package\n"
        "load_package(pathlib.Path(sys.argv[1]))\n"
        "print([m for m in ('torch', 'coremltools', 'scipy') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(saved)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
