"""Jobs as text, reports as values, and which way leads to which device."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import lzma
import os
import shlex
import subprocess
import tarfile
import threading
import tomllib
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from android_harness.runner import compilers, debs, wheels
from android_harness.runner.capsule import Capsule
from android_harness.runner.delivery import Answer, read_runner, started
from android_harness.runner.job import Case, GraphJob, Job, Link
from android_harness.runner.ndk import API, Ndk, find_ndk
from android_harness.runner.plans import Setting, check_plan, graph_plan, session_plan
from android_harness.runner.report import parse_report
from android_harness.runner.ways import Library, Supplies, all_ways, find_way
from exporter.errors import BundleError, DownloadError, ExportError, RequestError, RunnerError
from exporter.manifest import GraphSpec, TensorSpec
from runtimes.device import Method

IMAGE = TensorSpec("image", (1, 4, 4, 3), "uint8", "NHWC")
OUT = TensorSpec("image_embeddings", (1, 2), "float32", "BN")
GRAPH = GraphJob(
    GraphSpec("image_encoder", (IMAGE,), (OUT,)),
    "bundle-1/image_encoder.tflite",
    (Case("scene", {"image": "in-1.bin"}, {"image_embeddings": "out-1.bin"}),),
    signature="encode",
)
JOB = Job("graph", "litert", "capsule/libLiteRt.so", "2.3.0", (GRAPH,), cores=(4, 5))
TEXT = """\
sam-runner 1
mode graph
runtime litert 2.3.0
library capsule/libLiteRt.so
delegate cpu
threads 2
cores 4,5
runs 50
seconds 10.000000
warmup_seconds 5.000000
graph image_encoder
model bundle-1/image_encoder.tflite
signature encode
input image uint8 1,4,4,3
output image_embeddings float32 1,2
case scene
read image in-1.bin
write image_embeddings out-1.bin
end
"""
REPORT = {
    "runner": 1,
    "mode": "graph",
    "runtime": "LiteRT 2.3.0",
    "library_ns": 5,
    "load_ns": {"image_encoder": 7},
    "first_ns": {"image_encoder": 9},
    "warmup_ns": [9, 8],
    "stable": True,
    "samples_ns": [6, 7, 6],
    "cpu_ns": 12,
    "first_mask_ns": None,
    "peak_bytes": 4096,
    "threads": 2,
    "affinity": [4, 5],
    "khz_before": {"4": 2000000, "5": 2000000},
    "khz_after": {"4": 2000000, "5": 1500000},
    "notes": [],
}


def test_a_job_is_one_line_a_thing():
    assert JOB.text() == TEXT


def test_a_link_and_all_cores():
    case = Case("scene", {"image": Link("earlier", "out")})
    text = replace(JOB, mode="session", graphs=(replace(GRAPH, cases=(case,)),), cores=()).text()
    assert "\nlink image earlier out\n" in text
    assert "\ncores all\n" in text


def test_only_a_check_has_more_than_one_case():
    graph = replace(GRAPH, cases=(*GRAPH.cases, replace(GRAPH.cases[0], name="other")))
    assert "case other" not in replace(JOB, graphs=(graph,)).text()
    assert "case other" in replace(JOB, mode="check", graphs=(graph,)).text()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mode": "race"}, "mode is one of check, graph, session, not 'race'"),
        ({"runtime": "torch"}, "runtime is one of"),
        ({"delegate": "hexagon"}, "delegate is one of"),
        ({"threads": 0}, "1 or more"),
        ({"runs": 0}, "1 or more"),
        ({"seconds": -1.0}, "no time is below 0"),
        ({"graphs": ()}, "cannot have 0 graphs"),
        ({"graphs": (GRAPH, GRAPH)}, "cannot have 2 graphs"),
        ({"graphs": (replace(GRAPH, cases=()),)}, "needs a case"),
    ],
)
def test_a_job_that_no_runner_could_do(changes, said):
    with pytest.raises(RequestError, match=said):
        replace(JOB, **changes)


@pytest.mark.parametrize("name", ["my model.tflite", "", "a\nend", "mod\u00e8le"])
def test_a_name_that_would_break_the_lines(name):
    with pytest.raises(RequestError, match="no spaces, ASCII alone"):
        replace(JOB, library=name).text()


def test_a_report_becomes_the_words_of_measuring():
    run = parse_report(json.dumps(REPORT)).graph_run("image_encoder")
    assert (run.load_ns, run.first_ns, run.samples_ns) == (7, 9, (6, 7, 6))
    assert (run.affinity, run.peak_bytes, run.cpu_ns) == ((4, 5), 4096, 12)
    assert run.notes == ("the clock fell during the run (core 5)",)


def test_a_session_report():
    session = {**REPORT, "mode": "session", "first_mask_ns": 99, "load_ns": {"a": 1, "b": 2}}
    run = parse_report(json.dumps(session)).session_run()
    assert (run.load_ns, run.first_mask_ns, run.click_ns) == (3, 99, (6, 7, 6))


def test_a_report_of_another_mode_or_graph_is_no_run():
    report = parse_report(json.dumps(REPORT))
    with pytest.raises(RunnerError, match="no times of a session"):
        report.session_run()
    with pytest.raises(RunnerError, match="no times of mask_decoder"):
        report.graph_run("mask_decoder")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "gave no answer"),
        (json.dumps(REPORT)[:-40], "cut short or garbled"),
        (f"WARNING: linker\n{json.dumps(REPORT)}", "cut short or garbled"),
        ("[1, 2]", "is a list, not an object"),
        (json.dumps({**REPORT, "runner": 2}), "speaks version 2, not 1"),
        ('{"runner": 1, "error": "cannot open x: gone"}', "the runner failed: cannot open x: gone"),
        (
            json.dumps({k: v for k, v in REPORT.items() if k != "cpu_ns"}),
            "lacks the field 'cpu_ns'",
        ),
        (json.dumps({**REPORT, "samples_ns": [1, "2"]}), r"samples_ns\[1\] should be"),
        (json.dumps({**REPORT, "more": 1}), "unknown field 'more'"),
    ],
)
def test_an_answer_that_is_no_report(text, said):
    with pytest.raises(RunnerError, match=said):
        parse_report(text)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(124, "", ""), "did not end in time"),
        (Answer(124, json.dumps(REPORT), ""), "did not end in time"),
        (Answer(137, "", "x\nLow on memory\n"), "killed the runner.*'Low on memory'"),
        (Answer(139, "", ""), "crashed"),
        (Answer(126, "", "sh: runner: can't execute: Permission denied"), "Permission denied"),
        (Answer(0, "", ""), "gave no answer"),
        (Answer(1, '{"runner": 1, "error": "no memory"}', ""), "the runner failed: no memory"),
    ],
)
def test_how_a_runner_ended(answer, said):
    with pytest.raises(RunnerError, match=said):
        read_runner(answer)


def test_the_command_becomes_the_program_in_a_clean_environment(tmp_path):
    folder = tmp_path / "it's here"
    folder.mkdir()
    (folder / "old.pb").write_text("stale")
    line = started(str(folder), "env", prefix="nice -n 0", libraries=str(folder), stale="old.pb")
    given = {**os.environ, "LD_PRELOAD": "", "ORT_DISABLE_TELEMETRY": "0"}
    done = subprocess.run(["sh", "-c", line], env=given, capture_output=True, text=True, check=True)
    seen = dict(row.split("=", 1) for row in done.stdout.splitlines() if "=" in row)
    assert seen["ORT_DISABLE_TELEMETRY"] == "1"
    assert seen["HOME"] == seen["TMPDIR"] == seen["LD_LIBRARY_PATH"] == str(folder)
    assert "LD_PRELOAD" not in seen
    assert not (folder / "old.pb").exists()
    assert shlex.split(line)[-4:] == ["nice", "-n", "0", "env"]


def test_a_method_and_its_cores_are_a_setting():
    setting = Setting.of(Method(threads=3, runs=9, delegate="xnnpack"), (6, 7))
    assert setting == Setting(3, (6, 7), "xnnpack", 9, 10.0, 5.0)


class AnyWay:
    """Enough of a way to plan."""

    def library(self, abi, target):
        return Library("ort", f"capsule-{abi}/lib{target}.so", "1")


SETTING = Setting.of(Method(), ())


def test_a_plan_takes_along_what_it_names(tiny):
    plan = graph_plan(tiny, "image_encoder", AnyWay(), "x86_64", SETTING)
    model, tensor = sorted(plan.files, key=lambda name: name.startswith("in-"))
    assert plan.files[model] == tiny.file("image_encoder")
    assert plan.job.graphs[0].model == model
    content = plan.files[tensor]
    assert tensor == f"in-{hashlib.sha256(content).hexdigest()[:16]}.bin"
    assert len(content) == 3 * 64 * 64 * 4
    assert plan.job.library == "capsule-x86_64/libonnx.so"


def test_the_weights_beside_a_model_go_along(tiny):
    files = {**tiny.manifest.files, "image_encoder.onnx.data": "0", "image_encoder.txt": "0"}
    bundle = replace(tiny, manifest=replace(tiny.manifest, files=files))
    plan = graph_plan(bundle, "image_encoder", AnyWay(), "x86_64", SETTING)
    names = {name.rpartition("/")[2] for name in plan.files if "/" in name}
    assert names == {"image_encoder.onnx", "image_encoder.onnx.data"}


def test_a_session_encodes_before_it_decodes(tiny):
    graphs = tiny.manifest.graphs[::-1]
    bundle = replace(tiny, manifest=replace(tiny.manifest, graphs=graphs))
    jobs = session_plan(bundle, AnyWay(), "x86_64", SETTING).job.graphs
    assert [job.spec.name for job in jobs] == ["image_encoder", "mask_decoder"]
    link = jobs[1].cases[0].inputs["image_embeddings"]
    assert link == Link("image_encoder", "image_embeddings")


def test_an_encoding_in_another_layout_cannot_be_handed_on(tiny):
    encoder, decoder = tiny.manifest.graphs
    spec = replace(
        decoder.spec,
        inputs=(replace(decoder.spec.inputs[0], layout="NHWC"), *decoder.spec.inputs[1:]),
    )
    graphs = (encoder, replace(decoder, spec=spec))
    bundle = replace(tiny, manifest=replace(tiny.manifest, graphs=graphs))
    with pytest.raises(BundleError, match="another shape, dtype or layout"):
        session_plan(bundle, AnyWay(), "x86_64", SETTING)


def test_a_check_has_every_golden_case_and_the_scene_twice(tiny):
    plan = check_plan(tiny, AnyWay(), "x86_64", SETTING)
    encoder, decoder = plan.job.graphs
    assert [case.name for case in encoder.cases] == ["scene"]
    names = {case.name for case in decoder.cases}
    assert {"box", "point", "mask", "click_left", "click_right"} <= names
    assert {f"{n}+encoded" for n in names if "+" not in n} == {n for n in names if "+" in n}
    assert len(set(plan.outputs)) == len(plan.outputs) == 1 + 2 * len(decoder.cases)


def test_the_ways_are_found_by_name():
    assert [way.name for way in all_ways(Supplies())] == ["ndk", "capsule", "benchmark_model"]
    with pytest.raises(RequestError, match="no way is called 'magic'; there are: auto, ndk"):
        find_way("magic", "x86_64", "onnx", "cpu", Supplies())
    with pytest.raises(RequestError, match="no delegate 'dsp'"):
        find_way("auto", "x86_64", "onnx", "dsp", Supplies())


@pytest.fixture
def no_ndk(monkeypatch):
    for name in ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_HOME", "ANDROID_SDK_ROOT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def a_compiler(monkeypatch):
    found = compilers.Compiler(("cc",), libraries=True)
    monkeypatch.setattr("android_harness.runner.capsule.find_compiler", lambda abi: found)


@pytest.mark.usefixtures("no_ndk", "a_compiler")
def test_without_an_ndk_the_capsule_is_taken():
    assert find_way("auto", "arm64-v8a", "tflite", "cpu", Supplies()).name == "capsule"


@pytest.mark.usefixtures("no_ndk", "a_compiler")
@pytest.mark.parametrize(
    ("abi", "target", "delegate", "said"),
    [
        ("armeabi-v7a", "onnx", "cpu", "arm64-v8a and x86_64, not armeabi-v7a"),
        ("x86_64", "coreml", "cpu", "nothing on Android runs a coreml bundle"),
        ("x86_64", "onnx", "xnnpack", "onnxruntime has no XNNPACK"),
        ("x86_64", "tflite", "gpu", "the CPU alone, not gpu"),
        ("x86_64", "onnx", "qnn", "offers cpu, xnnpack, nnapi for onnx bundles, not qnn"),
        ("x86_64", "tflite", "nnapi", "offers cpu, xnnpack for tflite bundles, not nnapi"),
    ],
)
def test_what_no_way_can_do_is_refused_with_every_reason(abi, target, delegate, said):
    with pytest.raises(RequestError, match=said) as caught:
        find_way("auto", abi, target, delegate, Supplies())
    assert all(f"{way}: " in str(caught.value) for way in ("ndk", "capsule", "benchmark_model"))


def test_without_a_compiler_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("android_harness.runner.compilers.shutil.which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = Capsule().missing("arm64-v8a", "onnx", "cpu")
    assert said == (
        "no C compiler for arm64-v8a: apt install gcc-aarch64-linux-gnu, or pip install ziglang"
    )


def test_zig_is_taken_where_there_is_no_gcc(monkeypatch):
    monkeypatch.setattr("android_harness.runner.compilers.shutil.which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "ziglang" or None)
    compiler = compilers.find_compiler("arm64-v8a")
    assert compiler.words[1:] == ("-m", "ziglang", "cc", "-target", "aarch64-linux-gnu.2.28")
    assert not compiler.libraries


def test_the_pinned_wheels_are_those_that_export():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    for target, wheel in wheels.WHEELS.items():
        assert f"{wheel.project}=={wheel.version}" in extras[target]


def deb(files, links=()):
    """A package as dpkg-deb makes it."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, to in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, to
            tar.addfile(member)
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": b"odd",  # an odd size: the next header is padded
        "data.tar.xz": lzma.compress(held.getvalue()),
    }
    packed = b"!<arch>\n"
    for name, content in parts.items():
        packed += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        packed += content + b"\n" * (len(content) % 2)
    return packed


LIB = "./usr/aarch64-linux-gnu/lib"


def test_a_deb_is_unpacked_and_its_links_followed():
    content = deb(
        {f"{LIB}/libc.so.6": b"libc", f"{LIB}/libstdc++.so.6.0.30": b"cxx", "./doc/libc": b"no"},
        [(f"{LIB}/libstdc++.so.6", "libstdc++.so.6.0.30"), (f"{LIB}/libm.so.6", "gone")],
    )
    names = ("libc.so.6", "libstdc++.so.6", "libm.so.6")
    assert debs.unpack(content, names, "x.deb") == {"libc.so.6": b"libc", "libstdc++.so.6": b"cxx"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>", "x.deb is not a Debian package"),
        (deb({"a": b"a"})[:100], "holds no data.tar"),
        (deb({"a": b"a"})[:-20], "is cut short"),
        (deb({"a": b"a"}).replace(b"\xfd7zXZ", b"\xfd7zXY"), "data.tar.xz cannot be read"),
    ],
)
def test_a_deb_that_cannot_be_read(content, said):
    with pytest.raises(DownloadError, match=said):
        debs.unpack(content, ("a",), "x.deb")


@pytest.fixture
def mirror(tmp_path):
    """A web server with one folder."""
    folder = tmp_path / "mirror"
    (folder / "pool").mkdir(parents=True)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_a_deb_comes_from_the_first_mirror_that_has_it_and_is_kept(mirror, tmp_path):
    folder, address = mirror
    content = deb({"a": b"a"})
    package = debs.Deb("pool/x.deb", hashlib.sha256(content).hexdigest(), "MIT")
    cache = tmp_path / "cache"
    (folder / "pool/x.deb").write_bytes(content)
    assert debs.fetch(package, cache, (f"{address}nowhere/", address)) == content
    (folder / "pool/x.deb").unlink()
    assert debs.fetch(package, cache, (address,)) == content


def test_a_deb_that_is_another_file_is_not_kept(mirror, tmp_path):
    folder, address = mirror
    (folder / "pool/x.deb").write_bytes(b"other")
    package = debs.Deb("pool/x.deb", "0" * 64, "MIT")
    with pytest.raises(DownloadError, match=r"another file.*put it at .*x\.deb"):
        debs.fetch(package, tmp_path / "cache", (address,))
    assert not (tmp_path / "cache").exists()


def test_a_wheel_that_pip_cannot_get_is_named(monkeypatch, tmp_path):
    def no_pip(words, **given):
        return subprocess.CompletedProcess(words, 1, "", "ERROR: No matching distribution\n")

    monkeypatch.setattr("android_harness.runner.wheels.subprocess.run", no_pip)
    monkeypatch.setattr("android_harness.runner.wheels.installed", lambda wheel, abi: None)
    with pytest.raises(DownloadError, match=r"onnxruntime==.*No matching distribution.*put its"):
        wheels.library(wheels.WHEELS["onnx"], "arm64-v8a", tmp_path)


def test_the_library_is_taken_out_of_a_wheel(monkeypatch, tmp_path):
    monkeypatch.setattr("android_harness.runner.wheels.installed", lambda wheel, abi: None)
    wheel = wheels.WHEELS["onnx"]
    path = tmp_path / f"onnxruntime-{wheel.version}-cp311-cp311-manylinux_2_28_aarch64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("onnxruntime/capi/libonnxruntime.so.1.31.1", b"library")
        archive.writestr("onnxruntime/capi/other.so", b"other")
    assert wheels.library(wheel, "arm64-v8a", tmp_path) == (b"library", path.name)


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
    way = find_way("auto", "arm64-v8a", "tflite", "cpu", supplies)
    assert way.name == "ndk"
    files = {file.remote: file for file in way.files("arm64-v8a", "tflite")}
    assert set(files) == {"ndk/runner", "ndk/libLiteRt.so", "ndk/libc++_shared.so"}
    assert [name for name, file in files.items() if file.executable] == ["ndk/runner"]
    assert files["ndk/libLiteRt.so"].sha256 == hashlib.sha256(b"bionic library").hexdigest()
    asked = (tmp_path / "log").read_text().splitlines()
    assert [line for line in asked if "runner.c" in line and "max-page-size=16384" in line]
    way.files("arm64-v8a", "tflite")
    again = (tmp_path / "log").read_text().splitlines()
    assert sum("runner.c" in line for line in again) == sum("runner.c" in line for line in asked)
    assert way.library("arm64-v8a", "tflite") == Library("litert", "ndk/libLiteRt.so", "2.3.0")
    line = way.command("/data/local/tmp/x", JOB, "job.txt", prefix="timeout 9")
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
def test_what_the_ndk_way_lacks_is_named(ndk, tmp_path, aars, abi, said):
    paths = tuple(aar(tmp_path / name) for name in aars)
    assert said in Ndk(Supplies(paths, ndk)).missing(abi, "tflite", "cpu")


def test_what_the_user_brought_is_named_by_the_environment(tmp_path):
    first = aar(tmp_path / "litert-2.3.0.aar")
    (tmp_path / "more").mkdir()
    second = aar(tmp_path / "more/onnxruntime-android-1.31.1.aar")
    given = {"SAM_EXPORT_AARS": f"{first}:{tmp_path / 'more'}", "SAM_EXPORT_BENCHMARK_MODEL": "b"}
    assert Supplies.of(given) == Supplies((first, second), benchmark_model=Path("b"))
    assert Supplies.of({}) == Supplies()


def test_an_aar_that_is_not_there_is_asked_for(ndk, tmp_path):
    supplies = Supplies((tmp_path / "litert-2.3.0.aar",), ndk)
    said = Ndk(supplies).missing("arm64-v8a", "tflite", "cpu")
    assert (
        said
        == "no litert-VERSION.aar: download it from Maven and set SAM_EXPORT_AARS to its folder"
    )


def test_an_aar_without_the_library_is_named(ndk, tmp_path):
    wrong = aar(tmp_path / "litert-2.3.0.aar", "jni/x86/libLiteRt.so")
    with pytest.raises(ExportError, match=r"holds no jni/arm64-v8a/libLiteRt\.so"):
        Ndk(Supplies((wrong,), ndk, cache=tmp_path)).files("arm64-v8a", "tflite")


def test_the_ndk_is_where_the_environment_says(ndk, tmp_path):
    (ndk.parent / "9.0.0").mkdir()
    assert find_ndk(None, {"ANDROID_NDK_HOME": str(ndk)}) == ndk
    assert find_ndk(None, {"ANDROID_HOME": str(tmp_path / "sdk")}) == ndk
    assert find_ndk(None, {"ANDROID_NDK_ROOT": str(tmp_path / "gone")}) is None
    assert find_ndk(tmp_path / "gone", {"ANDROID_NDK_HOME": str(ndk)}) is None
