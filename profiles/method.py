"""A method as options of `sam-bench`: how it is asked for, read and spelt again."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Callable

from exporter.arguments import Parser, whole_number
from profiles import kinds
from runtimes.device import AUTO, Method, core_numbers
from runtimes.frames import OBJECTS
from runtimes.process import MOST_THREADS

DEFAULTS = Method()
EACH = "each"
_OPTIONS = {
    "--runs": "runs",
    "--seconds": "seconds",
    "--warmup": "warmup_seconds",
    "--repeats": "repeats",
    "--threads": "threads",
    "--cores": "cores",
    "--way": "way",
    "--delegate": "delegate",
    "--cool-limit": "cool_seconds",
    "--deadline": "deadline_seconds",
}
_MOST_OBJECTS = 16


def cores(text: str) -> str:
    """`fast`, `all` or core numbers: `4-7` becomes `4,5,6,7`, so both are one method."""
    if text in ("fast", "all"):
        return text
    try:
        return ",".join(str(number) for number in core_numbers(text))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"should be fast, all or numbers as 4,5,7 or 4-7, not {text!r}"
        ) from None


def objects(text: str) -> tuple[int, ...]:
    """`1,3` -> (1, 3): how many objects the frames of a video are tracked with."""
    words = text.split(",")
    numbers = [int(word) for word in words if re.fullmatch(r"[1-9]\d?", word, re.ASCII)]
    if len(numbers) < len(words) or len({*numbers}) < len(words) or max(numbers) > _MOST_OBJECTS:
        raise argparse.ArgumentTypeError(
            f"should be numbers of objects, each once, from 1 to {_MOST_OBJECTS}, as 1,3, not "
            f"{text!r}"
        )
    return tuple(sorted(numbers))


def seconds_from(least: float) -> Callable[[str], float]:
    """Make an argument's type: seconds, `least` or more."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not least <= value < 1e6:
            raise argparse.ArgumentTypeError(f"should be seconds from {least:g}, not {text!r}")
        return value

    return parse


def add_method(made: Parser) -> None:
    """Add the options of a method."""
    d, group = DEFAULTS, made.add_argument_group("method")
    add = group.add_argument

    def seconds(name: str, default: float, least: float, text: str) -> None:
        said = f"{text} ({default:g})"
        add(name, type=seconds_from(least), default=default, metavar="S", help=said)

    add(
        "--runs",
        type=whole_number(1, 10**6),
        default=d.runs,
        metavar="N",
        help=f"calls, at least ({d.runs})",
    )
    seconds("--seconds", d.seconds, 0, "time for these calls, at least")
    seconds("--warmup", d.warmup_seconds, 0, "the most to wait for stable times")
    add(
        "--repeats",
        type=whole_number(1, 1000),
        default=d.repeats,
        metavar="N",
        help=f"processes ({d.repeats})",
    )
    add(
        "--threads",
        type=whole_number(1, MOST_THREADS),
        default=d.threads,
        metavar="N",
        help=f"({d.threads})",
    )
    add(
        "--cores", type=cores, default=d.cores, help="fast (default), all, or numbers: 4,5,7 or 4-7"
    )
    ways, delegates = (AUTO, *kinds.ways()), kinds.delegates()
    add("--way", choices=ways, default=d.way, help=f"how the runner gets there ({d.way})")
    add(
        "--delegate",
        choices=(*delegates, EACH),
        help=f"what computes ({d.delegate}; Apple's: all); {EACH}: one after the other, and the "
        "wrong ones are kept with the reason",
    )
    add(
        "--objects",
        type=objects,
        default=d.objects,
        metavar="N,N",
        help="of a video bundle's tracked frames: every graph of a frame in one process, with a "
        f"full bank for each object ({','.join(map(str, OBJECTS))})",
    )
    for mode in kinds.modes():
        add(
            f"--{mode.name}",
            dest=mode_of(mode.name),
            action="store_true",
            help=mode.summary,
        )
    seconds("--cool-limit", d.cool_seconds, 0, "the most to wait for a cool device")
    seconds("--deadline", d.deadline_seconds, 1, "the most for one process")
    add("--no-check", action="store_true", help="no parity check before; the results say so")


def mode_of(name: str) -> str:
    """Return the attribute of the arguments that says whether a mode was asked for."""
    return f"mode_{name}"


def read_method(arguments: argparse.Namespace, delegate: str = DEFAULTS.delegate) -> Method:
    """Turn the options of `measuring` into a method; `delegate` is for those who name none."""
    return dataclasses.replace(
        DEFAULTS,
        runs=arguments.runs,
        seconds=arguments.seconds,
        warmup_seconds=arguments.warmup,
        repeats=arguments.repeats,
        threads=arguments.threads,
        cores=arguments.cores,
        way=arguments.way,
        delegate=arguments.delegate or delegate,
        modes=tuple(sorted(m.name for m in kinds.modes() if getattr(arguments, mode_of(m.name)))),
        cool_seconds=arguments.cool_limit,
        deadline_seconds=arguments.deadline,
        check=not arguments.no_check,
        objects=arguments.objects,
    )


def options(asked: Method) -> list[str]:
    """Spell a method as options of `sam-bench`, defaults left out."""
    given = []
    for option, name in _OPTIONS.items():
        value = getattr(asked, name)
        if value != getattr(DEFAULTS, name):
            given += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    given += ["--objects", ",".join(map(str, asked.objects))] if asked.objects else []
    given += [f"--{mode}" for mode in asked.modes]
    return given + ([] if asked.check else ["--no-check"])
