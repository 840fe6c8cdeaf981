"""Stop the commands at any moment, many times, and see how they end.

    python -m tests.fakes.signals --times 300                        SIGTERM, every command
    python -m tests.fakes.signals --times 300 --signal KILL --command export
    python -m tests.fakes.signals --bundles demo-output              sam-run and sam-bench on these
    python -m tests.fakes.signals --times 60 --signal INT --command iphone

Each time a command is started and gets the signal after a time drawn evenly from its whole run, the
start and the end of the interpreter included. Counted is how it ended; a fault is anything but the
signal's status (143 for SIGTERM), a word more than our one line, a file left over, and a command
that goes on; on a fake phone or simulator (which take Swift), also a runner that goes on and a
simulator that stays booted. After the exports, one more is made and checked. Exit status 1 if there
was a fault.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.device.ios_kit import put_program
from tests.fakes.apple.world import WORLD, FakeDevice, World
from tests.ios_runner import built_runner
from tests.unit.runtimes.segment_kit import onnxruntime
from tests.unit.tiny_bundle import build

ROOT = Path(__file__).parents[2]
APPLE = ("iphone", "simulator")
"""sam-bench on a fake device."""
COMMANDS = ("export", "run", "bench", *APPLE)
_START = "import sys; from exporter.start import sam_{0}; sys.exit(sam_{0}())"
"""As the scripts do that an installation makes."""
TAIL_S = 0.5
"""A command that had no more than this left to do may end as if nothing had come."""
_DEADLINE_S = 120


@dataclass
class Tally:
    """How the commands ended, and every fault with its case."""

    ended: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


@dataclass(frozen=True)
class Place:
    """A folder to work in, and bundles to run."""

    folder: Path
    bundles: tuple[Path, ...]
    world: World | None = None

    @property
    def output(self) -> Path:
        return self.folder / "bundles"

    def words(self, command: str, number: int) -> list[str]:
        """The command line of the n-th time."""
        bundle = str(self.bundles[number % len(self.bundles)])
        picture = str(ROOT / "exporter/demo/sample.png")
        overlay = str(self.folder / "overlay.png")
        store = str(self.folder / f"{number}.jsonl")
        quick = ["--runs", "2", "--seconds", "0", "--warmup", "0", "--repeats", "1", "--quiet"]
        return {
            "export": ["--target", "onnx", "--force", "--quiet", "--output", str(self.output)],
            "run": [bundle, picture, "--point", "9,9", "-o", overlay],
            "bench": [bundle, "--device", "host", "--store", store, *quick],
            "iphone": [bundle, "--device", "ios", "--store", store, *quick],
            "simulator": [bundle, "--device", "simulator", "--store", store, *quick],
        }[command]

    def environment(self) -> dict[str, str]:
        """Variables that the fake programs need; none without them."""
        if self.world is None:
            return {}
        return {
            WORLD: str(self.world.folder),
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "SAM_FAKE_RUNNER": str(built_runner()),
            "SAM_ONNXRUNTIME": str(onnxruntime()),
            "SAM_EXPORT_CACHE": str(self.folder / "cache"),
            "TMPDIR": str(self.folder),
        }

    def go_on(self) -> list[str]:
        """Devices on which something of ours goes on."""
        devices = self.world.devices() if self.world else []
        return [
            d.name
            for d in devices
            if self.world.running(d.udid) or (d.kind == "simulator" and d.booted)
        ]

    def left_over(self) -> list[str]:
        """Files that nobody asked for."""
        return sorted(
            path.name
            for path in self.folder.rglob(".*")
            if ".partial" in path.name or ".old-" in path.name or ".lock" in path.name
        )


def start(command: str, words: Sequence[str], place: Place) -> subprocess.Popen[str]:
    """Start a command in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", _START.format("bench" if command in APPLE else command), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=place.folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            **place.environment(),
        },
        start_new_session=True,
    )


def duration_s(command: str, place: Place, times: int = 3) -> float:
    """How long a command takes if nothing stops it: the longest of some runs."""
    spans = []
    for number in range(times):
        begin = time.perf_counter()
        process = start(command, place.words(command, number), place)
        out, said = process.communicate(timeout=_DEADLINE_S)
        assert process.returncode == 0, (command, out, said)
        spans.append(time.perf_counter() - begin)
    return max(spans)


def stop(command: str, words: Sequence[str], place: Place, delay: float, number: int) -> list[str]:
    """Run a command, send it a signal; how it ended, seconds until then, and what is wrong."""
    process = start(command, words, place)
    time.sleep(delay)
    late = process.poll() is not None
    process.send_signal(number)
    sent = time.perf_counter()
    try:
        out, said = process.communicate(timeout=_DEADLINE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, said = process.communicate()
        return ["went on", f"{_DEADLINE_S}", f"went on: {said}"]
    span = time.perf_counter() - sent
    if number == signal.SIGINT and _before_us(said):
        return ["by Python, which was starting", f"{span:.3f}", ""]
    return [*_judged(process.returncode, late, span, number), _wrong(out + said, number)]


def _before_us(said: str) -> bool:
    """Whether Ctrl-C came while the interpreter started, which is not ours to catch."""
    places = [line.strip() for line in said.splitlines() if line.strip().startswith("File ")]
    ours = [place for place in places if not place.startswith(('File "<frozen ', 'File "<string>'))]
    return bool(places) and not ours and said.rstrip().endswith("KeyboardInterrupt")


def _judged(status: int, late: bool, span: float, number: int) -> tuple[str, str]:
    how = {0: "had ended" if late else "ended as it did", -number: "by the signal"}.get(status)
    if status == 128 + number:
        how = "told and ended"
    if status == 0 and not late and span > TAIL_S:
        how = None
    return how or f"FAULT: status {status} after {span:.1f} s", f"{span:.3f}"


def _wrong(said: str, number: int) -> str:
    """What is wrong with what was said; empty if nothing."""
    lines = [line for line in said.splitlines() if "sam-" in line or line.startswith("mask ")]
    others = [line for line in said.splitlines() if "Traceback" in line or "ignored" in line]
    ends = [line for line in lines if "terminated" in line or "interrupted" in line]
    if others or len(ends) > 1 or " bug" in said:
        return f"signal {number}: {said[-1500:]}"
    return ""


def run(
    command: str, place: Place, times: int, number: int, seed: int = 0, undisturbed: int = 3
) -> Tally:
    """Stop a command so many times."""
    tally, longest = Tally(), duration_s(command, place, undisturbed)
    draw = random.Random(seed)
    for turn in range(times):
        delay = draw.uniform(0, 1.05 * longest)
        how, span, wrong = stop(command, place.words(command, turn), place, delay, number)
        case = f"sam-{command} {turn}, {delay:.3f} s of {longest:.3f}"
        tally.ended[how.split(" after")[0]] += 1
        tally.slowest_s = max(tally.slowest_s, float(span))
        left = place.left_over() if number != signal.SIGKILL else []
        # A journal is kept on purpose: the same command goes on with it.
        left = [name for name in left if not name.endswith(".jsonl.partial")]
        left += place.go_on() if number != signal.SIGKILL else []
        if "FAULT" in how or wrong or left or how == "went on":
            tally.faults.append(f"{case}: {how}; {wrong}; left over: {left}")
            print(tally.faults[-1], flush=True)  # noqa: T201
    return tally


def apple_world(folder: Path) -> World:
    """A phone and a simulator that is shut down, with the program that reaches them."""
    world = World(folder / "apple")
    world.folder.mkdir()
    world.add(FakeDevice())
    world.add(FakeDevice(udid="38C2AD9E", name="simulator", kind="simulator", booted=False))
    put_program(folder / "bin", "xcrun")
    return world


def _check_last(place: Place) -> list[str]:
    """One more export, undisturbed, of which nothing else is left, and its check."""
    faults = []
    for command, words in (
        ("export", place.words("export", 0)),
        ("run", ["--check", str(place.output / "demo-onnx-fp16")]),
    ):
        process = start(command, words, place)
        _, said = process.communicate(timeout=_DEADLINE_S)
        if process.returncode != 0:
            faults.append(f"afterwards sam-{command} ended with {process.returncode}: {said}")
    names = sorted(path.name for path in place.output.iterdir())
    return faults if names == ["demo-onnx-fp16"] else [*faults, f"afterwards there are {names}"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.signals", description=__doc__)
    parser.add_argument("--times", type=int, default=300)
    parser.add_argument("--signal", choices=("TERM", "INT", "KILL"), default="TERM")
    parser.add_argument("--command", choices=(*COMMANDS, "all"), default="all")
    parser.add_argument("--bundles", type=Path, help="folder (default: a tiny ONNX bundle)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    number, faults = signal.Signals[f"SIG{given.signal}"], 0
    every = COMMANDS if shutil.which("swift") else COMMANDS[: -len(APPLE)]
    for command in every if given.command == "all" else (given.command,):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if given.bundles is None:
                build(folder / "tiny")
            found = [folder / "tiny"] if given.bundles is None else given.bundles.iterdir()
            bundles = tuple(sorted(p.resolve() for p in found if (p / "manifest.json").is_file()))
            place = Place(folder, bundles, apple_world(folder) if command in APPLE else None)
            tally = run(command, place, given.times, number, given.seed)
            last = _check_last(place) if command == "export" else []
        counts = ", ".join(f"{count} {how}" for how, count in tally.ended.most_common())
        wrong = len(tally.faults) + len(last)
        line = f"sam-{command}, {given.times} times SIG{given.signal}: {counts}"
        print(f"{line}; slowest {tally.slowest_s:.1f} s; {wrong} faults", flush=True)  # noqa: T201
        for line in last:
            print(line)  # noqa: T201
        faults += wrong
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
