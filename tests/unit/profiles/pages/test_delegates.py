"""One bundle measured with several delegates: every row and remark names the one that it is of."""

from __future__ import annotations

import dataclasses
import re

import pytest

from profiles import tables
from profiles.numbers.summary import summarise
from profiles.pages import html, markdown
from runtimes.device import Method
from tests.unit.profile_making import MS, profile

UNITS = ("cpuAndGPU", "cpuOnly")


def _measured(delegate: str, ms: float):
    made = profile(ms=ms, repeats=1, method=Method(delegate=delegate))
    (repeat,) = made.repeats
    first, *others = repeat.runs
    cold = dataclasses.replace(first, cold_load_ns=2300 * MS, notes=("odd",))
    return dataclasses.replace(made, repeats=(dataclasses.replace(repeat, runs=(cold, *others)),))


PROFILES = [_measured(delegate, 10.0 * (at + 1)) for at, delegate in enumerate(UNITS)]
SHOWN = {
    "terminal": lambda: tables.measured([summarise(p) for p in PROFILES]),
    "list": lambda: tables.listing(PROFILES),
    "markdown": lambda: markdown.render(PROFILES, "today"),
    "html": lambda: re.sub(r"</(tr|li)>", "\n", html.render(PROFILES, "today")),
}


@pytest.mark.parametrize("kind", SHOWN)
def test_every_row_of_a_bundle_names_what_computed_it(kind: str) -> None:
    lines = [line for line in SHOWN[kind]().splitlines() if "tiny-onnx-fp32" in line]
    lines = [line for line in lines if "sam-bench" not in line and "<svg" not in line]
    # The table of delegates has them as its columns.
    rows = [line for line in lines if kind != "html" or not _is_of_both(line)]
    assert len(rows) >= 2
    assert [line for line in rows if not any(unit in line for unit in UNITS)] == []


def _is_of_both(line: str) -> bool:
    return line.count("<td>") == 2 + len(UNITS) and not any(unit in line for unit in UNITS)


@pytest.mark.parametrize("kind", ["terminal", "markdown", "html"])
def test_the_first_load_on_the_device_is_told_beside_the_later_ones(kind: str) -> None:
    for unit in UNITS:
        said = f"tiny-onnx-fp32, {unit}: the first load of image_encoder on the device, which"
        assert f"{said} compiles it, took 2300 ms; later ones" in SHOWN[kind]()


def test_drawings_name_what_computed_a_bundle() -> None:
    page = SHOWN["html"]()
    for unit in UNITS:
        # Two graphs' hills and the memory; and the plot of size and time, which has room.
        assert page.count(f"<title>tiny-onnx-fp32, {unit}</title>") == 3
        assert page.count(f'class="soft tiny">{unit}</text>') == 3
        assert f">tiny-onnx-fp32, {unit}</text>" in page
