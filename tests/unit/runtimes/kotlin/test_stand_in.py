"""The part for Android is type-checked against declarations that catch a wrong call."""

from __future__ import annotations

import re
import shutil
import textwrap
from pathlib import Path

import pytest

from exporter.app_code import pages_of
from tests.unit.runtimes.kotlin.kotlin_kit import PACKAGE, SCRATCH, type_check
from tests.unit.runtimes.segment_kit import run

HERE = Path(__file__).parent / "standin"
DECLARED = (HERE / "java", HERE / "LiteRt.kt")
ANDROID = PACKAGE / "android/src/main/kotlin"
ASSETS = "segmentanything/android/Assets.kt"
WRONG = (
    ("Bitmaps", "made.setPixels(colours, 0, ", "made.setPixels(colours, ", "no value passed"),
    ("Bitmaps", "Bitmap.Config.HARDWARE", "Bitmap.Config.GPU", "'GPU'"),
    ("Assets", "context.noBackupFilesDir", "context.noBackupDir", "'noBackupDir'"),
    ("LiteRtEngine", ".writeFloat(", ".writeFloats(", "'writeFloats'"),
    ("LiteRtEngine", "createInputBuffer(it.name,", "createInputBuffer(0,", "actual type is 'Int'"),
    ("OnnxRuntimeEngine", "addConfigEntry(", "addConfig(", "'addConfig'"),
    (
        "OnnxRuntimeEngine",
        "FloatBuffer.wrap(tensor.values), shape",
        "tensor.values, shape",
        "'FloatArray'",
    ),
    ("App", "tracker.track(next)", "tracker.follow(next)", "'follow'"),
    (
        "App",
        "Tracker(bundle, LiteRtEngine(Accelerator.GPU))",
        "Tracker(bundle, LiteRtEngine(Accelerator.FAST))",
        "'FAST'",
    ),
    ("App", "suspend fun overlays", "fun overlays", "only be called from a coroutine"),
)


def test_the_readme_shows_what_is_checked_here() -> None:
    readme = (PACKAGE.parents[1] / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"```kotlin\n(.*?)```", readme, re.DOTALL)
    bodies = re.findall(r"\{\n(.*?)\n    \}\n", (HERE / "App.kt").read_text(), re.DOTALL)
    app = "\n".join(
        textwrap.dedent(body.partition("List<Bitmap> {\n")[2] or body) for body in bodies
    )
    assert len(shown) == 4
    assert [each for each in shown if each not in app] == []


def test_what_an_app_writes_is_right(built, tmp_path) -> None:
    assert type_check([*DECLARED, HERE / "App.kt", ANDROID], tmp_path) == ""


def test_what_a_bundle_tells_an_app_to_write_is_right(built, tmp_path) -> None:
    files = []
    for target in ("onnx", "tflite"):
        shown = pages_of(target)["kotlin"].partition("```kotlin\n")[2].partition("```")[0]
        imports, _, lines = shown.partition("\n\n")
        app = tmp_path / f"{target}.kt"
        app.write_text(
            f"package {target}\nimport android.content.Context\nimport android.graphics.Bitmap\n"
            f"import segmentanything.Point\n{imports}\n"
            "suspend fun segment(context: Context, photo: Bitmap, tap: Point): Bitmap {\n"
            f"{lines}return overlay\n}}\n"
        )
        files.append(app)
    assert type_check([*DECLARED, *files, ANDROID], tmp_path) == ""


def test_every_wrong_call_is_caught(built, tmp_path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(ANDROID, changed)
    shutil.copy(HERE / "App.kt", changed)
    for name, right, wrong, _ in WRONG:
        (file,) = changed.rglob(f"{name}.kt")
        text = file.read_text()
        assert text.count(right) == 1
        file.write_text(text.replace(right, wrong))
    lines = type_check([*DECLARED, changed], tmp_path).splitlines()
    for name, _, _, says in WRONG:
        assert [line for line in lines if f"{name}.kt:" in line and says in line], (name, says)


def test_a_bundle_is_copied_whole_by_many_threads_at_once(built, tmp_path) -> None:
    """The assets' file alone runs here: on the stand-in's assets, a folder."""
    if shutil.which("javac") is None:
        pytest.skip("javac is missing: apt-get install openjdk-17-jdk-headless")
    assets = tmp_path / "assets"
    for at in range(60):
        file = assets / "my bundle" / f"{at % 3}" / f"{at}.onnx"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(20_000))
    (assets / "my bundle" / "manifest.json").write_text("{}")
    assert type_check([DECLARED[0], ANDROID / ASSETS, HERE / "Copies.kt"], tmp_path) == ""
    declared = sorted((DECLARED[0] / "android" / "content").rglob("*.java"))
    made = tmp_path / "made"
    assert run("javac", "-d", made, *declared).returncode == 0
    classes = f"{made}:{SCRATCH / 'core'}:{(SCRATCH / 'libraries').read_text()}"
    words = (f"-Dstandin.assets={assets}", "-cp", classes, "app.CopiesKt")
    ran = run("java", *words, tmp_path / "files", "my bundle")
    assert (ran.stdout, ran.returncode) == ("[61]\n", 0), ran.stderr
    kept = tmp_path / "files" / "segment-anything" / "my bundle"
    assert len([path for path in kept.rglob("*") if path.is_file()]) == 61
