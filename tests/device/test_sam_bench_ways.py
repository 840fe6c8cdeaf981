"""`sam-bench` with other ways, other processors, and phones side by side."""

from __future__ import annotations

import shutil
import struct
import subprocess

import pytest

from android_harness.state import device_class
from android_harness.ways import Wanted
from android_harness.ways.capsule import Capsule
from android_harness.ways.capsule.assemble import build
from exporter.cache import default_cache
from exporter.errors import DownloadError
from profiles import cli
from profiles.store import Store
from runtimes.device import PHONE
from tests.device.android_kit import assert_tidy, runs_on
from tests.device.conftest import CACHE
from tests.device.runner_kit import adders_agree, tiny_onnx, tiny_tflite

ONCE = ("--repeats", "1")
BUNDLES = {"onnx": tiny_onnx, "tflite": tiny_tflite}
RUNTIMES = {"onnx": "onnxruntime 1.", "tflite": "LiteRT 2."}


@pytest.mark.parametrize("target", sorted(BUNDLES))
def test_an_arm64_phone_from_command_to_profile(
    sam_bench, phone_arm64, tmp_path, target, monkeypatch
):
    """Under qemu: that it computes the same is what this proves; its times mean nothing."""
    missing = Capsule().missing(Wanted("arm64-v8a", target, "cpu"))
    if missing:
        pytest.skip(missing)
    try:
        build("arm64-v8a", target, default_cache({"XDG_CACHE_HOME": str(CACHE)}))
    except DownloadError as error:
        pytest.skip(str(error))
    if target == "tflite":
        adders_agree(monkeypatch)
    bundle = BUNDLES[target](tmp_path / "tiny")
    device = f"android:{phone_arm64.serial}"
    assert sam_bench(*ONCE, bundle.path, device=device) == 0
    [profile] = Store(tmp_path / "p.jsonl").read()
    assert (profile.device.device_class, profile.device.abi) == ("simulated", "arm64-v8a")
    assert len(profile.parity) >= 3
    [repeat] = profile.repeats
    assert [run.graph for run in repeat.runs] == ["image_encoder", "mask_decoder"]
    for run in repeat.runs:
        assert run.runtime.startswith(RUNTIMES[target])
        assert len(run.samples_ns) >= 3
    assert repeat.session.click_ns
    assert_tidy(phone_arm64)


def metrics(fields):
    """A protobuf message of floats: number -> value."""
    return b"".join(bytes([number << 3 | 5]) + struct.pack("<f", v) for number, v in fields.items())


TOLD = metrics({1: 7.5, 2: 7.0, 3: 9.0, 4: 0.5, 5: 7.25, 8: 41.5, 9: 9.75, 10: 8.0})
TOOL = """
#include <stdio.h>
#include <string.h>
static const char told[] = {{{content}}};
int main(int count, char **words) {{
    const char *graph = 0, *result = 0;
    for (int i = 1; i < count; i++) {{
        if (!strncmp(words[i], "--graph=", 8)) graph = words[i] + 8;
        if (!strncmp(words[i], "--result_file_path=", 19)) result = words[i] + 19;
        if (!strcmp(words[i], "--use_gpu=true")) puts("INFO: Though GPU delegate is explicitly "
            "applied, the model graph will not be executed by the delegate.");
    }}
    FILE *model = graph ? fopen(graph, "rb") : 0;
    FILE *file = model && result ? fopen(result, "wb") : 0;
    return file && fwrite(told, sizeof told, 1, file) == 1 && !fclose(file) ? 0 : 1;
}}
"""


@pytest.fixture
def benchmark_model(tmp_path, monkeypatch):
    """A stand-in for the user's own program: it needs the graph, and writes a result file."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc")
    content = ", ".join(str(byte) for byte in b"\x12" + bytes([len(TOLD)]) + TOLD)
    (tmp_path / "tool.c").write_text(TOOL.format(content=content))
    program = tmp_path / "benchmark_model"
    words = [compiler, "-static", "-o", str(program), str(tmp_path / "tool.c")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"gcc -static: {done.stderr[-200:]}")
    monkeypatch.setenv("SAM_EXPORT_BENCHMARK_MODEL", str(program))


def test_the_users_own_benchmark_model(
    sam_bench, phone, benchmark_model, tmp_path, capsys, monkeypatch
):
    adders_agree(monkeypatch)
    bundle = tiny_tflite(tmp_path / "tiny")
    asked = ("--way", "benchmark_model", *ONCE, bundle.path)
    assert sam_bench(*asked) == 2
    assert "parity cannot be checked: take another --way, or give" in capsys.readouterr().err
    assert sam_bench("--no-check", "--delegate", "gpu", *asked) == 1
    assert "the delegate was not used: " in capsys.readouterr().err
    assert not (tmp_path / "p.jsonl").exists()
    assert sam_bench("--no-check", *asked) == 0
    [profile] = Store(tmp_path / "p.jsonl").read()
    [repeat] = profile.repeats
    assert repeat.session is None
    assert [(run.way, run.samples_ns) for run in repeat.runs] == [
        ("benchmark_model", (7_250_000,))
    ] * 2
    assert_tidy(phone)


def test_phones_are_measured_side_by_side(
    sam_bench, phone, second_phone, tiny_folder, tmp_path, monkeypatch
):
    """Simulated phones share this host's cores and take turns; so these pass for real ones."""
    monkeypatch.setattr(device_class, "judge", lambda evidence: (PHONE, "the test says so"))
    said = []
    monkeypatch.setattr(cli, "on_stderr", lambda: said.append)
    names = [f"android:{one.serial}" for one in (phone, second_phone)]
    assert sam_bench(*ONCE, "--device", names[1], tiny_folder, device=names[0]) == 0
    profiles = Store(tmp_path / "p.jsonl").read()
    assert sorted(profile.device.device for profile in profiles) == sorted(names)
    lines = {name: [i for i, line in enumerate(said) if line.startswith(name)] for name in names}
    first, second = lines.values()
    assert first[0] < second[-1]
    assert second[0] < first[-1]
    for one in (phone, second_phone):
        assert runs_on(one) == []
        assert set(one.changes()) == set()
