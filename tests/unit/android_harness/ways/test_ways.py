"""Which way leads to which device, and what each says is missing."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from android_harness.runner import compilers
from android_harness.ways import Supplies, Wanted, delegates, find_way, way_kinds
from android_harness.ways.capsule import Capsule
from android_harness.ways.ndk import API, Ndk, find_ndk
from exporter.errors import ExportError, RequestError
from runtimes.remote.job import Library
from tests.unit.runtimes.remote.small_jobs import JOB

# --------------------------------------------------------------------------------------- which way


def test_the_ways_are_found_by_name():
    assert list(way_kinds()) == ["ndk", "capsule", "benchmark_model"]
    for name, kind in way_kinds().items():
        assert kind.make(Supplies()).name == name
    assert delegates() == ("cpu", "xnnpack", "nnapi", "gpu")
    with pytest.raises(RequestError, match="unknown way 'magic'; choose from auto, ndk"):
        find_way("magic", Wanted("x86_64", "onnx", "cpu"), Supplies())
    with pytest.raises(
        RequestError, match="unknown delegate 'dsp'; choose from cpu, xnnpack, nnapi, gpu"
    ):
        find_way("auto", Wanted("x86_64", "onnx", "dsp"), Supplies())


@pytest.fixture
def no_ndk(monkeypatch):
    for name in ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_HOME", "ANDROID_SDK_ROOT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def a_compiler(monkeypatch):
    found = compilers.Compiler(("cc",), libraries=True)
    monkeypatch.setattr("android_harness.ways.capsule.find_compiler", lambda abi: found)


@pytest.mark.usefixtures("no_ndk", "a_compiler")
def test_without_an_ndk_the_capsule_is_taken():
    assert find_way("auto", Wanted("arm64-v8a", "tflite", "cpu"), Supplies()).name == "capsule"


@pytest.mark.usefixtures("no_ndk", "a_compiler")
@pytest.mark.parametrize(
    ("abi", "target", "delegate", "said"),
    [
        ("armeabi-v7a", "onnx", "cpu", "arm64-v8a and x86_64, not armeabi-v7a"),
        ("x86_64", "coreml", "cpu", "nothing on Android runs a coreml bundle"),
        ("x86_64", "onnx", "xnnpack", "a capsule offers cpu for onnx bundles, not xnnpack"),
        ("x86_64", "tflite", "gpu", "a capsule offers cpu, xnnpack for tflite bundles, not gpu"),
        (
            "x86_64",
            "onnx",
            "gpu",
            "the runner offers cpu, xnnpack, nnapi for onnx bundles, not gpu",
        ),
        ("x86_64", "tflite", "nnapi", "offers cpu, xnnpack for tflite bundles, not nnapi"),
    ],
)
def test_what_no_way_can_do_is_refused_with_every_reason(abi, target, delegate, said):
    with pytest.raises(RequestError, match=said) as caught:
        find_way("auto", Wanted(abi, target, delegate), Supplies())
    assert all(f"{way}: " in str(caught.value) for way in ("ndk", "capsule", "benchmark_model"))


def test_without_a_compiler_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("android_harness.runner.compilers.shutil.which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = Capsule().missing(Wanted("arm64-v8a", "onnx", "cpu"))
    assert said == (
        "no C compiler for arm64-v8a: apt install gcc-aarch64-linux-gnu, or pip install ziglang"
    )


def test_zig_is_taken_where_there_is_no_gcc(monkeypatch):
    monkeypatch.setattr("android_harness.runner.compilers.shutil.which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "ziglang" or None)
    compiler = compilers.find_compiler("arm64-v8a")
    assert compiler.words[1:] == ("-m", "ziglang", "cc", "-target", "aarch64-linux-gnu.2.28")
    assert not compiler.libraries


# ----------------------------------------------------------------------------------------- the NDK


CLANG = """\
#!/bin/sh
echo "$@" >> "{log}"
[ "$1" = --version ] || [ "$2" = --version ] && echo "Android clang version 19.0" && exit 0
while [ $# -gt 0 ]; do [ "$1" = -o ] && echo runner > "$2"; shift; done
"""


@pytest.fixture
def ndk(tmp_path):
    """An NDK whose clang writes down what it is asked."""
    folder = tmp_path / "sdk/ndk/27.1.1"
    tools = folder / "toolchains/llvm/prebuilt/linux-x86_64"
    clang = tools / f"bin/aarch64-linux-android{API}-clang"
    clang.parent.mkdir(parents=True)
    clang.write_text(CLANG.format(log=tmp_path / "log"))
    clang.chmod(0o755)
    cxx = tools / "sysroot/usr/lib/aarch64-linux-android/libc++_shared.so"
    cxx.parent.mkdir(parents=True)
    cxx.write_bytes(b"cxx")
    return folder


def aar(path, member="jni/arm64-v8a/libLiteRt.so"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, b"bionic library")
    return path


def test_the_ndk_builds_the_same_file_for_bionic(ndk, tmp_path):
    supplies = Supplies((aar(tmp_path / "litert-2.3.0.aar"),), ndk, cache=tmp_path / "cache")
    way = find_way("auto", Wanted("arm64-v8a", "tflite", "cpu"), supplies)
    assert way.name == "ndk"
    files = {file.remote: file for file in way.files(Wanted("arm64-v8a", "tflite"))}
    assert set(files) == {"ndk/runner", "ndk/libLiteRt.so", "ndk/libc++_shared.so"}
    assert [name for name, file in files.items() if file.executable] == ["ndk/runner"]
    assert files["ndk/libLiteRt.so"].sha256 == hashlib.sha256(b"bionic library").hexdigest()
    asked = (tmp_path / "log").read_text().splitlines()
    (built,) = (line.split() for line in asked if "max-page-size=16384" in line and "-o" in line)
    names = {Path(word).name for word in built if word.endswith(".c")}
    assert names == {p.name for p in compilers.runner_sources() if p.suffix == ".c"}
    assert {"main.c", "job.c", "measure.c", "report.c", "ort.c", "litert.c"} <= names
    way.files(Wanted("arm64-v8a", "tflite"))
    again = (tmp_path / "log").read_text().splitlines()
    assert sum("main.c" in line for line in again) == sum("main.c" in line for line in asked) == 1
    assert way.library(Wanted("arm64-v8a", "tflite")) == Library(
        "litert", "ndk/libLiteRt.so", "2.3.0"
    )
    job = replace(JOB, library=way.library(Wanted("arm64-v8a", "tflite")).file)
    line = way.command("/data/local/tmp/x", job, "job.txt", prefix="timeout 9")
    assert line.endswith("exec timeout 9 ndk/runner job.txt")
    assert "LD_LIBRARY_PATH=/data/local/tmp/x/ndk" in line


@pytest.mark.parametrize(
    ("aars", "abi", "said"),
    [
        ((), "arm64-v8a", "no litert-VERSION.aar"),
        (("onnxruntime-android-1.31.1.aar",), "arm64-v8a", "no litert-VERSION.aar"),
        (("litert-2.1.3.aar",), "arm64-v8a", "is not LiteRT 2.3.x"),
        (("litert-2.3.0.aar",), "x86_64", "has no clang for x86_64"),
    ],
)
def test_what_the_ndk_way_misses_is_named(ndk, tmp_path, aars, abi, said):
    paths = tuple(aar(tmp_path / name) for name in aars)
    assert said in Ndk(Supplies(paths, ndk)).missing(Wanted(abi, "tflite", "cpu"))


def test_what_the_user_brought_is_named_by_the_environment(tmp_path):
    first = aar(tmp_path / "litert-2.3.0.aar")
    (tmp_path / "more").mkdir()
    second = aar(tmp_path / "more/onnxruntime-android-1.31.1.aar")
    given = {"SAM_EXPORT_AARS": f"{first}:{tmp_path / 'more'}", "SAM_EXPORT_BENCHMARK_MODEL": "b"}
    assert Supplies.of(given) == Supplies((first, second), benchmark_model=Path("b"))
    assert Supplies.of({}) == Supplies()


def test_an_aar_that_is_not_there_is_asked_for(ndk, tmp_path):
    supplies = Supplies((tmp_path / "litert-2.3.0.aar",), ndk)
    said = Ndk(supplies).missing(Wanted("arm64-v8a", "tflite", "cpu"))
    assert (
        said
        == "no litert-VERSION.aar: download it from Maven and set SAM_EXPORT_AARS to its folder"
    )


def test_an_aar_without_the_library_is_named(ndk, tmp_path):
    wrong = aar(tmp_path / "litert-2.3.0.aar", "jni/x86/libLiteRt.so")
    with pytest.raises(ExportError, match=r"holds no jni/arm64-v8a/libLiteRt\.so"):
        Ndk(Supplies((wrong,), ndk, cache=tmp_path)).files(Wanted("arm64-v8a", "tflite"))


def test_the_ndk_is_where_the_environment_says(ndk, tmp_path):
    (ndk.parent / "9.0.0").mkdir()
    assert find_ndk(None, {"ANDROID_NDK_HOME": str(ndk)}) == ndk
    assert find_ndk(None, {"ANDROID_HOME": str(tmp_path / "sdk")}) == ndk
    assert find_ndk(None, {"ANDROID_NDK_ROOT": str(tmp_path / "gone")}) is None
    assert find_ndk(tmp_path / "gone", {"ANDROID_NDK_HOME": str(ndk)}) is None
