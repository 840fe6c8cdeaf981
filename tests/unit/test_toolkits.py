"""Toolkits that are not installed, or are and do not load, are found before any work."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from exporter.errors import RequestError
from exporter.job import Job, Place
from exporter.pipeline import export
from exporter.targets import load_target, names
from exporter.toolkits import load_toolkits, require_toolkits


def test_a_missing_toolkit_is_refused_with_what_to_install():
    target = dataclasses.replace(load_target("tflite"), packages=("numpy", "no-such-toolkit"))
    with pytest.raises(RequestError) as error:
        require_toolkits([target])
    assert str(error.value) == (
        "--target tflite needs no-such-toolkit: pip install 'sam-export[tflite]'"
    )


@pytest.fixture
def toolkit(tmp_path, monkeypatch):
    """Give every target a toolkit of one module, whose text it takes."""

    def of(text):
        (tmp_path / "odd_toolkit.py").write_text(text)
        monkeypatch.setattr(
            "exporter.toolkits.load_target",
            lambda name: dataclasses.replace(load_target(name), loads=("odd_toolkit",)),
        )

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "odd_toolkit", raising=False)
    return of


@pytest.mark.parametrize("own", [False, True])
def test_a_broken_toolkit_is_refused_before_any_work_and_leaves_nothing(
    own, toolkit, tmp_path, monkeypatch, capfd
):
    prints = "import os; os.write(1, b'loading')\n"
    toolkit(prints + "raise ImportError('libtoolkit.so: invalid ELF header\\nand more')")
    for work in ("obtain", "read_own"):
        monkeypatch.setattr(f"exporter.pipeline.{work}", lambda *given: pytest.fail("it went on"))
    checkpoint = tmp_path / "own.pt" if own else None
    with pytest.raises(RequestError) as error:
        export(Job(("coreai",), checkpoint=checkpoint), Place(tmp_path / "bundles"))
    assert str(error.value) == (
        "--target coreai: odd_toolkit is installed and does not load (ImportError: libtoolkit.so: "
        "invalid ELF header): pip install --force-reinstall 'sam-export[coreai]'"
    )
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "bundles").exists()


def test_a_toolkit_that_loads_is_accepted(toolkit):
    toolkit("loaded = True")
    load_toolkits(["onnx", "coreml"])
    assert sys.modules["odd_toolkit"].loaded


def test_every_target_says_what_loads_its_toolkit():
    for name in names():
        tops = {module.split(".")[0] for module in load_target(name).loads}
        packages = {package.replace("-", "_") for package in load_target(name).packages}
        assert tops
        assert tops - {"coreai"} <= packages
