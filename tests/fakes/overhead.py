"""What `sam-bench` costs beside the runs it measures, on a simulated x86_64 phone.

    python -m tests.fakes.overhead --write profiles/results/harness-overhead.md

The command as a user gives it, from its start to its end, with the real adb client, for a bundle of
two graphs and 20 MB: once with nothing of ours on the phone, once with every file there, in turns.
Overhead is the whole time without what the runner reports as measured: loads, warm-up and samples.
The graphs compute almost nothing, so that little else is left. The phone is this host: copying to
a real one goes over a cable, which is not in these times.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from android_harness.ways.capsule import assemble
from profiles.schema import Profile, Repeat
from profiles.store import Store
from tests.fakes.phone import Phone
from tests.fakes.server import AdbServer, Farm
from tests.fakes.system import X86_64
from tests.unit.tiny_bundle import build, reseal

BALLAST = {"image_encoder": 15_000_000, "mask_decoder": 5_000_000}
"""Bytes of weights put into each graph, as MobileSAM's in fp16 are."""
GOALS = {"cold": 15.0, "warm": 3.0}
ASKED = ("--repeats", "3", "--runs", "50", "--seconds", "1", "--warmup", "1", "--cores", "all")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))


@dataclass(frozen=True)
class Taken:
    """One command, in seconds: all of it, and the part that the runner measured."""

    whole: float
    measured: float

    @property
    def overhead(self) -> float:
        return self.whole - self.measured


def weighty(folder: Path) -> Path:
    """A tiny bundle whose graphs have weights that no compression makes smaller."""
    build(folder)
    for name, size in BALLAST.items():
        path = folder / f"{name}.onnx"
        model = onnx.load(path)
        _weigh_down(model.graph, size)
        onnx.save(model, path)
    reseal(folder)
    return folder


def _weigh_down(graph: onnx.GraphProto, size: int) -> None:
    """output -> output + 0 * the sum of `size` bytes of weights."""
    output = graph.output[0].name
    for node in graph.node:
        node.output[:] = ["light" if name == output else name for name in node.output]
    values = np.random.default_rng(0).standard_normal(size // 4, np.float32)
    graph.initializer.append(numpy_helper.from_array(values, "ballast"))
    graph.initializer.append(numpy_helper.from_array(np.float32(0), "no_weight"))
    graph.node.append(helper.make_node("ReduceSum", ["ballast"], ["heavy"], keepdims=0))
    graph.node.append(helper.make_node("Mul", ["heavy", "no_weight"], ["no_change"]))
    graph.node.append(helper.make_node("Add", ["light", "no_change"], [output]))


def measured_seconds(profile: Profile) -> float:
    """Loads, warm-up and samples of every process, as the runner reports them."""
    return sum(map(_in_repeat, profile.repeats)) / 1e9


def _in_repeat(repeat: Repeat) -> int:
    graphs = sum(r.load_ns + sum(r.warmup_ns) + sum(r.samples_ns) for r in repeat.runs)
    session = repeat.session
    return graphs + (session.first_mask_ns + sum(session.click_ns) if session else 0)


def command(folder: Path, phone: Phone, store: Path) -> list[str]:
    """`sam-bench` of this environment."""
    program = str(Path(sys.executable).with_name("sam-bench"))
    where = ("--device", f"android:{phone.serial}", "--store", str(store))
    return [program, str(folder), *where, *ASKED]


def take(asked: Sequence[str], store: Path, environment: dict[str, str]) -> tuple[Taken, str]:
    """Run it once; its progress too. RuntimeError where it failed."""
    store.unlink(missing_ok=True)
    start = time.perf_counter()
    ran = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False)
    whole = time.perf_counter() - start
    if ran.returncode:
        raise RuntimeError(ran.stderr.strip())
    [profile] = Store(store).read()
    return Taken(whole, measured_seconds(profile)), ran.stderr


def capsule_seconds(folder: Path) -> float:
    """Putting a capsule together in an empty cache, from the installed runtime."""
    start = time.perf_counter()
    assemble.build("x86_64", "onnx", folder)
    return time.perf_counter() - start


@contextmanager
def one_phone(folder: Path) -> Iterator[tuple[Phone, dict[str, str]]]:
    """A simulated phone and the environment that leads to it alone."""
    server, farm = AdbServer(folder), Farm(folder)
    try:
        server.start()
        phone = farm.phone(X86_64)
        server.connect(phone)
        more = {"XDG_CACHE_HOME": str(CACHE), "ORT_DISABLE_TELEMETRY": "1", "SAM_EXPORT_ADB": ""}
        yield phone, server.environment | more
    finally:
        farm.close()
        server.stop()


def report(taken: dict[str, list[Taken]], capsule_s: float, asked: str) -> str:
    """The page."""
    rounds, encoder, decoder = len(taken["cold"]), *(size / 1e6 for size in BALLAST.values())
    loads = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    return f"""\
# What sam-bench costs beside the runs

`make bench-harness`: the real command and the real adb client on a simulated x86_64 phone,
{rounds} times cold (nothing of ours on the phone) and {rounds} times warm (every file there):

    {asked}

Two ONNX graphs of {encoder:.0f} and {decoder:.0f} MB that compute almost nothing. Overhead is
the whole command without the loads, warm-up and samples that the runner reports. So it holds the
start of Python, hashes on both sides, the parity check, what a phone is asked, and the start of
ten processes there.
Times of a host: copying to a real phone goes over a cable, and its shell is slower.
{os.cpu_count()} cores, load {loads} (1, 5, 15 minutes) at the end.

| files on the phone | whole, s | measured runs, s | overhead, s (least..most) | goal, s | |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(_row(kind, of) for kind, of in taken.items())}

Medians. The capsule was in the host's cache; putting it together takes {capsule_s:.1f} s, once,
from the installed onnxruntime.
"""


def _row(kind: str, taken: Sequence[Taken]) -> str:
    over = [one.overhead for one in taken]
    middle = statistics.median(over)
    verdict = "kept" if middle <= GOALS[kind] else "missed"
    whole, measured = (
        statistics.median(getattr(one, name) for one in taken) for name in ("whole", "measured")
    )
    spread = f"{middle:.2f} ({min(over):.2f}..{max(over):.2f})"
    return f"| {kind} | {whole:.2f} | {measured:.2f} | {spread} | {GOALS[kind]:g} | {verdict} |"


def main(argv: Sequence[str] | None = None) -> int:
    """0 where both goals are kept, 1 where one is missed."""
    parser = argparse.ArgumentParser(description="What sam-bench costs beside the runs.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", type=Path, metavar="FILE")
    parser.add_argument("--show", action="store_true", help="the last warm command, call by call")
    arguments = parser.parse_args(argv)
    taken: dict[str, list[Taken]] = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as temporary, one_phone(Path(temporary)) as (phone, around):
        folder, store = Path(temporary), Path(temporary) / "profiles.jsonl"
        capsule_s = capsule_seconds(folder / "cache")
        asked = command(weighty(folder / "weighty-onnx-fp32"), phone, store)
        take(asked, store, around)  # the capsule is in the cache, Python's files are in memory
        for _ in range(arguments.rounds):
            for kind in taken:
                if kind == "cold":
                    phone.reset()
                taken[kind].append(take(asked, store, around)[0])
        if arguments.show:
            sys.stderr.write(take([*asked, "--debug"], store, around)[1])
    shown = " ".join(["sam-bench", "BUNDLE", "--device", "android:SERIAL", *ASKED])
    text = report(taken, capsule_s, shown)
    sys.stdout.write(text)
    if arguments.write:
        arguments.write.write_text(text, encoding="utf-8")
    kept = all(statistics.median(one.overhead for one in of) <= GOALS[k] for k, of in taken.items())
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
