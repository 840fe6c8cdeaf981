"""Run a bundle that is not sealed yet against torch, and decide whether it may be written."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter import child
from exporter.bundle.folder import Bundle
from exporter.bundle.manifest import Figure
from exporter.bundle.reading import parse
from exporter.errors import ParityError, RequestError, SamExportError
from exporter.precision import PARITIES, Precision
from exporter.progress import Progress, heartbeat

OnMiss = Callable[[str], None]
"""Called with the floors that a bundle misses; raises to refuse the bundle."""

PARITY_MODULE = "runtimes.parity"
GATE_MODULE = "runtimes.gate"
ENGINES_MODULE = "runtimes.engines"
"""Reached by name: imports keep flowing one way. The first two run in processes of their own, so
that their memory is freed."""


def refuse(reason: str) -> None:
    """Raise ParityError for missed floors, so that nothing is written; the default `OnMiss`."""
    raise ParityError(reason)


def require_parity(parity: str, asked: Sequence[str]) -> None:
    """RequestError if literal arithmetic is asked for and no target's check has any other.

    Args:
        parity: one of `exporter.precision.PARITIES`.
        asked: names of targets.
    """
    if parity == PARITIES[0]:
        return
    kinds = importlib.import_module(ENGINES_MODULE).engine_kinds()
    able = dict.fromkeys(kind.target for kind in kinds if kind.literal)
    if able.keys().isdisjoint(asked):
        raise RequestError(
            f"only --target {', '.join(able)} reads --parity {parity}: leave it out, or add that "
            "target"
        )


def require_checked(bundle: Bundle, parity: str, *, allow_degraded: bool) -> None:
    """RequestError if a finished bundle was checked less strictly than is asked for now."""
    if parity == "literal" and any(figure.arithmetic for figure in bundle.manifest.parity):
        raise RequestError(
            f"{bundle.path} was not checked in its files' own arithmetic: give --force to make it "
            "again"
        )
    if bundle.manifest.degraded and not allow_degraded:
        raise RequestError(
            f"{bundle.path} is degraded: give --allow-degraded to keep it, or --force to try again"
        )


@dataclass(frozen=True)
class Verdict:
    """The figures of a bundle, and whether some are under their floors."""

    figures: tuple[Figure, ...]
    degraded: bool


@dataclass(frozen=True)
class Check:
    """How a bundle is checked.

    Attributes:
        precision: the bundle's.
        allow_degraded: let masks miss their floors, if the precision is judged by them.
        report: called with each stage.
        on_miss: called with the missed floors that are not allowed.
        parity: one of `exporter.precision.PARITIES`.
    """

    precision: Precision
    allow_degraded: bool
    report: Progress
    on_miss: OnMiss
    parity: str = "usual"

    def run(self, folder: Path, name: str, pictures: Sequence[Path]) -> Verdict:
        """Run parity, and the gate if masks decide.

        What says that a graph is broken (values that are not finite, lost prompts, other inputs
        than torch's) is a miss whatever is allowed.

        Args:
            folder: a bundle, whose hashes are not there yet.
            name: of the bundle, for messages.
            pictures: files of goldens for the gate.
        """
        try:
            with heartbeat(self.report, f"{name}: running the lowered graphs"):
                answers = [child.call(self._parity(folder), what="parity")]
            if pictures:
                words = f"{name}: comparing masks on {len(pictures)} pictures"
                self.report(words)
                given = [str(path) for path in pictures]
                with heartbeat(self.report, words):
                    command = [GATE_MODULE, str(folder), *self._arithmetic]
                    answers.append(child.call(command, given, what="the gate"))
        except SamExportError as error:
            self.on_miss(f"{name}: the check did not finish: {error}")
            return Verdict((), degraded=True)
        rows = [row for answer in answers for row in answer["figures"]]
        figures = tuple(parse(Figure, each, f"figures[{i}]") for i, each in enumerate(rows))
        missed = [line for answer in answers for line in answer["missed"]]
        broken = any(answer["broken"] for answer in answers)
        if missed and self.allow_degraded and self.precision.judged and not broken:
            self.report(f"{name} is degraded: {'; '.join(missed)}")
        elif missed:
            self.on_miss(f"{name}: {'; '.join(missed)}; nothing was written")
        return Verdict(figures, degraded=bool(missed))

    def _parity(self, folder: Path) -> list[str]:
        row = self.precision.floors
        asked = [PARITY_MODULE, str(folder), "--json", *self._arithmetic]
        return [*asked, *(["--floors", row] if row else [])]

    @property
    def _arithmetic(self) -> list[str]:
        """Where masks of many pictures decide, half arithmetic is done in float32, unless asked."""
        quick = self.precision.judged and self.parity == "usual"
        return ["--arithmetic", "quick" if quick else self.parity]
