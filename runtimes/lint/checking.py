"""Bundle -> findings."""

from __future__ import annotations

import math
from collections.abc import Iterator

from exporter import catalog, child
from exporter.bundle.folder import Bundle
from exporter.bundle.goldens import GOLDENS
from exporter.bundle.manifest import GraphFile
from exporter.calibration import Task
from exporter.errors import BundleError, RequestError
from exporter.progress import Progress
from runtimes.lint import Finding, Network, Operation, Reader, Rule
from runtimes.lint.rules import HEADROOM, LARGEST_HALF, OVERFLOW, RULES

READERS = "runtimes.lint.readers"


def check_bundle(bundle: Bundle, report: Progress, *, static: bool = False) -> tuple[Finding, ...]:
    """Look for every rule's form in every graph.

    Args:
        bundle: opened.
        report: called once a graph.
        static: leave out what is seen by running the goldens alone.

    Raises:
        RequestError: no reader here reads the target, or its toolkit is not installed.
        BundleError: a file cannot be read.
    """
    reader = reader_of(bundle.manifest.target)
    found: list[Finding] = []
    for entry in bundle.manifest.graphs:
        path = bundle.file(entry.spec.name)
        report(f"{bundle.path.name}: reading {entry.spec.name}")
        try:
            network = reader.read(path, entry)
        except (OSError, MemoryError, RequestError, BundleError):
            raise
        except Exception as error:  # a toolkit's own, of any class
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise BundleError(f"cannot read {path}: {first}; export the bundle again") from error
        rules = [rule for rule in RULES if reader.apple or not rule.apple]
        found += [each for rule in rules for each in _apply(rule, entry, network)]
        if reader.ranges and not static:
            report(f"{bundle.path.name}: running the goldens of {entry.spec.name} for its ranges")
            found += _overflows(reader, bundle, entry, network)
    return tuple(found)


def reader_of(target: str) -> Reader:
    """Find a target's reader. RequestError if there is none, or it cannot read here."""
    if target not in catalog.names(READERS):
        raise RequestError(f"sam-export check reads no {target} bundles; get a newer release")
    reader: Reader = catalog.load(READERS, target, "READER")
    missing = reader.missing()
    if missing is not None:
        raise RequestError(f"sam-export check needs a toolkit for {target} bundles: {missing}")
    return reader


def _apply(rule: Rule, entry: GraphFile, network: Network) -> Iterator[Finding]:
    for operation, shown in rule.finds(network):
        yield _finding(rule, entry, network, operation, shown)


def _finding(
    rule: Rule, entry: GraphFile, network: Network, operation: Operation, shown: str
) -> Finding:
    place = f"{operation.kind} {operation.name}"
    return Finding(rule.name, entry.spec.name, place, network.module_near(operation), shown)


def _overflows(
    reader: Reader, bundle: Bundle, entry: GraphFile, network: Network
) -> Iterator[Finding]:
    """Run the goldens in a process of its own, and find what comes near the end of float16."""
    outputs = {
        out.name: each
        for each in network.operations
        for out in each.outputs
        if out.dtype in ("float16", "float32") and 0 not in out.shape
    }
    task = Task(bundle.file(entry.spec.name), entry.spec, tuple(outputs), (bundle.path / GOLDENS,))
    ranges = child.call([reader.ranges], task.to_data(), what="watching values")
    for name, (low, high) in ranges.items():
        reach = max(abs(low), abs(high))
        if not reach * HEADROOM < LARGEST_HALF:  # NaN too
            far = f"{reach:.4g}" if math.isfinite(reach) else "no finite number"
            shown = f"reaches {far} in the goldens"
            yield _finding(OVERFLOW, entry, network, outputs[name], shown)
