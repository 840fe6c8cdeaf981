"""Profiles and a device made by hand: every number of them is chosen, and no clock is read."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from exporter.bundle.folder import open_bundle
from exporter.bundle.manifest import Figure
from exporter.errors import RequestError
from exporter.progress import silent
from profiles.collect import BenchPlan, collect
from profiles.schema import (
    SCHEMA_VERSION,
    BundleFacts,
    GraphFacts,
    Profile,
    Repeat,
)
from profiles.store import Store
from runtimes.device import (
    Cluster,
    Condition,
    DeviceFacts,
    GraphRun,
    Method,
    SessionRun,
    Temperature,
    ThermalStatus,
)

ENCODER, DECODER = "image_encoder", "mask_decoder"
MS = 1_000_000
PHONE = DeviceFacts(
    device="android:A1",
    device_class="phone",
    manufacturer="Maker",
    model="Phone 1",
    soc="Chip 9",
    system="Android 14 (API 34)",
    build="maker/phone:14/B1",
    abi="arm64-v8a",
    clusters=(Cluster((0, 1, 2, 3), 1_800_000), Cluster((4, 5, 6, 7), 2_800_000)),
    memory_mb=8192,
    page_size=4096,
    evidence={"ro.product.cpu.abi": "arm64-v8a", "ro.board.platform": "chip9"},
    class_reason="chip 9, a battery",
)
HOST = replace(PHONE, device="host", device_class="host", model="", soc="CPU 5", abi="x86_64")
UNHELD, MODERATE = ThermalStatus(0, "none"), ThermalStatus(2, "moderate")
COOL = Condition(
    "2026-11-22T12:00:00+00:00", UNHELD, (Temperature("skin", "skin", 30.0),), 80, False
)
HOT = replace(COOL, thermal_status=MODERATE, temperatures=(Temperature("skin", "skin", 44.0),))
GOOD = Figure(DECODER, "low_res_masks", "psnr_db", 120.0, "dB", "higher", 100.0)


def graph_run(graph=ENCODER, ms=10.0, spread=0.02, n=40, seed=0, **changes):
    """A run whose calls take about `ms`."""
    rng = np.random.default_rng(seed)
    samples = tuple(int(v) for v in ms * MS * np.exp(rng.normal(0, spread, n)))
    made = GraphRun(
        graph=graph,
        runtime="ort 1.2.3",
        load_ns=50 * MS,
        first_ns=int(2 * ms * MS),
        warmup_ns=(int(2 * ms * MS), int(ms * MS)),
        samples_ns=samples,
        cpu_ns=int(1.8 * sum(samples)),
        peak_bytes=100 * 2**20,
        threads=2,
    )
    return replace(made, **changes)


def profile(ms=10.0, click=4.0, repeats=3, between=0.01, seed=0, **changes):
    """A profile of `tiny-onnx-fp32`; `between` is how far its processes are apart."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(repeats):
        factor = float(np.exp(rng.normal(0, between)))
        runs = (
            graph_run(ENCODER, ms * factor, seed=seed + number),
            graph_run(DECODER, click * factor, seed=seed + number + 100),
        )
        session = SessionRun(
            "ort 1.2.3",
            int(60 * MS),
            int((60 + ms + click) * factor * MS),
            runs[1].samples_ns,
            int(200 * factor * 2**20),
        )
        made.append(Repeat(COOL, COOL, runs, session))
    facts = BundleFacts(
        name="tiny-onnx-fp32",
        sha256="ab" * 32,
        variant="tiny",
        target="onnx",
        precision="fp32",
        input_size=64,
        graphs=(GraphFacts(ENCODER, 30_000_000, 5_000_000_000), GraphFacts(DECODER, 10_000_000)),
    )
    base = Profile(
        schema_version=SCHEMA_VERSION,
        id=f"{seed:010x}",
        created="2026-11-22T12:00:00+00:00",
        label="",
        bundle=facts,
        device=PHONE,
        method=Method(),
        parity=(GOOD,),
        repeats=tuple(made),
        tools={"sam-export": "0.1.0"},
    )
    return replace(base, **changes)


@dataclass
class FakeDevice:
    """A device that answers at once and remembers what it was asked.

    Attributes:
        log: every step, in order.
        fail: step -> the error it raises (once it is reached).
        hang: the step at which it stops for ever.
    """

    known: DeviceFacts = PHONE
    figures: tuple[Figure, ...] = (GOOD,)
    timed: bool = True
    sessions: bool = True
    notes: tuple[str, ...] = ()
    log: list[str] = field(default_factory=list)
    fail: dict[str, BaseException] = field(default_factory=dict)
    hang: str = ""
    conditions: list[Condition] = field(default_factory=lambda: [COOL])
    undone: bool = False

    def facts(self):
        return self.known

    @contextmanager
    def open(self, method):
        self.method = method
        try:
            yield self
        finally:
            self.undone = True

    def prepare(self, bundle):
        self._step(f"prepare {bundle.path.name}")

    def check(self, bundle):
        self._step(f"check {bundle.path.name}")
        return self.figures

    def run_graph(self, bundle, graph):
        self._step(f"{bundle.path.name} {graph}")
        if not self.timed:
            return graph_run(graph, samples_ns=(), timed=False)
        return graph_run(graph, notes=self.notes)

    def run_session(self, bundle):
        self._step(f"{bundle.path.name} session")
        if not self.sessions:
            raise RequestError("this way has no session")
        times = (MS, 9 * MS, (MS,) * 3)
        return SessionRun("ort", *times, 2**20, timed=self.timed, notes=self.notes)

    def condition(self):
        return self.conditions[0] if len(self.conditions) == 1 else self.conditions.pop(0)

    def cool(self, start):
        self._step(f"cool {start.thermal_status.level}")
        return self.condition()

    def _step(self, name):
        self.log.append(name)
        if name == self.hang:
            time.sleep(600)
        if name in self.fail:
            raise self.fail[name]


def plan(store: Path, *folders: Path, label: str = "", **method) -> BenchPlan:
    bundles = tuple(open_bundle(folder) for folder in folders)
    return BenchPlan(bundles, Method(**method), Store(store), label, threading.Event())


if __name__ == "__main__":  # for a test that kills this process between two repeats
    made = plan(Path(sys.argv[1]), Path(sys.argv[2]))
    device = FakeDevice()
    second = f"{made.bundles[0].path.name} {DECODER}"

    def run_graph(bundle, graph):
        if len([line for line in device.log if line == second]) == 1:
            device.hang = second
        return FakeDevice.run_graph(device, bundle, graph)

    device.run_graph = run_graph
    collect(made, [device], silent)
