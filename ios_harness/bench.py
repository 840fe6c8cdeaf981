"""A bundle on one of Apple's devices: `runtimes.device.Bench` through the runner app."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from exporter.bundle.folder import Bundle
from exporter.bundle.manifest import MANIFEST, Figure
from exporter.errors import DeviceError, RequestError
from ios_harness.answers import RunnerAnswer
from ios_harness.exchange import LOOK, RUN, STATE, Answered, Exchange
from ios_harness.pack import hash_of
from ios_harness.units import require_unit
from runtimes.device import Condition, DeviceFacts, GraphRun, Method, SessionRun
from runtimes.parity import check_parity
from runtimes.remote import cooling
from runtimes.remote.errors import NoSpaceError
from runtimes.remote.job import CHECK, GRAPH, SESSION, Library, RunnerJob
from runtimes.remote.plans import (
    DevicePlan,
    Setting,
    check_plan,
    graph_plan,
    replay,
    session_plan,
)

LOG = logging.getLogger("sam_export.device")
RUNTIMES = {"coreml": "coreml", "coreai": "coreai", "onnx": "ort"}
"""Target of a bundle -> the runtime that a job names. The app has Core ML, and on 27 Core AI."""
WAY = "runner"
JOB = "job.txt"
MARGIN = 16 * 2**20
"""Bytes to leave free: compiled graphs and outputs come on top of what is sent."""
PREPARE_RATE = 10 * 2**20
"""Bytes a second that a device unpacks and hashes at the least."""


@dataclass
class IosBench:
    """A device made ready for a method. See `Bench`.

    Attributes:
        exchange: with the runner on it.
        facts: of it.
        method: how to measure.
        look: the runner's first answer: its runtimes, the files that are there.
    """

    exchange: Exchange
    facts: DeviceFacts
    method: Method
    look: RunnerAnswer
    _kept: dict[str, str] = field(default_factory=dict)
    _plans: dict[Path, dict[tuple[str, str], DevicePlan]] = field(default_factory=dict)
    _placed: set[tuple[Path, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._kept.update(self.look.kept)

    def prepare(self, bundle: Bundle) -> None:
        """Send the files that the bundle needs and the device does not have, proved by their hash.

        Raises:
            RequestError: the runner has no runtime for such a bundle.
            NoSpaceError: the device is full.
            DeviceError: a file arrived damaged, or the device went away.
        """
        if bundle.path in self._plans:
            return
        plans = self._make_plans(bundle)
        needed = {name: content for plan in plans.values() for name, content in plan.files.items()}
        for plan in plans.values():
            folder = plan.job.graphs[0].model.partition("/")[0]
            needed[f"{folder}/{MANIFEST}"] = bundle.path / MANIFEST
        hashes = {name: hash_of(content) for name, content in needed.items()}
        missing = {n: c for n, c in needed.items() if self._kept.get(n) != hashes[n]}
        if missing:
            self._send(missing, hashes)
        self._plans[bundle.path] = plans

    def check(self, bundle: Bundle) -> tuple[Figure, ...]:
        """Parity figures of the bundle's goldens as this device computes them: one process.

        Raises:
            RequestError: the method does without it.
            ParityError: an output is not finite.
            DeviceError: see `Exchange.ask`.
        """
        plan = self._plan(bundle, CHECK)
        answered = self._run(plan)
        answered.answer.runner_report()
        outputs = {name: answered.files[name] for name in plan.outputs if name in answered.files}
        return check_parity(bundle.path, bundle.manifest, load=replay(plan, outputs))

    def run_graph(self, bundle: Bundle, graph: str) -> GraphRun:
        """Time one graph in a process of its own. Errors as of `check`."""
        answer = self._run(self._plan(bundle, GRAPH, graph)).answer
        timed = answer.runner_report().graph_run(graph)
        first = (bundle.path, graph) not in self._placed  # it is the same in every repeat
        self._placed.add((bundle.path, graph))
        return replace(
            timed,
            notes=(*timed.notes, *answer.notes()),
            way=WAY,
            cold_load_ns=answer.cold_load_ns,
            placement=answer.placement if first else (),
        )

    def run_session(self, bundle: Bundle) -> SessionRun:
        """Time every graph in one process, as an app uses them. Errors as of `check`."""
        answer = self._run(self._plan(bundle, SESSION)).answer
        timed = answer.runner_report().session_run()
        return replace(timed, notes=(*timed.notes, *answer.notes()))

    def condition(self) -> Condition:
        """Read the device's state now."""
        return self.exchange.ask(STATE).answer.state.condition()

    def cool(self, start: Condition) -> Condition:
        """Wait until the device's thermal state is nominal; TooHotError after the limit."""
        limit = self.method.cool_seconds
        return cooling.cool(self.condition, start, limit, device=self.facts.device)

    def _make_plans(self, bundle: Bundle) -> dict[tuple[str, str], DevicePlan]:
        target = bundle.manifest.target
        runtime = RUNTIMES.get(target, "")
        require_unit(target, self.method.delegate)
        if runtime not in self.look.runtimes:
            have = [t for t, name in RUNTIMES.items() if name in self.look.runtimes]
            raise RequestError(
                f"{bundle.path} is a {target} bundle, and the runner on {self.facts.device} runs "
                f"{' and '.join(have) or 'none'}: export it again with --target {have[0]}"
                if have
                else f"the runner on {self.facts.device} has no runtime: build it again"
            )
        library = Library(runtime, "-", "-")
        how = (library, Setting.of(self.method, ()))
        names = [graph.spec.name for graph in bundle.manifest.graphs]
        plans = {(GRAPH, name): graph_plan(bundle, name, *how) for name in names}
        plans[SESSION, ""] = session_plan(bundle, *how)
        if self.method.check:
            plans[CHECK, ""] = check_plan(bundle, *how)
        return plans

    def _send(self, missing: Mapping[str, Path | bytes], hashes: Mapping[str, str]) -> None:
        size = sum(len(c) if isinstance(c, bytes) else c.stat().st_size for c in missing.values())
        free = self.look.state.free_bytes
        # The pack and what comes out of it lie side by side for a moment.
        need = 2 * size + MARGIN
        if free is not None and need > free:
            raise NoSpaceError(
                f"the device is full: {need // 2**20 + 1} MB are needed and "
                f"{free // 2**20} MB are free: free some, or try `sam-bench clean --device "
                f"{self.facts.device}`"
            )
        LOG.info("%s: sending %.1f MB", self.facts.device, size / 2**20)
        deadline = 60 + size / PREPARE_RATE
        kept = self.exchange.ask(LOOK, files=missing, deadline=deadline).answer.kept
        damaged = [name for name in missing if kept.get(name) != hashes[name]]
        if damaged:
            raise DeviceError(
                f"{damaged[0]} arrived damaged on {self.facts.device}: try another cable or port"
            )
        self._kept.update(kept)

    def _plan(self, bundle: Bundle, mode: str, graph: str = "") -> DevicePlan:
        self.prepare(bundle)
        plans = self._plans[bundle.path]
        if mode == CHECK and not self.method.check:
            raise RequestError("the method says that parity is not checked")
        if (mode, graph) not in plans:
            known = ", ".join(name for which, name in plans if which == mode)
            raise RequestError(f"{bundle.path} has no graph {graph!r}; choose from {known}")
        return plans[mode, graph]

    def _run(self, plan: DevicePlan) -> Answered:
        return self.exchange.ask(
            RUN,
            files={JOB: plan.job.text().encode("ascii")},
            deadline=self.method.deadline_seconds,
            size=_output_bytes(plan.job) if plan.outputs else 0,
        )


def _output_bytes(job: RunnerJob) -> int:
    """Bytes of every output that the job writes."""
    total = 0
    for graph in job.graphs:
        one = sum(int(np.prod(t.shape)) * np.dtype(t.dtype).itemsize for t in graph.spec.outputs)
        total += one * sum(1 for case in graph.cases if case.outputs)
    return total
