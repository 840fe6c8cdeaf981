"""`sam-bench`: arguments -> one call -> text or JSON; it prints and never computes."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

from exporter import command
from exporter.arguments import Parser
from exporter.bundle.folder import Bundle, open_bundle
from exporter.closest import closest
from exporter.errors import RequestError
from exporter.printable import one_line, plain, printable
from exporter.progress import Progress, on_stderr, silent
from profiles import arguments as asked
from profiles import everything, kinds, logs, tables, tracked_frame
from profiles.collect import BenchPlan, Outcome, collect
from profiles.journal import EXPIRY_HOURS
from profiles.method import EACH, read_method
from profiles.numbers import budget
from profiles.numbers.compare import compare
from profiles.numbers.summary import summarise
from profiles.pages import pages
from profiles.rewriting import reclassed, rewrite
from profiles.schema import Profile
from profiles.selection import Filters, latest, pairs, select
from profiles.store import Store
from runtimes.device import HOST, Device
from runtimes.pictures.writing import require_outside, require_writable, write_whole

Arguments = argparse.Namespace
UNSTORED: dict[str, tuple[str, ModuleType]] = {
    everything.EVERYTHING: ("everything", everything),
    tracked_frame.TRACKED_FRAME: ("frames", tracked_frame),
}
"""`--mode` whose results are not kept -> their key in JSON, and what has `measure` and `shown`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `sam-bench`; returns the exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    word = given[0] if given and given[0] in WORDS else ""
    parser, work = WORDS[word]

    def parse() -> Arguments:
        if given and not word:
            _expect_bundle(given[0])
        made: Parser = parser()
        return made.parse_args(given[1:] if word else given)

    return command.run("sam-bench", parse, work, stopped=_how_to_go_on)


def _expect_bundle(first: str) -> None:
    """RequestError if the first argument is rather a word of ours, misspelt."""
    meant = [] if first.startswith("-") or Path(first).exists() else closest(first, [*WORDS])
    if meant:
        raise RequestError(f"there is no bundle {printable(first)}; did you mean {meant[0]}?")


def _measure(arguments: Arguments) -> int:
    if arguments.mode in UNSTORED:
        return _measure_unstored(arguments, *UNSTORED[arguments.mode])
    everything.refuse_without(arguments.given)
    say = silent if arguments.quiet else on_stderr()
    with _telling(arguments, say):
        # Names first: a misspelt device should not wait for the hashes of a large bundle.
        names = arguments.device or [HOST]
        delegate = arguments.delegate or kinds.default_delegate(names)
        devices = [kinds.find(name) for name in names]
        bundles = tuple(open_bundle(path) for path in arguments.bundles)
        require_outside([arguments.store], arguments.bundles)
        if arguments.delegate == EACH:
            outcome = _by_each(arguments, bundles, names, devices, say)
        else:
            method = read_method(arguments, delegate)
            plan = BenchPlan(bundles, method, Store(arguments.store), arguments.label)
            outcome = collect(plan, devices, say)
    summaries = [summarise(profile) for profile in outcome.profiles]
    if arguments.json:
        _print_json({"profiles": [asdict(s) for s in summaries], "failures": _failures(outcome)})
    elif summaries:
        refused = {profile.id for profile in outcome.profiles if profile.refused}
        timed = [summary for summary in summaries if summary.id not in refused]
        if timed:
            print(tables.measured(timed))
        if arguments.delegate == EACH:
            print()
            print(tables.placements(outcome.profiles))
    for device, error in outcome.failures:
        _say_error(f"{device}: {error}")
    return max((error.exit_status for _, error in outcome.failures), default=0)


def _measure_unstored(arguments: Arguments, key: str, mode: ModuleType) -> int:
    say = silent if arguments.quiet else on_stderr()
    with _telling(arguments, say):
        bundles = tuple(open_bundle(path) for path in arguments.bundles)
        rows = mode.measure(arguments, bundles, say)
    if arguments.json:
        _print_json({key: rows})
    else:
        print(plain(mode.shown(rows)))
    return 0


def _by_each(
    arguments: Arguments,
    bundles: Sequence[Bundle],
    names: Sequence[str],
    devices: Sequence[Device],
    say: Progress,
) -> Outcome:
    """Measure each bundle with each delegate; a wrong one is kept with the reason."""
    outcome = Outcome()
    for bundle in bundles:
        for delegate in kinds.each_delegate(names, bundle.manifest.target):
            method = replace(read_method(arguments), delegate=delegate)
            plan = BenchPlan(
                (bundle,), method, Store(arguments.store), arguments.label, keep_refused=True
            )
            found = collect(plan, devices, say)
            outcome.profiles += found.profiles
            outcome.failures += found.failures
    return outcome


def _compare(arguments: Arguments) -> int:
    store, limit = Store(arguments.store), arguments.fail_on
    warn = cache(_warn)  # of a line left out once, though both read it
    chosen = pairs(select(arguments.a, store, warn), select(arguments.b, store, warn))
    found = [compare(a, b, judging=limit is not None) for a, b in chosen]
    if arguments.json:
        _print_json([comparison.data() for comparison in found])
    else:
        print("\n\n".join(tables.comparison(comparison) for comparison in found))
    if limit is None:
        return 0
    worse = [(c, change) for c in found for change in c.regressions(limit)]
    if worse:
        first, change = worse[0]
        more = f", and {len(worse) - 1} more" if len(worse) > 1 else ""
        _say_error(
            f"{change.what} of {first.b.bundle.name} on {first.b.device.device} is "
            f"{change.ratio - 1:.1%} worse, beyond noise and --fail-on {limit:.1%}{more}"
        )
    return 1 if worse else 0


def _check(arguments: Arguments) -> int:
    held_to, store = budget.read_budget(arguments.budget), Store(arguments.store)
    if arguments.profile:
        warn = cache(_warn)
        profiles = [p for name in arguments.profile for p in select(name, store, warn)]
    else:
        fitting = Filters(device_class=held_to.device_class).apply(store.read(_warn))
        profiles = latest(p for p in fitting if held_to.is_for(p.device.system))
    rows = budget.check(held_to, [summarise(profile) for profile in profiles])
    if arguments.json:
        _print_json([asdict(row) | {"verdict": row.verdict} for row in rows])
    else:
        print(tables.budget(rows))
    over = [row for row in rows if not row.kept]
    if over:
        first = over[0]
        _say_error(
            f"{len(over)} of {len(rows)} limits of budget {held_to.name} are not kept; first: "
            f"{first.measure} of {first.bundle} on {first.device}"
        )
    return 1 if over else 0


def _report(arguments: Arguments) -> int:
    known = pages()
    files = {name: getattr(arguments, asked.page_of(name)) for name in known}
    wanted = {name: path for name, path in files.items() if path is not None}
    if not wanted:
        choices = (f"{page.options[0]} FILE for {page.summary}" for page in known.values())
        raise RequestError(f"nothing to write: give {', or '.join(choices)}")
    for path in wanted.values():
        require_writable(path)
    profiles = _filtered(arguments)
    if not arguments.all:
        profiles = latest(profiles, each_delegate=True)
    if not profiles:
        raise RequestError(f"no profile in {arguments.store} fits; see sam-bench list")
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    for name, path in wanted.items():
        _write(path, known[name].render(profiles, now))
        print(one_line(f"{path}: {len(profiles)} measurement{'s' if len(profiles) > 1 else ''}"))
    return 0


def _write(path: Path, text: str) -> None:
    def write(stream: BinaryIO) -> None:
        stream.write(text.encode())

    write_whole(path, write)


def _list(arguments: Arguments) -> int:
    profiles = _filtered(arguments)
    if arguments.json:
        _print_json([asdict(summarise(profile)) for profile in profiles])
    else:
        print(tables.listing(profiles))
    return 0


def _devices(arguments: Arguments) -> int:
    with _telling(arguments, _warn):
        rows = kinds.listed()
    if arguments.json:
        _print_json([asdict(row) for row in rows])
    else:
        print(tables.devices(rows))
    return 0


def _reclass(arguments: Arguments) -> int:
    store = Store(arguments.store)
    done = rewrite(store, reclassed, _warn, only_look=arguments.dry_run)
    if arguments.json:
        _print_json([tables.reclassed_data(pair) for pair in done.changed])
    elif done.changed:
        print(tables.reclassed(done.changed))
    what = f"{len(done.changed)} of {done.total} measurements "
    if done.kept is not None:
        _warn(f"{what}are of another class now; the store as it was is {done.kept}")
    elif done.changed:
        _warn(f"{what}would be of another class; {store.path} was not changed")
    else:
        _warn(f"each of {done.total} measurements is of its class already")
    return 0


def _clean(arguments: Arguments) -> int:
    with _telling(arguments, _warn):
        for name in arguments.device:
            print(one_line(f"{name}: {kinds.clean(name)}"))
    return 0


def _telling(arguments: Arguments, progress: Progress) -> AbstractContextManager[None]:
    """Show what devices log from here on; the kinds take their options first."""
    for option in kinds.options():
        value = getattr(arguments, asked.option_of(option))
        if value:
            option.use(value)
    return logs.show(progress, _warn, debug=arguments.debug)


def _filtered(arguments: Arguments) -> list[Profile]:
    filters = Filters(
        device_class=arguments.device_class,
        device=arguments.device,
        variant=arguments.variant,
        target=arguments.target,
        precision=arguments.precision,
        since=arguments.since,
    )
    return filters.apply(Store(arguments.store).read(_warn))


def _failures(outcome: Outcome) -> list[dict[str, str]]:
    return [{"device": device, "error": str(error)} for device, error in outcome.failures]


def _how_to_go_on(word: str, arguments: Arguments) -> str:
    if not hasattr(arguments, "bundles"):
        return word
    return (
        f"{word}; finished repeats are kept: give the same command again within "
        f"{EXPIRY_HOURS:g} hours to go on"
    )


def _print_json(data: object) -> None:
    print(json.dumps(data, indent=2))


def _warn(line: str) -> None:
    print(f"sam-bench: {one_line(line)}", file=sys.stderr)


def _say_error(line: str) -> None:
    print(f"sam-bench: error: {one_line(line)}", file=sys.stderr)


WORDS: dict[str, tuple[Callable[[], Parser], Callable[[Arguments], int]]] = {
    "": (asked.measuring, _measure),
    "compare": (asked.comparing, _compare),
    "check": (asked.checking, _check),
    "report": (asked.reporting, _report),
    "list": (asked.listing, _list),
    "devices": (asked.showing_devices, _devices),
    "clean": (asked.cleaning, _clean),
    "reclass": (asked.reclassing, _reclass),
}

if __name__ == "__main__":
    sys.exit(main())
