"""The commands on a system without Unix's modules: Windows, as far as it can be played here.

The modules that Windows has not cannot be imported, the functions that it has not are gone, and
`os.kill`, whose signal 0 is Ctrl-C there, ends us. Its locks are played in `tests/unit/test_locks`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exporter.bundle.folder import open_bundle
from runtimes.process import MOST_THREADS

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "exporter" / "demo" / "overlay.png"
PLAYED = """
import os, signal, sys
for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog"):
    sys.modules[name] = None
for name in (
    "getloadavg", "sysconf", "getuid", "geteuid", "getgid", "sched_getaffinity",
    "sched_setaffinity", "killpg", "getpgid", "setsid", "fork",
):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGPIPE", "setitimer"):
    if hasattr(signal, name):
        delattr(signal, name)

def kill(pid, number):
    sys.stderr.write(f"os.kill({pid}, {number}) interrupts a process on Windows\\n")
    os._exit(99)

os.kill = kill
"""


@pytest.fixture(scope="module")
def play(tmp_path_factory):
    """Run a command's module there: words -> (status, stdout, stderr)."""
    site, folder = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("there")
    (site / "sitecustomize.py").write_text(PLAYED)

    def run(module, *words):
        path = os.pathsep.join(map(str, (site, ROOT)))
        environment = os.environ | {"PYTHONPATH": path, "PYTHONIOENCODING": "cp1252"}
        environment |= {"OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}
        command = [sys.executable, "-m", module, *map(str, words)]
        ran = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        return ran.returncode, ran.stdout, ran.stderr

    return run


@pytest.fixture(scope="module")
def bundle(play, tmp_path_factory):
    """A bundle that was exported there."""
    folder = tmp_path_factory.mktemp("bundles")
    assert play("exporter.cli", "--target", "onnx", "--output", folder, "--quiet")[::2] == (0, "")
    return folder / "demo-onnx-fp16"


@pytest.mark.parametrize("module", ["exporter.cli", "runtimes.cli", "profiles.cli"])
def test_every_command_starts(play, module):
    status, said, wrong = play(module, "--help")
    assert (status, wrong) == (0, "")
    assert "usage: " in said


def test_a_bundle_is_made_and_is_as_anywhere(bundle):
    assert open_bundle(bundle).manifest.variant == "demo"
    assert b"\r" not in (bundle / "manifest.json").read_bytes()


def test_a_bundle_is_run_and_checked(play, bundle, tmp_path):
    mask = tmp_path / "mask.png"
    asked = ("--point", "60,60", "--mask", mask)
    assert play("runtimes.cli", bundle, PICTURE, *asked)[::2] == (0, "")
    assert set(np.unique(np.asarray(Image.open(mask)))) <= {0, 255}
    assert play("runtimes.cli", bundle, "--check")[::2] == (0, "")


def test_a_bundle_is_measured_on_the_host_and_kept(play, bundle, tmp_path):
    store = tmp_path / "store.jsonl"
    method = ("--runs", "2", "--seconds", "0", "--warmup", "0", "--repeats", "1", "--quiet")
    status, said, wrong = play(
        "profiles.cli", bundle, "--store", store, "--json", "--no-check", *method
    )
    assert (status, wrong) == (0, "")
    assert json.loads(said)["profiles"][0]["variant"] == "demo"
    assert play("profiles.cli", "list", "--store", store)[0] == 0
    assert store.read_bytes().count(b"\n") == 1
    assert b"\r" not in store.read_bytes()


def test_more_threads_than_cores_is_a_word(play, bundle):
    status, _, said = play(
        "runtimes.cli", bundle, PICTURE, "--point", "60,60", "--json", "--threads", MOST_THREADS
    )
    cores = os.cpu_count()
    word = f"sam-run: {MOST_THREADS} threads on {cores} cores wait for each other: taking {cores}\n"
    assert (status, said) == (0, word)
