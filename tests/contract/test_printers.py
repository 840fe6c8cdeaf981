"""Text from outside reaches a terminal or a page only cut and escaped, whichever printer shows it.

Two walks: over the calls that print, in the code, and over what is printed, with every text of a
store, a manifest and a checkpoint made hostile.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from exporter import cli as export_cli
from exporter.printable import LINE, plain
from profiles import cli as bench_cli
from profiles import tables
from profiles.numbers.budget import Judged
from profiles.numbers.compare import compare
from profiles.numbers.summary import summarise
from profiles.numbers.verdicts import HEAD
from profiles.pages import pages
from profiles.store import Store
from runtimes.device import Listed
from tests.unit.checkpoints.opcodes import state, tensor, zipped
from tests.unit.profile_making import COOL, PHONE, profile

ROOT = Path(__file__).parents[2]
EVIL = (
    "a\x1b]0;title\x07\nsam-bench: error: nothing\u202e\u2028<script>alert(1)</script>|[x](y)`c`"
    + "w" * 9000
)
"""A title, a line of ours, the other direction, a tag, a cell, a link, code, and no end."""
LONGEST = 12 * LINE
"""Characters of a line of a table: a dozen cells, and the room between them."""

# --------------------------------------------------------------------------- the code that prints

ESCAPING = {"printable", "one_line", "plain", "dumps"}
"""What may be printed: JSON of our own escapes, and so do the functions of `exporter.printable`."""
SHOWN_HERE = {"measured", "placements", "comparison", "budget", "listing", "devices"}
SHOWN_HERE |= {"reclassed", "join"}
"""Tables of whole texts, which the second walk reads."""
PRINTING = {"print", "write", "writelines"}


def _printing(call: ast.Call) -> bool:
    function = call.func
    if isinstance(function, ast.Name):
        return function.id == "print"
    if not isinstance(function, ast.Attribute) or function.attr not in PRINTING:
        return False
    owner = function.value
    return isinstance(owner, ast.Attribute) and owner.attr in {"stdout", "stderr"}


def _safe(node: ast.expr) -> bool:
    """Whether an expression gives text that is constant, a number, or escaped."""
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.JoinedStr):
        return all(map(_safe, node.values))
    if isinstance(node, ast.FormattedValue):
        return node.format_spec is not None or _safe(node.value)  # `:.3f` takes numbers alone
    if isinstance(node, ast.BinOp | ast.GeneratorExp):
        parts = [node.elt] if isinstance(node, ast.GeneratorExp) else [node.left, node.right]
        return all(map(_safe, parts))
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        return name in ESCAPING | SHOWN_HERE
    # The program's name in exporter/command.py, which its caller writes as a constant.
    return isinstance(node, ast.Name) and node.id == "program"


def _calls(file: Path) -> list[str]:
    tree = ast.parse(file.read_text("utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _printing(node)]
    unsafe = [call for call in calls if not all(map(_safe, call.args))]
    return [f"{file.relative_to(ROOT)}:{call.lineno}: {ast.unparse(call)[:120]}" for call in unsafe]


def test_whatever_is_printed_is_escaped_first():
    files = [
        file
        for folder in ("exporter", "runtimes", "android_harness", "ios_harness", "profiles")
        for file in (ROOT / folder).rglob("*.py")
        if "lab" not in file.relative_to(ROOT).parts
    ]
    assert len(files) > 100
    assert [line for file in files for line in _calls(file)] == []


@pytest.mark.parametrize(
    "text", ["print(name)", "print(f'{name}: 1')", "sys.stderr.write(str(error))", "print('a' + b)"]
)
def test_the_walk_sees_what_is_not_escaped(text):
    (call,) = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call) and _printing(n)]
    assert not all(map(_safe, call.args))


# ------------------------------------------------------------------------------- what is printed


WORDS = {"id", "device_class", "created", "time", "at", "better", "measure", "delegate"}
"""Texts that are words, times and ids of ours: a reader refuses others."""


def hostile(value):
    """The same data with EVIL in every free text."""
    if dataclasses.is_dataclass(value):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        free = {name: hostile(held) for name, held in fields.items() if name not in WORDS}
        return dataclasses.replace(value, **free)
    if isinstance(value, str):
        return value + EVIL
    if isinstance(value, tuple):
        return tuple(map(hostile, value))
    if isinstance(value, dict):
        return {key + EVIL: hostile(held) for key, held in value.items()}
    return value


def _shown(text: str) -> None:
    """Assert that a terminal can show it."""
    assert text
    for line in text.split("\n"):
        assert line.isprintable(), line[:300]
        assert len(line) <= LONGEST
        assert not line.startswith("sam-bench: error"), "a line that somebody else wrote"


ONE, OTHER = hostile(profile()), hostile(profile(ms=12.0, seed=1))
MADE = {
    "measured": lambda: tables.measured([summarise(ONE), summarise(OTHER)]),
    "placements": lambda: tables.placements([ONE, OTHER]),
    "listing": lambda: tables.listing([ONE, OTHER]),
    "comparison": lambda: tables.comparison(compare(ONE, OTHER, judging=False)),
    "budget": lambda: tables.budget([Judged(EVIL, EVIL, EVIL, "phone", EVIL, 1.0, 2.0)]),
    "devices": lambda: tables.devices(
        [Listed(EVIL, hostile(PHONE), hostile(COOL)), Listed(EVIL, None, None, EVIL)]
    ),
    "facts_line": lambda: tables.facts_line(hostile(PHONE)),
}


def test_a_hostile_profile_is_hostile():
    assert all(text.endswith(EVIL) for text in (ONE.bundle.name, ONE.device.model, ONE.label))
    assert ONE.device.device_class == "phone"


@pytest.mark.parametrize("kind", MADE)
def test_tables_are_printable(kind):
    _shown(MADE[kind]())


def test_every_table_is_tried():
    own = {n for n, f in vars(tables).items() if callable(f) and f.__module__ == tables.__name__}
    pieces = {"table", "felt", "cluster", "with_interval", "number", "reclassed_data"}
    pieces |= {"placement_cells", "cold_loads"}
    assert {n for n in own if not n.startswith("_")} - pieces - {"reclassed"} == set(MADE)


@pytest.mark.parametrize("name", pages())
def test_pages_hold_no_control_characters_tags_or_endless_lines(name):
    page = pages()[name].render([ONE, OTHER], "2026-11-29")
    assert plain(page) == page
    words = "\n".join(line for line in page.splitlines() if not line.startswith("    "))  # no code
    assert "<script" not in words
    assert "w" * (LINE + 1) not in page
    assert not re.search(r"(?m)^\W*sam-bench: error", page)
    if name == "markdown":
        assert not re.search(r"(?<!\\)[\[`]", words.partition("\n## ")[2]), (
            "a link or code of somebody else's"
        )
        rows = [line for line in page.splitlines() if line.startswith("|")]
        head = next(line for line in rows if line.startswith("| bundle | graph"))
        assert all(row.count("|") in (7, len(HEAD) + 1, head.count("|")) for row in rows)


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["compare", ONE.id, OTHER.id],
        ["check", "--budget", "phone"],
        ["report", "--markdown", "page.md"],
        ["list", "--device", EVIL],
        ["clean", EVIL[:200]],
        ["nonsense\x1b[2J\n"],
    ],
)
def test_sam_bench_prints_a_hostile_store(words, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    made = [profile(label=EVIL[:300], seed=seed, device=_free(PHONE)) for seed in (0, 1)]
    for one in made:
        Store(tmp_path / "s.jsonl").append(one)
    given = [{ONE.id: made[0].id, OTHER.id: made[1].id}.get(word, word) for word in words]
    store = [] if words[0] in ("clean", "nonsense\x1b[2J\n") else ["--store", "s.jsonl"]
    with contextlib.suppress(SystemExit):
        bench_cli.main([*given, *store])
    _streams(capfd)


def _free(device):
    return dataclasses.replace(device, model=EVIL[:300], system=EVIL[:300], build=EVIL[:300])


NAMES = ("w\x1b[2J", "w\nsam-export: done", "w" * 5000, "a" * 900, "\u202ew", "w\ud800")


@pytest.mark.parametrize("name", NAMES)
def test_sam_export_prints_a_hostile_checkpoint(name, tmp_path, capfd):
    file = tmp_path / "evil\x1b]0;\n.pt"
    encoded = name.encode("utf-8", "surrogatepass")
    pickled = state({"KEY": tensor((9,))}).replace(
        b"\x03\x00\x00\x00KEY", len(encoded).to_bytes(4, "little") + encoded
    )
    file.write_bytes(zipped(pickled))
    for words in (["--checkpoint", str(file)], ["--checkpoint", str(file), "--variant", "demo"]):
        with contextlib.suppress(SystemExit):
            assert export_cli.main([*words, "--target", "onnx"]) == 2
    for words in (["inspect", str(file)], ["inspect", str(file), "--json"]):
        with contextlib.suppress(SystemExit):
            assert export_cli.main(words) in (0, 2)
    _streams(capfd)


def test_a_traceback_is_escaped_too(capfd, tmp_path):
    file = tmp_path / "evil\x1b]0;.pt"
    file.write_bytes(b"nothing")
    assert export_cli.main(["--checkpoint", str(file), "--debug"]) == 2
    printed = capfd.readouterr().err
    assert "Traceback" in printed
    assert plain(printed) == printed


def _streams(capfd) -> None:
    out, err = capfd.readouterr()
    assert out or err
    for stream in (out, err):
        for line in stream.splitlines():
            assert line.isprintable(), line[:300]
            assert not line.startswith("sam-bench: error: nothing")
            assert line != "sam-export: done"
    assert all(len(line) <= LINE + 100 for line in err.splitlines())


def test_what_goes_past_every_printer_is_escaped_by_the_stream():
    code = (
        "import sys\nfrom exporter.streams import standard_streams\n"
        "with standard_streams(): sys.stdout.write('a\\x1b[2J\\tb\\n\\xe4 \\u56fe\\n')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        cwd=ROOT,
        check=True,
    )
    assert ran.stdout.decode() == "a\\x1b[2J\tb\nä 图\n"
