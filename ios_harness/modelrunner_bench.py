"""A phone through coremltools' own runner: `runtimes.device.Bench` of `--way coremltools`.

It needs nothing of ours on the phone. It gives no session, heat, memory or CPU time.
"""

from __future__ import annotations

import datetime
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exporter import child
from exporter.bundle.folder import Bundle
from exporter.bundle.manifest import Figure
from exporter.bundle.reading import parse
from exporter.cache import default_cache
from exporter.errors import BundleError, RequestError, RunnerError
from runtimes.device import Condition, DeviceFacts, GraphRun, Method, SessionRun
from runtimes.engines.coreml import IMAGE_LAYOUT
from runtimes.parity import check_parity
from runtimes.remote.job import Library
from runtimes.remote.plans import DevicePlan, Setting, check_plan, graph_plan, replay

WAY = "coremltools"
TEAM = "SAM_EXPORT_IOS_TEAM"
"""Environment variable: the Apple development team that signs coremltools' app."""
_WORKSPACE = Path("modelrunner") / "ModelRunner.xcworkspace"
_COMPILED = "coremltools compiles on the Mac: the first load fits it to the phone's units alone"
_SLOW = (
    "every call crosses the cable as files, so the device rests in between and its clocks may fall"
)


def missing() -> str:
    """Say why coremltools' runner cannot be used here, and what to do; empty if it can."""
    if sys.platform != "darwin":
        return "coremltools' runner needs a Mac with Xcode"
    found = importlib.util.find_spec("coremltools")
    if found is None or found.origin is None:
        return "coremltools is missing: pip install 'coremltools>=9'"
    if not (Path(found.origin).parent / _WORKSPACE).is_dir():
        return "this coremltools has no modelrunner: pip install 'coremltools>=9'"
    if not os.environ.get(TEAM):
        return f"coremltools' runner must be signed: give your team by --team, or as ${TEAM}"
    return ""


def use_team(name: str) -> None:
    """From here on, this development team signs coremltools' app. RequestError if it is no name."""
    if not (name.isascii() and name.isalnum()):  # it becomes a word of a shell's command
        raise RequestError("--team takes the ten letters and digits of an Apple development team")
    os.environ[TEAM] = name


@dataclass(frozen=True)
class ModelRunnerBench:
    """A phone that coremltools reaches. See `Bench`.

    `wake` is called before each process: a connection sleeps after a while, and coremltools takes
    only a phone whose connection is up.
    """

    udid: str
    facts: DeviceFacts
    method: Method
    wake: Callable[[], None]
    _placed: set[tuple[Path, str]] = field(default_factory=set)

    def prepare(self, bundle: Bundle) -> None:
        """Copy nothing yet. RequestError for a bundle that coremltools cannot call on a phone."""
        manifest = bundle.manifest
        if manifest.target != "coreml":
            raise RequestError(
                f"{bundle.path} is a {manifest.target} bundle, and --way {WAY} runs coreml: export "
                "it again with --target coreml"
            )
        if any(t.layout == IMAGE_LAYOUT for g in manifest.graphs for t in g.spec.inputs):
            raise RequestError(
                f"{bundle.path} takes a picture, and coremltools sends tensors alone: export it "
                "with --image-input tensor, or measure it by --way runner"
            )

    def check(self, bundle: Bundle) -> tuple[Figure, ...]:
        """Parity figures of the bundle's goldens. RequestError, ParityError, RunnerError."""
        if not self.method.check:
            raise RequestError("the method says that parity is not checked")
        self.prepare(bundle)
        plan = check_plan(bundle, *self._how())
        with tempfile.TemporaryDirectory(prefix="sam-export-") as folder:
            self._call("check", bundle, plan, Path(folder))
            outputs = {
                name: (Path(folder) / name).read_bytes()
                for name in plan.outputs
                if (Path(folder) / name).is_file()
            }
        return check_parity(bundle.path, bundle.manifest, load=replay(plan, outputs))

    def run_graph(self, bundle: Bundle, graph: str) -> GraphRun:
        """Time one graph. RequestError, RunnerError."""
        self.prepare(bundle)
        plan = graph_plan(bundle, graph, *self._how())
        with tempfile.TemporaryDirectory(prefix="sam-export-") as folder:
            told = self._call("time", bundle, plan, Path(folder))
        first = (bundle.path, graph) not in self._placed  # it is the same in every repeat
        self._placed.add((bundle.path, graph))
        try:
            cold, warm = told["loads_ns"]
            return parse(
                GraphRun,
                {
                    "graph": graph,
                    "runtime": told["runtime"],
                    "load_ns": warm,
                    "cold_load_ns": cold,
                    "first_ns": told["warmup_ns"][0],
                    "warmup_ns": told["warmup_ns"],
                    "samples_ns": told["samples_ns"],
                    "cpu_ns": None,
                    "peak_bytes": None,
                    "threads": self.method.threads,
                    "notes": [*told["notes"], _COMPILED, _SLOW],
                    "way": WAY,
                    "placement": told["placement"] if first else [],
                },
                "the run",
            )
        except (BundleError, KeyError, IndexError, TypeError, ValueError) as error:
            raise RunnerError(f"coremltools' runner answered nonsense: {error}") from None

    def run_session(self, bundle: Bundle) -> SessionRun:
        """RequestError: an app's session is not what it measures."""
        del bundle
        raise RequestError(f"--way {WAY} times graphs alone; --way runner times a session")

    def condition(self) -> Condition:
        """Know nothing but the time: coremltools tells neither heat nor power."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return Condition(at=now, notes=("coremltools tells no thermal state and no power mode",))

    def cool(self, start: Condition) -> Condition:
        """Return at once, for the same reason."""
        del start
        return self.condition()

    def _how(self) -> tuple[Library, Setting]:
        return Library(WAY, "-", "-"), Setting.of(self.method, ())

    def _call(self, verb: str, bundle: Bundle, plan: DevicePlan, folder: Path) -> dict[str, Any]:
        self.wake()
        app = default_cache(os.environ) / "modelrunner"
        app.mkdir(parents=True, exist_ok=True)
        for name, content in plan.files.items():
            if isinstance(content, bytes):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
        cases = list(_cases(bundle, plan, folder))
        request = {
            "verb": verb,
            "package": cases[0]["package"],
            "udid": self.udid,
            "team": os.environ[TEAM],
            "folder": str(app),
            "units": self.method.delegate,
            "runs": self.method.runs,
            "seconds": self.method.seconds,
            "warmup": self.method.stable_calls,
            "cases": cases,
        }
        told = child.call(
            ["ios_harness.modelrunner"],
            request,
            what=f"coremltools' runner on {self.facts.device}",
            deadline=self.method.deadline_seconds,
            advice="give --deadline more; its first start builds an app",
            failure=RunnerError,
        )
        if not isinstance(told, dict):
            raise RunnerError("coremltools' runner gave no answer")
        return told


def _cases(bundle: Bundle, plan: DevicePlan, folder: Path) -> Iterator[Mapping[str, Any]]:
    """List every call of a plan: its package, raw files of inputs, files to write outputs to."""
    for graph in plan.job.graphs:
        package = bundle.path / bundle.manifest.graph(graph.spec.name).file
        for case in graph.cases:
            sources = {n: s for n, s in case.inputs.items() if isinstance(s, str)}
            yield {
                "package": str(package),
                "inputs": [
                    {
                        "name": t.name,
                        "dtype": t.dtype,
                        "shape": list(t.shape),
                        "file": str(folder / sources[t.name]),
                    }
                    for t in graph.spec.inputs
                ],
                "outputs": {name: str(folder / file) for name, file in case.outputs.items()},
            }
