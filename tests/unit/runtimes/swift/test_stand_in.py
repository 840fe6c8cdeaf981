"""The part for Apple's systems is type-checked against declarations that catch a wrong call."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from exporter.app_code import pages_of
from tests.unit.runtimes.swift.swift_kit import PACKAGE, StandIn, require_swift, sources

HERE = Path(__file__).parent / "standin"
MODULES = ("CoreGraphics", "CoreVideo", "CoreML", "UIKit")
APPLE = "SegmentAnything"


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    require_swift()
    made = StandIn(tmp_path_factory.mktemp("standin"))
    for module in MODULES:
        assert made.check([HERE / f"{module}.swift"], module=module) == ""
    assert made.check(sources("SegmentAnythingCore"), module="SegmentAnythingCore") == ""
    assert made.check(sources(APPLE), module=APPLE) == ""
    return made


def test_the_readme_shows_what_is_checked_here() -> None:
    readme = (PACKAGE.parents[1] / "README.md").read_text(encoding="utf-8")
    shown = readme.partition("```swift\n")[2].partition("```")[0]
    body = (HERE / "App.swift").read_text().partition("{\n")[2].partition("\n}")[0]
    app = textwrap.dedent(body)
    assert shown
    assert shown in app


def test_what_an_app_writes_is_right(standin: StandIn) -> None:
    assert standin.check([HERE / "App.swift"]) == ""


def test_what_a_bundle_tells_an_app_to_write_is_right(standin: StandIn, tmp_path: Path) -> None:
    shown = pages_of("coreml")["swift"].partition("```swift\n")[2].partition("```")[0]
    imports, _, lines = shown.partition("\n\n")
    app = tmp_path / "App.swift"
    app.write_text(
        f"import CoreGraphics\nimport Foundation\nimport UIKit\n{imports}\n"
        "@MainActor func segment(_ photo: UIImage, _ tap: CGPoint) async throws -> CGImage? {\n"
        f"{lines}    return cutOut\n}}\n"
    )
    assert standin.check([app]) == ""
    app.write_text(app.read_text().replace("setImage(photo)", "setImage(tap)"))
    assert "cannot convert" in standin.check([app]) or "no exact matches" in standin.check([app])


@pytest.mark.parametrize(
    ("file", "right", "wrong", "says"),
    [
        (
            "CoreMLEngine",
            "configuration.computeUnits =",
            "configuration.units =",
            "no member 'units'",
        ),
        (
            "CoreMLEngine",
            "MLModel.compileModel(at: url)",
            "MLModel.compile(url)",
            "no member 'compile'",
        ),
        ("CoreMLEngine", "dataType: .float32)", "type: .float32)", "incorrect argument label"),
        ("CoreMLEngine", "try await MLModel.comp", "try MLModel.comp", "not marked with 'await'"),
        ("PixelBuffers", "(nil, pool, &made)", "(nil, &made)", "missing argument"),
        ("AppleImages", "image.imageOrientation)", "image.orientation)", "no member 'orientation'"),
    ],
)
def test_a_wrong_call_is_caught(standin, tmp_path, file, right, wrong, says) -> None:
    text = (next(path for path in sources(APPLE) if path.stem == file)).read_text()
    assert text.count(right) == 1
    changed = tmp_path / f"{file}.swift"
    changed.write_text(text.replace(right, wrong))
    kept = [path for path in sources(APPLE) if path.stem != file]
    assert says in standin.check([*kept, changed])


def test_a_wrong_call_of_an_app_is_caught(standin, tmp_path) -> None:
    changed = tmp_path / "App.swift"
    text = (HERE / "App.swift").read_text()
    changed.write_text(text.replace("computeUnits: .all", "computeUnits: .fast"))
    assert "no member 'fast'" in standin.check([changed])
