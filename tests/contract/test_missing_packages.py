"""A package that is not installed is one line that says what to install, in every command."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.unit import tiny_bundle

HIDE = """
import sys
hidden = set(sys.argv[1].split(","))

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in hidden:
            return None
        return self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
from {module} import main
sys.exit(main(sys.argv[2:]))
"""

EXPORTS = [
    ("onnx", package)
    for package in ("torch", "safetensors", "onnx", "onnxscript", "onnxruntime")
] + [
    ("tflite", package)
    for package in ("torch", "safetensors", "litert_torch", "ai_edge_litert", "ai_edge_quantizer")
] + [("coreml", package) for package in ("torch", "safetensors", "coremltools")]  # fmt: skip


def without(packages: str, module: str, *argv: object) -> tuple[int, list[str]]:
    code = HIDE.replace("{module}", module)
    command = [sys.executable, "-c", code, packages, *map(str, argv)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stderr.strip().splitlines()


@pytest.mark.parametrize(("target", "package"), EXPORTS)
def test_an_export_names_the_extra(tmp_path, target, package):
    status, lines = without(package, "exporter.cli", "--target", target, "--output", tmp_path)
    assert status == 2, lines
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"sam-export: error: --target {target} needs ")
    assert package in lines[0].replace("-", "_")
    assert lines[0].endswith(f"pip install 'sam-export[{target}]'")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["torch", "safetensors"])
def test_a_checkpoint_without_a_variant_names_it_too(tmp_path, package):
    (tmp_path / "some.pt").write_bytes(b"PK\x03\x04")
    given = ("--target", "onnx", "--checkpoint", tmp_path / "some.pt")
    status, lines = without(package, "exporter.cli", *given)
    assert status == 2
    assert lines[-1].endswith("pip install 'sam-export[onnx]'")


@pytest.mark.parametrize("option", [("PHOTO", "--point", "1,1"), ("--check",)])
def test_running_a_bundle_names_the_extra(tmp_path, option):
    tiny_bundle.build(tmp_path / "bundle")
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    rest = [tmp_path / "photo.png" if word == "PHOTO" else word for word in option]
    status, lines = without("onnxruntime", "runtimes.cli", tmp_path / "bundle", *rest)
    assert status == 2, lines
    assert len(lines) == 1, lines
    assert "pip install 'sam-export[run-onnx]'" in lines[0]


def test_measuring_on_this_host_names_the_extra(tmp_path):
    tiny_bundle.build(tmp_path / "bundle")
    given = (tmp_path / "bundle", "--device", "host", "--store", tmp_path / "p.jsonl")
    status, lines = without("onnxruntime", "profiles.cli", *given)
    assert status == 2, lines
    assert "pip install 'sam-export[run-onnx]'" in "\n".join(lines)


def test_signing_and_verifying_name_the_extra(tmp_path):
    tiny_bundle.build(tmp_path / "bundle")
    key = tmp_path / "key"
    given = ("exporter.cli", "--target", "onnx", "--output", tmp_path / "out", "--sign", key)
    for words in (given, ("runtimes.cli", tmp_path / "bundle", "--check", "--verify-key", key)):
        status, lines = without("cryptography", *words)
        assert status == 2, lines
        assert len(lines) == 1, lines
        assert lines[0].endswith("needs cryptography: pip install 'sam-export[sign]'")
    assert not (tmp_path / "out").exists()


def test_lists_and_help_need_nothing():
    everything = "torch,safetensors,coremltools,onnx,onnxruntime,onnxscript,litert_torch"
    assert without(everything, "exporter.cli", "--list")[0] == 0


def test_all_targets_name_one_extra(tmp_path):
    everything = "torch,safetensors,coremltools,onnx,onnxruntime,onnxscript,litert_torch"
    status, lines = without(everything, "exporter.cli", "--target", "all", "--output", tmp_path)
    assert (status, len(lines)) == (2, 1)
    assert lines[0].endswith("pip install 'sam-export[all]'")
    assert all(
        name.replace("_", "-") in lines[0].replace("_", "-") for name in everything.split(",")
    )
