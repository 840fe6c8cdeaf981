"""Profiles -> Markdown that can be kept beside the code: numbers, how they came, what to doubt."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from exporter.printable import one_line, printable
from profiles.method import options
from profiles.numbers.placement import fallen_text, placements, share_text
from profiles.numbers.summary import GraphSummary, Summary, device_name, summarise
from profiles.numbers.verdicts import HEAD, verdicts
from profiles.pages import Page
from profiles.schema import Profile
from profiles.tables import cold_loads, facts_line, number, placement_cells, with_interval
from runtimes.device import Condition, DeviceFacts, Method

GRAPHS = (
    *(
        "bundle",
        "graph",
        "runtime",
        "delegate",
        "ms a call: median (95 %)",
        "p90",
        "p99",
        "first call, ms",
    ),
    *("load, ms", "GMAC/s", "cores used"),
)
FELT = ("bundle", "delegate", "first mask, ms", "click, ms", "peak memory, MB", "size, MB")


def render(profiles: Sequence[Profile], created: str) -> str:
    """Render a section for each device and method; every number stands beside its class.

    Args:
        profiles: at least one.
        created: when, for the head of the page.
    """
    groups: dict[tuple[DeviceFacts, Method], list[Profile]] = {}
    for profile in profiles:
        groups.setdefault((profile.device, profile.method), []).append(profile)
    sections = [_section(*key, of) for key, of in groups.items()]
    for device in dict.fromkeys(profile.device for profile in profiles):
        sections += _placements(device, [p for p in profiles if p.device == device])
    head = (
        "# What these bundles take on these devices\n\n"
        f"Written by `sam-bench report --markdown`, {created}. "
        "Numbers of different classes are never compared."
    )
    return "\n".join([head, *sections])


def _section(device: DeviceFacts, method: Method, profiles: Sequence[Profile]) -> str:
    summaries = [summarise(profile) for profile in profiles]
    name, mark = device_name(profiles[0]), device.device_class
    lines = [
        f"\n## {_text(name)} ({_text(mark)})\n",
        f"{_text(facts_line(device))}. Measured {_when(profiles)} with\n",
        f"    {one_line(_command(device, method, profiles))}\n",
        f"{_load(profiles)} Tools: {_text(_tools(profiles))}.\n",
        *_table(FELT, (_felt(s) for s in summaries)),
        "",
        *_table(GRAPHS, (_graph(s, graph) for s in summaries for graph in s.graphs)),
        "",
        *(
            f"- {_text(f'{s.called}: {note}')}"
            for profile, s in zip(profiles, summaries, strict=True)
            for note in (*s.marks, *cold_loads(s), *_placed(profile))
        ),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _placements(device: DeviceFacts, profiles: Sequence[Profile]) -> list[str]:
    """Set what computes each bundle side by side, if there is a choice."""
    rows = [placement_cells(v) for v in verdicts(profiles)]
    if not rows:
        return []
    name = f"{device_name(profiles[0])} ({device.device_class})"
    return [f"\n## Placements on {_text(name)}\n", *_table(HEAD, rows), ""]


def _felt(s: Summary) -> Iterable[str]:
    mark = s.device_class
    values = (with_interval(s.first_mask_ms), with_interval(s.click_ms), number(s.peak_mb))
    return (s.bundle, s.delegate, *(_of(value, mark) for value in values), number(s.bundle_mb))


def _graph(s: Summary, graph: GraphSummary) -> Iterable[str]:
    ms, mark = graph.ms, s.device_class
    values = (
        with_interval(ms) if graph.timed else "not timed",
        *(number(value) for value in ((ms.p90, ms.p99) if ms else (None, None))),
        *(number(value) for value in (graph.first_ms, graph.load_ms, graph.gmacs_per_s)),
        number(graph.cores_used),
    )
    what = (s.bundle, graph.graph, graph.runtime, s.delegate)
    return (*what, *(_of(value, mark) for value in values))


def _placed(profile: Profile) -> Iterable[str]:
    """Say where operations run, a line for each graph, and which run elsewhere than they should."""
    for placement in placements(profile):
        shares = (f"{share.unit} {share_text(share)}" for share in placement.shares)
        yield f"{placement.graph}: operations by unit: {', '.join(shares)}"
        if placement.fallen:
            yield fallen_text(placement)


def _of(value: str, device_class: str) -> str:
    return f"{value} {device_class}" if value[0].isdigit() else value


def _table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(map(_cell, line))} |" for line in lines]


def _cell(text: str) -> str:
    return _text(printable(text)).replace("|", "/")


def _text(words: str) -> str:
    """Words from outside as one line that Markdown takes for words: no tag, link, code, picture."""
    escaped = one_line(words).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{c}" if c in "`[]!*" else c for c in escaped)


def _when(profiles: Sequence[Profile]) -> str:
    days = sorted({profile.created[:10] for profile in profiles})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def _command(device: DeviceFacts, method: Method, profiles: Sequence[Profile]) -> str:
    names = dict.fromkeys(profile.bundle.name for profile in profiles)
    place = shlex.quote(printable(device.device))
    return " ".join(["sam-bench", *names, "--device", place, *options(method)])


def _load(profiles: Sequence[Profile]) -> str:
    """Show the other load on the host: the least and the most around the repeats."""
    repeats = [repeat for profile in profiles for repeat in profile.repeats]
    around: list[Condition] = [c for r in repeats for c in (r.before, r.after)]
    told = [c.load for c in around if c.load is not None]
    return f"Load {min(told):.1f}..{max(told):.1f} around the repeats." if told else ""


def _tools(profiles: Sequence[Profile]) -> str:
    found = sorted({f"{name} {version}" for p in profiles for name, version in p.tools.items()})
    return ", ".join(found)


PAGE = Page(("--markdown",), "tables in Markdown, to keep beside code", render)
