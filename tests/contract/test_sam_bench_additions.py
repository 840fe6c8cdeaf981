"""A kind of device and a page of the report, made from outside: one new file each, nothing else."""

from __future__ import annotations

import json

import pytest

from profiles.store import Store
from tests.contract.house import build_house
from tests.unit import tiny_bundle
from tests.unit.profile_making import profile

SLEEPY = '''
"""A kind of device that sleeps instead of computing."""

import time
from contextlib import contextmanager
from pathlib import Path

from exporter.errors import RequestError
from runtimes.device import *

PILLOW = Path("pillow.txt")
FACTS = DeviceFacts("sleepy:1", "simulated", "", "Bed", "", "Sleep 1", "", "x86_64", ())


class Sleeper:
    def facts(self):
        return FACTS

    @contextmanager
    def open(self, method):
        self.method = method
        yield self

    def prepare(self, bundle):
        pass

    def check(self, bundle):
        return ()

    def run_graph(self, bundle, graph):
        def nap():
            start = time.perf_counter_ns()
            time.sleep(0.002)
            return time.perf_counter_ns() - start

        times = tuple(nap() for _ in range(self.method.runs))
        return GraphRun(
            graph, PILLOW.read_text(), 1, times[0], times[:1], times, None, None, 1, way="nap"
        )

    def run_session(self, bundle):
        raise RequestError("nobody sleeps through a session")

    def condition(self):
        return Condition("2026-11-22T12:00:00+00:00", ThermalStatus(0, "cosy"))

    def cool(self, start):
        return self.condition()


KIND = DeviceKind(
    "sleepy",
    lambda identifier: Sleeper(),
    lambda: (Listed("sleepy:1", FACTS, Sleeper().condition()),),
    ways=("nap",),
    delegates=("cpu", "dreams"),
    modes=(Mode("curtains", "keep the light out"),),
    options=(KindOption("pillow", "FILLING", "what it lies on", PILLOW.write_text),),
)
'''
CSV = '''
"""Numbers for a spreadsheet."""

from profiles.pages import Page


def render(profiles, created):
    return "".join(f"{p.id},{p.bundle.name}\\n" for p in profiles)


PAGE = Page(("--csv",), "commas", render)
'''


@pytest.fixture
def house(tmp_path):
    (tmp_path / "house").mkdir()
    return build_house(tmp_path / "house")


@pytest.mark.parametrize("harness", ["runtimes", "sleepy_harness"])
def test_a_kind_of_device_in_a_harness_that_is_there_or_new(house, tmp_path, harness) -> None:
    if harness != "runtimes":
        house.add(f"{harness}/__init__.py", "")
        house.add(f"{harness}/devices/__init__.py", "")
    house.add(f"{harness}/devices/sleepy.py", SLEEPY)
    tiny_bundle.build(tmp_path / "tiny")
    ran = house.run("profiles.cli", "devices")
    assert any(line.startswith("sleepy:1") for line in ran.stdout.splitlines()), ran.stderr
    store = tmp_path / "p.jsonl"
    method = ("--way", "nap", "--delegate", "dreams", "--curtains", "--runs", "4", "--repeats", "2")
    ran = house.run(
        "profiles.cli",
        *(tmp_path / "tiny", "--device", "sleepy", "--pillow", "straw", *method),
        *("--store", store, "--json", "--quiet"),
    )
    assert ran.returncode == 0, ran.stderr
    assert [summary["device"] for summary in json.loads(ran.stdout)["profiles"]] == ["sleepy:1"]
    [kept] = Store(store).read()
    assert (kept.method.way, kept.method.delegate, kept.method.modes) == (
        "nap",
        "dreams",
        ("curtains",),
    )
    assert len(kept.repeats) == 2
    for repeat in kept.repeats:
        assert repeat.before.thermal_status.word == "cosy"
        assert {run.runtime for run in repeat.runs} == {"straw"}
        assert all(len(run.samples_ns) == 4 and min(run.samples_ns) >= 2e6 for run in repeat.runs)
    ran = house.run("profiles.cli", tmp_path / "tiny", "--curtains", "--quiet")
    assert (ran.returncode, ran.stderr) == (
        2,
        "sam-bench: error: host: the host has no mode --curtains: leave it out\n",
    )


def test_a_page_of_the_report(house, tmp_path) -> None:
    house.add("profiles/pages/csv.py", CSV)
    store = Store(tmp_path / "p.jsonl")
    store.append(profile(seed=0xA1))
    ran = house.run("profiles.cli", "report", "--csv", tmp_path / "r.csv", "--store", store.path)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "r.csv").read_text() == "00000000a1,tiny-onnx-fp32\n"
    assert "--csv FILE for commas" in house.run("profiles.cli", "report").stderr
