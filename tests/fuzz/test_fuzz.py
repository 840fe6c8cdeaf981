"""Every target's corpus, and a few hundred mutations of it that are the same every time."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from exporter.errors import CheckpointError
from tests.fuzz.attempt import attempt, peak
from tests.fuzz.campaign import Count
from tests.fuzz.mutate import Mutator
from tests.fuzz.page import write
from tests.fuzz.target import Target, load, names, seeds

MUTATIONS = 300


@pytest.mark.parametrize("name", names())
def test_the_corpus_is_read_or_refused(name, tmp_path):
    target = load(name)
    outcomes = {file: attempt(target, data, tmp_path) for file, data in seeds(name).items()}
    assert {file: o.finding for file, o in outcomes.items() if o.finding} == {}
    assert any(o.accepted for o in outcomes.values()), "a corpus needs an input that is read"


@pytest.mark.parametrize("name", names())
def test_mutations_are_read_or_refused(name, tmp_path):
    target = load(name)
    mutator = Mutator(target, list(seeds(name).values()), seed=0)
    findings = {}
    for number in range(MUTATIONS):
        outcome = attempt(target, mutator.next(), tmp_path)
        if outcome.finding:
            findings[number] = outcome.finding
    assert findings == {}


def _grow(_data: bytes, _folder: Path) -> None:
    # Far over the limit: a system short of memory takes pages of a large process meanwhile.
    assert len(bytearray(b"x") * 900_000_000) > 0


def _spin(_data: bytes, _folder: Path) -> None:
    while True:
        pass


def _refuse(message: str):
    def read(_data: bytes, _folder: Path) -> None:
        raise CheckpointError(message)

    return read


@pytest.mark.parametrize(
    ("read", "found"),
    [
        (lambda *_: {}["key"], "KeyError"),
        (_spin, "processor time"),
        (_refuse("x" * 200_000), "a message of 200000"),
        (_refuse("a line\nof two"), ""),
        (lambda *_: None, ""),
    ],
)
def test_the_judge_finds_each_kind(read, found, tmp_path):
    outcome = attempt(Target(read, seconds=0.2 if read is _spin else 60), b"", tmp_path)
    assert outcome.finding.startswith(found) or found in outcome.finding
    assert bool(outcome.finding) == bool(found)


@pytest.mark.skipif(not peak(), reason="the system does not say a process's peak of memory")
def test_the_judge_finds_memory(tmp_path):
    # In a process of its own: some systems cannot forget a peak, and an earlier test may have
    # had a higher one here.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as child:
        outcome = child.submit(attempt, Target(_grow, seconds=60), b"", tmp_path).result()
    assert outcome.finding.startswith("grew by")


def test_the_page_keeps_the_other_rows(tmp_path):
    page = tmp_path / "fuzz.md"
    write(Count("b", tried=1), 0, page)
    write(Count("a", tried=2), 0, page)
    write(Count("b", tried=3000, findings={"x": page}), 1, page)
    rows = [line for line in page.read_text().splitlines() if line.startswith("| `")]
    assert [row.split(" | ")[:2] for row in rows] == [["| `a`", "2"], ["| `b`", "3,000"]]
    assert rows[1].split(" | ")[4] == "1"
