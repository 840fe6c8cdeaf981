"""What the tests of the Android harness share: this process looks at the private adb server."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

from android_harness.adb.connection import Connection
from android_harness.adb.program import find_adb
from android_harness.devices.android import AndroidDevice
from android_harness.process import read_runner
from android_harness.state.facts import WORK
from android_harness.ways import DeviceFile
from runtimes.remote.job import PROTOCOL, Library

REPORT = {
    "runner": PROTOCOL,
    "mode": "MODE",
    "runtime": "script 1",
    "load_ns": {"GRAPH": 2000},
    "first_ns": {"GRAPH": 300},
    "warmup_ns": [300, 200],
    "stable": True,
    "samples_ns": [100, 110, 120],
    "cpu_ns": 500,
    "first_mask_ns": 4000,
    "peak_bytes": 1000000,
    "threads": 2,
    "affinity": [0],
    "khz_before": {},
    "khz_after": {},
    "notes": [],
}
"""What the runner of `ScriptWay` prints, with the job's own mode and graph put in."""
MEASURE = """#!/system/bin/sh
mode=$(sed -n 's/^mode //p' $1)
graph=$(sed -n 's/^graph //p' $1 | head -n 1)
sed -e "s/MODE/$mode/" -e "s/GRAPH/$graph/g" measured/report.json
"""


@dataclass(frozen=True)
class ScriptWay:
    """A way whose runner is a shell script in `folder`: times come from a file, not a clock."""

    folder: Path
    text: str = MEASURE
    test: str = "true"
    name: str = "script"

    def missing(self, wanted):
        return None

    def modes(self):
        return ("graph", "session")

    def library(self, wanted):
        return Library("ort", "none", "-")

    def files(self, wanted):
        contents = {"measure": self.text, "report.json": json.dumps(REPORT)}
        for name, text in contents.items():
            (self.folder / name).write_text(text)
        return tuple(
            DeviceFile(
                self.folder / name,
                f"measured/{name}",
                hashlib.sha256(text.encode()).hexdigest(),
                executable=name == "measure",
            )
            for name, text in contents.items()
        )

    def self_test(self, folder, wanted):
        return f"cd {folder} && {self.test}"

    def command(self, folder, job, job_file, *, prefix=""):
        return f"cd {folder} && exec {prefix} sh ./measured/measure {job_file}"

    def pulls(self, job):
        return ()

    def read(self, job, answer):
        return read_runner(answer)


def scripted(phone, folder, **changes):
    """A device whose only way is a `ScriptWay`."""
    way = ScriptWay(folder, **changes)
    return AndroidDevice(
        connection_to(phone), f"android:{phone.serial}", find_way=lambda *asked: way
    )


def look_at(adb_environment, monkeypatch):
    """From here on, adb in this process means the tests' own."""
    for name, value in adb_environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SAM_EXPORT_ADB", raising=False)
    monkeypatch.delenv("ANDROID_HOME", raising=False)


def connection_to(phone):
    """A connection, without asking whether it works."""
    return Connection(find_adb(), phone.serial)


def runs_on(phone):
    """Command lines of ours that live on the phone, once what is ending has had a moment."""
    end = time.monotonic() + 5
    while phone.processes() and time.monotonic() < end:
        time.sleep(0.05)
    return phone.processes()


def ours(phone):
    """Files in our folder, below it."""
    prefix = WORK.removeprefix("/data/local/tmp/") + "/"
    return [name.removeprefix(prefix) for name in phone.files() if name.startswith(prefix)]


def assert_tidy(phone):
    """Nothing runs, nothing of a run is left, no setting is changed; files/ may stay."""
    assert runs_on(phone) == []
    assert {name.split("/")[0] for name in ours(phone)} <= {"files"}
    # Waking a screen and putting it to sleep again are no change, nor is the list of calls.
    assert phone.changes() == {}
