"""`sam-segment` in Swift and in Kotlin, built as an app is."""

from __future__ import annotations

import os
from pathlib import Path

from tests.unit.runtimes.kotlin import kotlin_kit
from tests.unit.runtimes.segment_kit import run
from tests.unit.runtimes.swift import swift_kit


def build_commands() -> dict[str, Path]:
    """Build both; the processes after this one find what they need."""
    swift_kit.require_swift()
    kotlin_kit.require_kotlin()
    ran = swift_kit.swift("build", "-c", "release")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    os.environ.update(kotlin_kit.environment())
    ran = run(kotlin_kit.PACKAGE / "compile", kotlin_kit.SCRATCH)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    swift = swift_kit.SCRATCH / "release" / "sam-segment"
    return {"Swift": swift, "Kotlin": kotlin_kit.PACKAGE / "sam-segment"}
