"""The part for Apple's systems is type-checked against declarations that catch a wrong call."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from exporter.app_code import pages_of
from tests.unit.runtimes.swift.swift_kit import PACKAGE, StandIn, require_swift, sources

HERE = Path(__file__).parent / "standin"
MODULES = ("CoreGraphics", "CoreVideo", "CoreML", "CoreAI", "UIKit")
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
    bodies = re.findall(r"\{\n(.*?)\n\}", (HERE / "App.swift").read_text(), re.DOTALL)
    app = "\n".join(map(textwrap.dedent, bodies))
    shown = re.findall(r"```swift\n(.*?)```", readme, re.DOTALL)
    assert len(shown) == 5
    assert [each for each in shown if each not in app] == []


def test_an_sdk_without_core_ai_will_do(tmp_path: Path) -> None:
    require_swift()
    older = StandIn(tmp_path)
    for module in MODULES:
        if module != "CoreAI":
            assert older.check([HERE / f"{module}.swift"], module=module) == ""
    assert older.check(sources("SegmentAnythingCore"), module="SegmentAnythingCore") == ""
    assert older.check(sources(APPLE), module=APPLE) == ""
    assert "cannot find 'CoreAIEngine'" in older.check([HERE / "App.swift"])


def test_what_an_app_writes_is_right(standin: StandIn) -> None:
    assert standin.check([HERE / "App.swift"]) == ""


@pytest.mark.parametrize("target", ["coreml", "coreai"])
def test_what_a_bundle_tells_an_app_to_write_is_right(standin, tmp_path, target: str) -> None:
    shown = pages_of(target)["swift"].partition("```swift\n")[2].partition("```")[0]
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
        ("CoreMLEngine", "options.outputBackings =", "options.backings =", "no member 'backings'"),
        ("CoreMLEngine", "try await MLModel.comp", "try MLModel.comp", "not marked with 'await'"),
        (
            "CoreAIEngine",
            "preferredComputeUnitKind: .gpu",
            "computeUnits: .gpu",
            "incorrect argument label",
        ),
        ("CoreAIEngine", "try await AIModel(", "try AIModel(", "not marked with 'await'"),
        ("CoreAIEngine", "held.model.loadFunction(named:", "held.model.load(", "no member 'load'"),
        (
            "CoreAIEngine",
            "own.mutableView(as: Float.self)",
            "own.view(as: Float.self)",
            "no member 'withUnsafeMutablePointer'",
        ),
        ("CoreAIEngine", "results.remove(spec.name)", "results[spec.name]", "no subscripts"),
        (
            "CoreAIEngine",
            "models.hold(HeldModel(kept",
            "models.hold(HeldModel(url",
            "cannot convert",
        ),
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


def test_the_command_opens_a_macs_own_bundles(standin, tmp_path) -> None:
    engine = (
        "func open(_: GraphFile, at: URL, of: Manifest) throws -> any LoadedGraph { fatalError() }"
    )
    (tmp_path / "Onnx.swift").write_text(
        "import Foundation\n@_exported import SegmentAnythingCore\n"
        'public struct OnnxRuntimeEngine: Engine {\n    public let target = "onnx"\n'
        f"    public init(library: String?, threads: Int) throws {{}}\n    public {engine}\n}}\n"
    )
    assert standin.check([tmp_path / "Onnx.swift"], module="SegmentAnythingOnnx") == ""
    files = {path.stem: path for path in sources("sam-segment")}
    arguments = [files["Arguments"], files["EverythingArguments"]]
    assert standin.check([files["Opening"], *arguments]) == ""
    changed = tmp_path / "Opening.swift"
    text = files["Opening"].read_text()
    changed.write_text(text.replace("SegmentAnything(bundle: bundle)", "SegmentAnything(asked)"))
    assert "no exact matches" in standin.check([changed, *arguments])


def test_a_wrong_call_of_an_app_is_caught(standin, tmp_path) -> None:
    changed = tmp_path / "App.swift"
    text = (HERE / "App.swift").read_text()
    changed.write_text(text.replace("placement: .cpuAndGPU", "placement: .fast"))
    assert "no member 'fast'" in standin.check([changed])


def test_core_ai_is_asked_for_on_its_systems_alone(standin, tmp_path) -> None:
    """An app that supports iOS 16 may not name the engine without asking. No `#available` here is
    as on Apple's systems, whose versions the compiler does not know on Linux: the text is read."""
    for name in ("CoreAIEngine", "SegmentAnything+Apple"):
        text = next(path for path in sources(APPLE) if path.stem == name).read_text()
        assert text.count("iOS 27, macOS 27, *") >= 1
    engine = next(path for path in sources(APPLE) if path.stem == "CoreAIEngine").read_text()
    types = re.findall(r"(.*)\n    (?:public |private )(?:final class|struct) (\w+)", engine)
    assert len(types) >= 5
    assert [name for before, name in types if "@available(iOS 27" not in before] == []
