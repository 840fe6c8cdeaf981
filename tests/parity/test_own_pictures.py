"""The demo model calibrated on a folder of pictures; ranges of every target; degraded bundles."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from exporter import calibration, samples, targets
from exporter.bundle.folder import open_bundle
from exporter.bundle.goldens import key
from exporter.calibration import RANGE_KINDS, Range, Task, find_ranges
from exporter.cli import main
from exporter.scenes.scene import scene
from exporter.targets import load_target
from exporter.targets import names as target_names
from runtimes.cli import main as run

pytestmark = pytest.mark.parity
SIZES = ((240, 320), (320, 240), (192, 192), (150, 401))
SEED = 10_600_000

CALIBRATED = [name for name in target_names() if "int8" in load_target(name).lowers]


@pytest.fixture(scope="module", autouse=True)
def _few_scenes():
    """Judge masks on five pictures: these tests are of what is done, not of how well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "GATE_PICTURES", 5)
        yield


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Eight scenes of other sizes, one of them held sideways."""
    folder = tmp_path_factory.mktemp("pictures")
    for at in range(8):
        image = Image.fromarray(scene(SEED + at, *SIZES[at % 4]).image)
        exif = image.getexif()
        exif[0x0112] = 6 if at == 5 else 1
        image.save(folder / f"{at}.png", exif=exif)
    prompts = {"1.png": [{"points": [[120, 160]]}, {"box": [20, 30, 200, 250]}]}
    (folder / "prompts.json").write_text(json.dumps(prompts))
    return folder


@pytest.fixture(scope="module")
def calibrated(pictures, tmp_path_factory, exports):
    """The words of the export, and its bundle."""
    output = tmp_path_factory.mktemp("calibrated")
    words = ["--target", "onnx", "--precision", "int8", "--ranges", "mse", "--quiet"]
    words += ["--checkpoint", str(exports.weights()), "--calibration", str(pictures)]
    words += ["--output", str(output)]
    assert main(words) == 0
    return words, open_bundle(output / "demo-onnx-int8")


def test_the_manifest_names_every_picture_and_its_use(calibrated):
    _, bundle = calibrated
    found = bundle.manifest.calibration
    assert [each.name for each in found.pictures] == [f"{at}.png" for at in range(8)]
    assert [each.use for each in found.pictures] == ["ranges", "gate"] * 4
    assert (found.ranges, found.scenes, found.gate_scenes) == ("mse", 0, 1)
    assert found.prompts_sha256
    assert not bundle.manifest.degraded


def test_an_equal_job_finds_its_bundle_and_another_picture_is_another_job(
    calibrated, pictures, tmp_path, capsys
):
    words, bundle = calibrated
    before = (bundle.path / "manifest.json").stat().st_mtime_ns
    assert main(words) == 0
    assert (bundle.path / "manifest.json").stat().st_mtime_ns == before
    other = shutil.copytree(pictures, tmp_path / "other")
    (other / "3.png").write_bytes((other / "2.png").read_bytes())
    capsys.readouterr()
    again = [str(other) if word == str(pictures) else word for word in words]
    assert main(again) == 2
    assert "holds a different bundle" in capsys.readouterr().err


# Core AI's ranges are found in torch: its program's values have no names.
@pytest.mark.parametrize("target", [name for name in CALIBRATED if name != "coreai"])
def test_ranges_of_least_error_lie_within_the_least_and_the_largest_value(
    target, exports, tmp_path
):
    """In each target's own process; no range is narrower than half of them all for this model."""
    bundle = exports.bundle(target, "fp32")
    file = bundle.manifest.graph("image_encoder")
    module, tensors = _watched(target, bundle.file("image_encoder"))
    files = []
    for at in range(2):
        image = scene(SEED + at, 192, 192).image.transpose(2, 0, 1)[None]
        files.append(tmp_path / f"{at}.npz")
        given = {"image": image, "resized_size": np.full((1, 2), image.shape[-1], np.float32)}
        np.savez(files[-1], **{key("image_encoder", "scene", n): a for n, a in given.items()})
    task = Task(bundle.file("image_encoder"), file.spec, tensors, tuple(files))
    whole, least = (
        find_ranges(module, Task(task.file, task.spec, tensors, task.pictures, kind))
        for kind in RANGE_KINDS
    )
    assert len(whole) > 10
    for name in tensors:
        outer = whole[name].joined(Range(0.0, 0.0))
        assert outer.joined(least[name]) == outer, name
        assert least[name].high - least[name].low > 0.3 * (outer.high - outer.low), name
    assert any(least[name] != whole[name] for name in tensors)


def _watched(target, path):
    if target == "onnx":
        import onnx

        from exporter.targets.onnx.int8 import RANGES_MODULE

        kinds = {"Conv", "MatMul", "Gemm"}
        nodes = [node for node in onnx.load(path).graph.node if node.op_type in kinds]
        return RANGES_MODULE, tuple(dict.fromkeys(node.output[0] for node in nodes))
    if target == "tflite":
        from exporter.targets.tflite._quantise import products
        from exporter.targets.tflite.int8 import RANGES_MODULE

        return RANGES_MODULE, tuple(dict.fromkeys(each.output for each in products(path)))
    import coremltools

    from exporter.targets.coreml.int8 import RANGES_MODULE, products

    spec = coremltools.models.MLModel(str(path), skip_model_load=True).get_spec()
    return RANGES_MODULE, tuple(dict.fromkeys(each.input for each in products(spec)))


def test_a_degraded_bundle_says_so_wherever_it_is_used(tmp_path, capsys, monkeypatch, exports):

    def narrow(module, task):
        ranges = calibration.find_ranges(module, task)
        return {name: Range(r.low / 4, r.high / 4) for name, r in ranges.items()}

    monkeypatch.setattr(targets, "find_ranges", narrow)
    words = ["--target", "onnx", "--precision", "int8", "--quiet", "--output", str(tmp_path)]
    words += ["--checkpoint", str(exports.weights())]
    assert main([*words, "--allow-degraded"]) == 0
    assert "(degraded)" in capsys.readouterr().out
    bundle = open_bundle(tmp_path / "demo-onnx-int8")
    assert bundle.manifest.degraded
    assert main(words) == 2
    assert "is degraded: give --allow-degraded" in capsys.readouterr().err
    assert run([str(bundle.path), "--check"]) == 0
    checked = capsys.readouterr().out
    assert "degraded: " in checked
    assert "end_to_end masks mean_mask_iou" in checked
    Image.fromarray(scene(SEED, 192, 192).image).save(tmp_path / "scene.png")
    asked = [str(bundle.path), str(tmp_path / "scene.png"), "--point", "90,90", "--json"]
    assert run(asked) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["degraded"] is True
    assert "demo-onnx-int8 is degraded: " in shown.err
    assert "end_to_end masks mean_mask_iou" in shown.err
