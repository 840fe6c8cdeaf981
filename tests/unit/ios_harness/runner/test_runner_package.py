"""The runner's package builds without a warning, passes its tests, fits Apple's declarations."""

from __future__ import annotations

from pathlib import Path

import pytest

from ios_harness import answers, pack
from runtimes.remote import job
from tests.ios_runner import PACKAGE, built_runner, swift
from tests.unit.runtimes.swift.swift_kit import StandIn, sources

HERE = Path(__file__).parent / "standin"
SWIFT_HERE = Path(__file__).parents[2] / "runtimes" / "swift" / "standin"
MODULES = ("CoreGraphics", "CoreVideo", "CoreML", "CoreAI")
CORE, APPLE, APP = "RunnerCore", "RunnerApple", "App"


def test_its_own_tests_pass() -> None:
    built_runner()
    ran = swift("test", "--skip-build")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Test run with" in ran.stdout + ran.stderr


def test_both_sides_speak_the_same_version() -> None:
    texts = {path.stem: path.read_text() for path in PACKAGE.glob("Sources/RunnerCore/*.swift")}
    assert f"static let version = {answers.VERSION}\n" in texts["Desk"]
    assert f"static let version = {job.PROTOCOL}\n" in texts["Job"]
    assert f"static let mostCalls = {job.MOST_CALLS}\n" in texts["Job"]
    assert f'Data("{pack.MAGIC.decode()}".utf8)' in texts["Pack"]


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    """Apple's modules, ours that the app needs, and the app's own half."""
    built_runner()
    made = StandIn(tmp_path_factory.mktemp("standin"))
    for module in MODULES:
        assert made.check([SWIFT_HERE / f"{module}.swift"], module=module) == ""
    assert made.check([SWIFT_HERE / "UIKit.swift", HERE / "UIDevice.swift"], module="UIKit") == ""
    for module in ("Darwin", "SwiftUI"):
        assert made.check([HERE / f"{module}.swift"], module=module) == ""
    for module in ("SegmentAnythingCore", "SegmentAnything"):
        assert made.check(sources(module), module=module) == ""
    assert made.check(files(CORE), module=CORE) == ""
    assert made.check(files(APPLE), module=APPLE) == ""
    return made


def files(target: str) -> list[Path]:
    """The files of a target, or of the app."""
    folder = PACKAGE.parent / "app" / "SamRunner" if target == APP else PACKAGE / "Sources" / target
    return sorted(folder.glob("*.swift"))


def test_the_app_fits(standin: StandIn) -> None:
    assert standin.check(files(APP)) == ""


@pytest.mark.parametrize(
    ("target", "file", "right", "wrong", "says"),
    [
        (
            APPLE,
            "CoreMLRunnerEngine",
            "plan.modelStructure",
            "plan.structure",
            "no member 'structure'",
        ),
        (APPLE, "CoreMLRunnerEngine", "usage.preferred", "usage.best", "no member 'best'"),
        (APPLE, "CoreMLRunnerEngine", "await MLComputePlan", "MLComputePlan", "'await'"),
        (APPLE, "CoreAIRunnerEngine", "engine.forget(url)", "engine.forget()", "missing argument"),
        (APPLE, "AppleDevice", "process.thermalState", "process.heat", "no member 'heat'"),
        (APPLE, "AppleDevice", "device.batteryState", "device.battery", "no member 'battery'"),
        (APP, "SamRunnerApp", "isIdleTimerDisabled", "idleTimerOff", "no member 'idleTimerOff'"),
    ],
)
def test_a_wrong_call_is_caught(standin, tmp_path, target, file, right, wrong, says) -> None:
    (path,) = (path for path in files(target) if path.stem == file)
    text = path.read_text()
    assert text.count(right) >= 1
    changed = tmp_path / f"{file}.swift"
    changed.write_text(text.replace(right, wrong))
    kept = [other for other in files(target) if other.stem != file]
    assert says in standin.check([*kept, changed])
