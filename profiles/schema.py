"""A profile: everything that one measurement of one bundle on one device gave, as one JSON line.

Samples are kept, never their statistics: those are computed when someone asks. A line of another
version, an unknown field or a wrong type is a `RequestError` that names its place.
"""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

import exporter
from exporter.bundle.folder import Bundle, hash_file
from exporter.bundle.manifest import MANIFEST, Figure, Manifest
from exporter.bundle.ranges import Count, Side
from exporter.bundle.reading import decode, parse
from exporter.closest import unknown
from exporter.errors import BundleError, RequestError
from exporter.printable import printable
from runtimes.device import (
    CLASSES,
    THROTTLED,
    Condition,
    DeviceFacts,
    GraphRun,
    Method,
    SessionRun,
)

SCHEMA_VERSION = 2

T = TypeVar("T")
TOOLS = ("numpy", "onnxruntime", "ai-edge-litert", "coremltools")
_MOST_REASONS = 4


@dataclass(frozen=True)
class GraphFacts:
    """One graph of the bundle.

    Attributes:
        bytes: its file's size.
        multiply_accumulates: in one call; None where the manifest does not tell.
    """

    name: str
    bytes: Count
    multiply_accumulates: Count | None = None


@dataclass(frozen=True)
class BundleFacts:
    """Which bundle was measured.

    Attributes:
        name: of its folder.
        sha256: of its manifest, which holds the hashes of every other file.
        input_size: side of the square input, in pixels.
        graphs: in the manifest's order.
        degraded: whether it was written with masks under their floors.
    """

    name: str
    sha256: str
    variant: str
    target: str
    precision: str
    input_size: Side
    graphs: tuple[GraphFacts, ...]
    degraded: bool = False

    @property
    def bytes(self) -> int:
        """Of all graphs together."""
        return sum(graph.bytes for graph in self.graphs)


@dataclass(frozen=True)
class Repeat:
    """One process for each graph and one for the session, and the device around them.

    Attributes:
        runs: in the order of the bundle's graphs; then the tracked frames of a video, a process for
            each number of objects: `runtimes.frames.frame_runs`.
        session: None where the device cannot run one.
        throttled: why these times may be those of a hot device; empty where nothing says so.
    """

    before: Condition
    after: Condition
    runs: tuple[GraphRun, ...]
    session: SessionRun | None
    throttled: str = ""


@dataclass(frozen=True)
class Profile:
    """One line of a store.

    Attributes:
        id: ten hex digits, made when the measurement began.
        created: ISO 8601, UTC: when it began.
        label: the user's word for it, or empty.
        parity: figures on the device; empty where the check was turned off.
        tools: package -> version on the machine that measured.
        refused: why nothing was timed, although it was asked for by `--delegate each`; else empty.
    """

    schema_version: int
    id: str
    created: str
    label: str
    bundle: BundleFacts
    device: DeviceFacts
    method: Method
    parity: tuple[Figure, ...]
    repeats: tuple[Repeat, ...]
    tools: dict[str, str]
    refused: str = ""

    def to_line(self) -> str:
        """Stable JSON in one line, with its newline."""
        return to_json(self, sort_keys=True, separators=(",", ":")) + "\n"


def to_json(value: Any, **how: Any) -> str:
    """JSON of plain data and our dataclasses.

    Not by `asdict`: it copies every sample, and half a million took a second.

    Args:
        value: what to write.
        how: for `json.dumps`.
    """
    return json.dumps(value, default=_fields, **how)


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def parse_profile(line: str, where: str) -> Profile:
    """Parse one line of a store.

    Args:
        line: JSON.
        where: for the message, e.g. `profiles.jsonl line 3`.

    Raises:
        RequestError: not JSON, of another version, or not what the schema says.
    """
    profile = parse_as(Profile, _of_this_version(line, where), where)
    if profile.device.device_class not in CLASSES:
        name = profile.device.device_class
        raise unknown("device.device_class", name, CLASSES, where=where)
    parse_moment(profile.created, f"{where}.created")
    return profile


def parse_moment(text: str, where: str) -> datetime.datetime:
    """ISO 8601 as we write it, with its zone. RequestError names the place."""
    with suppress(ValueError):
        moment = datetime.datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    raise RequestError(f"{where} should be a time, not {printable(text, 80)!r}")


def parse_id(line: str, where: str) -> str:
    """Parse the id of one line of a store and nothing else of it, which is far quicker.

    Raises:
        RequestError: not JSON, of another version, or without an id.
    """
    found = _of_this_version(line, where).get("id")
    if not isinstance(found, str):
        raise RequestError(f"{where} is missing the field 'id'")
    return found


def _of_this_version(line: str, where: str) -> dict[str, Any]:
    data = parse_json(line, where)
    found = data.get("schema_version") if isinstance(data, dict) else None
    if found != SCHEMA_VERSION:
        raise RequestError(
            f"{where} has schema version {printable(repr(found), 80)}; this release reads "
            f"{SCHEMA_VERSION}: measure again, or use the release that wrote it"
        )
    return dict(data)


def parse_json(line: str, where: str) -> Any:
    """JSON without NaN and infinity, which are no JSON. RequestError names the place."""
    try:
        return decode(line, where)
    except BundleError as error:
        raise RequestError(str(error)) from None


def parse_as(kind: type[T], data: Any, where: str) -> T:
    """`exporter.bundle.reading.parse` for what is not a bundle. RequestError names the place."""
    try:
        return parse(kind, data, where)
    except BundleError as error:
        raise RequestError(str(error)) from None
    except OverflowError:
        raise RequestError(f"{where} holds a number that is out of range") from None


def bundle_facts(bundle: Bundle) -> BundleFacts:
    """Collect the facts of a bundle that a profile keeps."""
    manifest: Manifest = bundle.manifest
    return BundleFacts(
        name=bundle.path.resolve().name,
        sha256=hash_file(bundle.path / MANIFEST),
        variant=manifest.variant,
        target=manifest.target,
        precision=manifest.precision,
        input_size=manifest.preprocess.size,
        graphs=tuple(
            # Manifests of earlier releases do not tell the multiply-accumulates.
            GraphFacts(g.spec.name, g.bytes, getattr(g, "multiply_accumulates", None))
            for g in manifest.graphs
        ),
        degraded=manifest.degraded,
    )


def tools() -> dict[str, str]:
    """Versions on this machine of what may take part in a measurement."""
    found = {"sam-export": exporter.__version__, "python": platform.python_version()}
    for package in TOOLS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def throttled(
    before: Condition, after: Condition, runs: Sequence[GraphRun | SessionRun | None] = ()
) -> str:
    """Why a repeat's times may be those of a hot device; empty where nothing says so.

    Args:
        before: the device as the repeat began.
        after: as it ended.
        runs: of the repeat; a core held to a lower clock stands in their notes alone.
    """
    every = (note for run in runs if run is not None for note in run.notes)
    told = (note for note in every if note.startswith(THROTTLED))
    notes = (note.removeprefix(THROTTLED).strip() for note in told)
    found = [why for why in dict.fromkeys((_warmth(before, after), *notes)) if why]
    more = len(found) - _MOST_REASONS
    return "; ".join(found[:_MOST_REASONS]) + (f"; and {more} more" if more > 0 else "")


def _warmth(before: Condition, after: Condition) -> str:
    for when, condition in (("before", before), ("after", after)):
        if condition.thermal_status and condition.thermal_status.level:
            return f"thermal status {condition.thermal_status.word} {when} the repeat"
    return ""
