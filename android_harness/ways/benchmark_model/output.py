"""What TFLite's `benchmark_model` says: its result file, and its text in two dialects.

The classic tool prints microseconds on stdout, LiteRT's prints milliseconds on stderr with two
decimals; both can write a protobuf `BenchmarkResult`, which is exact and therefore preferred.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from exporter.errors import RunnerError

MS, US = 1_000_000, 1_000
"""In nanoseconds."""
_LATENCY, _MEMORY, _MISC = 2, 3, 4
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_PREFIX = re.compile(r"^(?:INFO|WARNING|ERROR|VERBOSE)?:? ?(?:[VDIWE] (?:tflite|litert)\s*: )?")
_STATISTICS = re.compile(r"(\w+)=([-+.\deE]+)")
_LITERT = re.compile(r"([A-Z][A-Za-z]+(?: [a-z]+)?(?: \([a-z]+\))?):\s+([\d.]+)(?: ms| MB)?")
_LITERT_RUNS = re.compile(r"Inference \(avg\):.*\((\d+) runs\)")
_SUMMARY = re.compile(
    r"Inference timings in us: Init: ([\d.e+]+), First inference: ([\d.e+]+), "
    r"Warmup \(avg\): ([\d.e+]+), Inference \(avg\): ([\d.e+]+)"
)
_PEAK = re.compile(r"Overall peak memory footprint \(MB\) via periodic monitoring: ([\d.e+]+)")
_NONE = re.compile(r"will not be executed by the delegate|Disallowed CPU fallback")
_ALL = re.compile(r"will be completely executed by the delegate")
_PART = re.compile(r"will be partially executed by the delegate w/ (\d+) delegate kernels")


@dataclass(frozen=True)
class Result:
    """One run of the tool. Times in nanoseconds; None is what it does not tell.

    Attributes:
        average: of the measured calls.
        runs: how many there were.
        peak_bytes: the most memory, if it watches it.
    """

    init: int
    first: int
    average: int
    median: int | None
    least: int | None
    most: int | None
    deviation: int | None
    runs: int | None
    peak_bytes: int | None


def refuse_fallback(text: str) -> tuple[str, ...]:
    """Notes on where a graph ran. RunnerError if the delegate ran nothing."""
    match = _NONE.search(text)
    if match:
        line = next(line for line in text.splitlines() if match[0] in line)
        raise RunnerError(f"the delegate was not used: {_plain(line)}")
    part = _PART.search(text)
    if part:
        return (f"the delegate ran part of the graph ({part[1]} kernels), the CPU the rest",)
    return ()


def names_delegate(text: str) -> bool:
    """Tell whether the classic tool says that its delegate took the graph, or a part of it."""
    return bool(_ALL.search(text) or _PART.search(text))


def parse_proto(content: bytes) -> Result:
    """Parse the result file. RunnerError if it is cut short or has no times."""
    try:
        parts = _fields(content)
        latency, memory, misc = (_fields(_bytes(parts, n)) for n in (_LATENCY, _MEMORY, _MISC))
    except (IndexError, struct.error, ValueError, TypeError):
        raise RunnerError("the result file of benchmark_model is cut short") from None
    average, init, first = (_ns(latency, n) for n in (1, 8, 9))
    if average is None or init is None or first is None:
        raise RunnerError("the result file of benchmark_model has no times")
    peak, runs = memory.get(3), misc.get(2)
    return Result(
        init=init,
        first=first,
        average=average,
        median=_ns(latency, 5),
        least=_ns(latency, 2),
        most=_ns(latency, 3),
        deviation=_ns(latency, 4),
        runs=runs if isinstance(runs, int) else None,
        peak_bytes=round(peak * 2**20) if isinstance(peak, float) else None,
    )


def parse_text(text: str) -> Result:
    """Either dialect. RunnerError if there are no times."""
    lines = [_plain(line) for line in text.splitlines()]
    classic = _classic("\n".join(lines))
    result = classic or _litert("\n".join(lines))
    if result is None:
        raise RunnerError("benchmark_model printed no times; its last lines say why")
    return result


def _classic(text: str) -> Result | None:
    summary = _SUMMARY.search(text)
    counts = [line for line in text.splitlines() if line.startswith("count=")]
    if summary is None or not counts:
        return None
    # The warm-up comes first; a run of one call has nothing but `curr`.
    values = {key: float(value) for key, value in _STATISTICS.findall(counts[-1])}
    init, first, _, average = (round(float(value) * US) for value in summary.groups())
    peak = _PEAK.search(text)
    take = {key: round(value * US) for key, value in values.items()}
    return Result(
        init=init,
        first=first,
        average=average,
        median=take.get("median"),
        least=take.get("min"),
        most=take.get("max"),
        deviation=take.get("std"),
        runs=int(values["count"]),
        peak_bytes=round(float(peak[1]) * 2**20) if peak else None,
    )


def _litert(text: str) -> Result | None:
    values = {name: float(value) for name, value in _LITERT.findall(text)}
    wanted = ("Model initialization", "Warmup (first)", "Inference (avg)")
    if any(name not in values for name in wanted):
        return None
    init, first, average = (round(values[name] * MS) for name in wanted)
    runs = _LITERT_RUNS.search(text)
    take = {name: round(value * MS) for name, value in values.items()}
    return Result(
        init=init,
        first=first,
        average=average,
        median=None,
        least=take.get("Inference (min)"),
        most=take.get("Inference (max)"),
        deviation=take.get("Inference (std)"),
        runs=int(runs[1]) if runs else None,
        peak_bytes=round(values["Peak memory"] * 2**20) if "Peak memory" in values else None,
    )


def _plain(line: str) -> str:
    """Without the prefix of a log, or of a source line in brackets."""
    return re.sub(r"^\[[\w.]+:\d+\] ", "", _PREFIX.sub("", line.strip(), count=1))


def _fields(content: bytes) -> dict[int, int | float | bytes]:
    """Protobuf's wire format: field number -> value; the last one wins."""
    found: dict[int, int | float | bytes] = {}
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            found[number], at = _varint(content, at)
        elif kind == _BYTES:
            size, at = _varint(content, at)
            if at + size > len(content):
                raise ValueError("a field goes on after the end")
            found[number], at = content[at : at + size], at + size
        elif kind == _FIXED32:
            found[number], at = struct.unpack_from("<f", content, at)[0], at + 4
        elif kind == _FIXED64:
            found[number], at = struct.unpack_from("<d", content, at)[0], at + 8
        else:
            raise ValueError(f"no wire type {kind}")
    return found


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _bytes(fields: dict[int, int | float | bytes], number: int) -> bytes:
    value = fields.get(number, b"")
    if not isinstance(value, bytes):
        raise TypeError("a message should be here")
    return value


def _ns(fields: dict[int, int | float | bytes], number: int) -> int | None:
    value = fields.get(number)
    return round(value * MS) if isinstance(value, float) else None
