"""The wheel: it is typed for whoever installs it, and takes a new harness along."""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import sam_export
from exporter.app_code import PACKAGES, app_sources
from tests.contract.house import ROOT, build_house

BESIDE = ("pyproject.toml", "README.md", "LICENSE", "sam_export.py")
STUB = "sam_export-stubs/__init__.pyi"
TYPED = ("exporter", "runtimes", "android_harness", "ios_harness", "profiles")

CONSUMER = """
import numpy as np
import numpy.typing as npt
from sam_export import Bundle, Job, Masks, Place, RequestError, export, open_bundle, open_segmenter


def segment(rgb: npt.NDArray[np.uint8]) -> Masks:
    try:
        bundles: list[Bundle] = export(Job(targets=("onnx",), variant="demo"), Place("out"))
    except RequestError as error:
        raise SystemExit(error.exit_status) from error
    segmenter = open_segmenter(open_bundle(bundles[0].path))
    segmenter.set_image(rgb)
    return segmenter.predict(points=[(1, 2)], labels=[1])
"""
WRONG = {
    "from sam_export import Job\nJob(('onnx',), nonsense=3)": 'Unexpected keyword argument "nons',
    "from sam_export import Job\nJob(('onnx',), slots='8')": 'Argument "slots" to "Job"',
    "import sam_export\nsam_export.magic": 'Module has no attribute "magic"',
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of the code here with one harness more."""
    root = tmp_path_factory.mktemp("house")
    house = build_house(root)
    for name in BESIDE:
        shutil.copy(ROOT / name, root)
    house.add("toy_harness/__init__.py", "")
    house.add("toy_harness/devices/__init__.py", "")
    out = tmp_path_factory.mktemp("wheel")
    options = ("--no-deps", "--no-build-isolation", "--quiet", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "wheel", root, *options, "--wheel-dir", out]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """An environment with the wheel and what its base install needs."""
    root = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root], check=True)
    (site,) = root.glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    for package in ("numpy", "PIL", "msgspec"):
        found = importlib.util.find_spec(package)
        if found is not None and found.origin is not None:
            (site / package).symlink_to(Path(found.origin).parent)
    return root / "bin" / "python"


def test_the_wheel_is_typed_and_takes_a_new_harness_along(wheel) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"toy_harness/__init__.py", "toy_harness/devices/__init__.py"} <= names
    assert {STUB, *(f"{package}/py.typed" for package in TYPED)} <= names
    assert not [name for name in names if name.startswith("exporter/stubs")]


def test_the_wheel_takes_along_what_a_bundle_gives_to_apps(wheel) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in PACKAGES:
        assert {f"runtimes/{package}/{name}" for name in app_sources(package)} <= names
        assert f"exporter/app_code/{PACKAGES[package].project}" in names
    assert "exporter/targets/coreml/app.swift.md" in names
    assert not [name for name in names if "/Tests/" in name or "/src/test" in name]


def test_every_harness_is_checked_like_the_rest() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    harnesses = {path.parent.name for path in ROOT.glob("*_harness/__init__.py")}
    contracts = settings["importlinter"]["contracts"]
    assert harnesses <= set(settings["importlinter"]["root_packages"])
    for part in ("source_modules", "layers"):
        named = [set(each[part]) for each in contracts if "runtimes" in each.get(part, ())]
        assert named
        assert all(harnesses <= {n for row in rows for n in row.split(" | ")} for rows in named)
    assert "*_harness" in settings["mypy"]["files"]


def test_the_stub_has_the_public_names_from_their_homes() -> None:
    tree = ast.parse((ROOT / "exporter" / "stubs" / STUB).read_text(encoding="utf-8"))
    homes = {
        alias.asname: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }
    assert homes == sam_export._HOME_OF


def type_check(python: Path, code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`mypy --strict` on a user's file."""
    (folder / "app.py").write_text(code)
    cache = python.parents[1] / "mypy-cache"
    options = ("--strict", "--python-executable", python, "--cache-dir", cache)
    return subprocess.run(
        [sys.executable, "-m", "mypy", *options, "app.py"],
        capture_output=True,
        text=True,
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        check=False,
    )


def test_whoever_installs_the_wheel_is_type_checked(python, tmp_path) -> None:
    ran = type_check(python, CONSUMER, tmp_path)
    assert ran.stdout.startswith("Success"), ran.stdout + ran.stderr
    for code, words in WRONG.items():
        ran = type_check(python, code, tmp_path)
        assert ran.returncode == 1
        assert words in ran.stdout
