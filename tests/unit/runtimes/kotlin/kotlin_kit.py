"""The Kotlin module, compiled once for all tests."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.unit.runtimes.segment_kit import ROOT, run

PACKAGE = ROOT / "runtimes" / "kotlin"
SCRATCH = ROOT / "build" / "kotlin"


def require_kotlin() -> None:
    """Skip if something is missing that compiles the module."""
    for program in ("java", "gcc"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing: apt-get install openjdk-17-jdk-headless gcc")
    if not list(_jdk().glob("include/jni.h")):
        pytest.skip("jni.h is missing: apt-get install openjdk-17-jdk-headless")
    if not jars().is_dir():
        pytest.skip("the Kotlin compiler is missing: pip install 'sam-export[kotlin]'")


def _jdk() -> Path:
    return Path(str(shutil.which("javac") or shutil.which("java"))).resolve().parents[1]


def jars() -> Path:
    """The compiler's jars, which hold the libraries too."""
    found = importlib.util.find_spec("run_kotlin_kernel")
    places = list(found.submodule_search_locations or ()) if found else []
    named = os.environ.get("SAM_KOTLIN_JARS")
    return Path(named) if named else Path(*places, "jars")


def environment() -> Mapping[str, str]:
    """Where `compile` and `sam-segment` find the compiler, and put what they make."""
    return {"SAM_KOTLIN_JARS": str(jars()), "SAM_KOTLIN_BUILD": str(SCRATCH)}


def java(*words: object) -> subprocess.CompletedProcess[str]:
    """Run a class of the module or of its tests."""
    parts = [str(SCRATCH / part) for part in ("core", "jvm", "tests")]
    classes = ":".join(parts) + ":" + (SCRATCH / "libraries").read_text()
    return run("java", "-Djava.awt.headless=true", "-cp", classes, *words)


def type_check(files: Sequence[Path], folder: Path) -> str:
    """Compile files against the core; returns what the compiler says."""
    quick = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
    strict = ("-no-stdlib", "-no-reflect", "-Werror", "-progressive", "-jvm-target", "17")
    classes = f"{SCRATCH / 'core'}:{(SCRATCH / 'libraries').read_text()}"
    compiler = ("-cp", f"{jars()}/*", "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler")
    ran = run("java", *quick, *compiler, *strict, "-cp", classes, "-d", folder / "made", *files)
    assert ran.returncode in (0, 1), ran.stderr
    return ran.stdout + ran.stderr
