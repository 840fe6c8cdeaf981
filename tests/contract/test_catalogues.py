"""Every file in a catalogue folder keeps its folder's contract, and the README knows it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import exporter
from exporter import catalog, targets
from exporter.checkpoints.tables import NoInitialisation
from exporter.cli import listing
from exporter.precision import load_precision
from exporter.precision import names as precision_names
from exporter.targets import Options, Target, load_target
from exporter.variants import Detections, Slots, Variant, VolumeSlots, families, variants
from runtimes.engines import engine_kinds

ROOT = Path(exporter.__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LONGEST_FILE = 400


@pytest.mark.parametrize("family", families())
def test_a_family_file_defines_variants_of_that_family(family: str) -> None:
    found = catalog.load("exporter.variants", family, "VARIANTS")
    assert found
    for variant in found:
        assert isinstance(variant, Variant)
        assert variant.family == family


@pytest.mark.parametrize("variant", variants().values(), ids=lambda v: v.name)
def test_a_variant_is_what_it_says(variant: Variant) -> None:
    with NoInitialisation():  # as for a checkpoint
        sam = variant.layouts[0].build()
    assert sum(p.numel() for p in sam.parameters()) == variant.parameters
    assert not sam.training
    if isinstance(variant.prompting, Slots):
        stride = 1 if variant.prompting.point_or_box else 4
        *_, rows, columns = variant.prompting.embedding
        # Of a volume, rows hold two axes.
        longer = columns if isinstance(variant.prompting, VolumeSlots) else max(rows, columns)
        assert variant.mask.low_res_size == stride * longer
    if not isinstance(variant.prompting, Detections):
        tokens = set(range(variant.prompting.mask_tokens))
        assert set(variant.mask.multi) < tokens or set(variant.mask.multi) == tokens == {0}
    assert variant.published.url.startswith("https://") or variant.name == "demo"


@pytest.mark.parametrize("options", [Options(), Options(image_input="tensor")], ids=str)
@pytest.mark.parametrize("variant", variants().values(), ids=lambda v: v.name)
def test_every_target_can_hold_the_padding(variant: Variant, options: Options) -> None:
    published = variant.preprocess
    for target in map(load_target, targets.names()):
        rule = target.preprocess(published, options)
        if not target.takes_bytes(options):
            assert rule == published
            continue
        assert rule.pad_value == published.pad_value
        whole = all(value.is_integer() for value in rule.pad_value)
        by_host = rule.resize == "stretch" or whole
        assert rule.padded_by == ("host" if by_host else "graph")


@pytest.mark.parametrize("name", targets.names())
def test_a_target_has_an_engine_and_keeps_its_precisions(name: str) -> None:
    target: Target = load_target(name)
    assert target.name == name
    assert [load_precision(p).name for p in target.lowers] == list(target.lowers)
    assert all(target.platform(Options(), precision) for precision in target.lowers)
    assert target.versions().keys() == set(target.packages)
    assert any(kind.target == name for kind in engine_kinds())


def test_the_readme_lists_every_variant_target_and_precision() -> None:
    for variant in variants().values():
        assert f"`{variant.name}`" in README
        assert variant.licence.name in README
    for name in (*targets.names(), *precision_names()):
        assert f"`{name}`" in README


def test_the_list_as_json_has_every_variant() -> None:
    data = json.loads(listing(as_json=True))
    assert [row["name"] for row in data["variants"]] == list(variants())
    for row in data["variants"]:
        assert {"family", "parameters", "input_size", "licence", "checkpoint", "targets"} <= set(
            row
        )


@pytest.mark.parametrize(
    ("module", "option"),
    [("exporter.cli", "--help"), ("exporter.cli", "--list"), ("runtimes.cli", "--help")],
)
def test_a_command_answers_without_its_toolkits(module: str, option: str) -> None:
    code = (
        f"import sys; from {module} import main\n"
        f"try: main(['{option}'])\n"
        "except SystemExit: pass\n"
        "bad = {'torch', 'coremltools', 'onnxruntime', 'litert_torch', 'jax'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_every_option_is_in_the_readme_or_explains_itself() -> None:
    for module in ("exporter.cli", "runtimes.cli"):
        ran = subprocess.run(
            [sys.executable, "-m", module, "--help"], check=True, capture_output=True, text=True
        )
        assert "examples:" in ran.stdout
        for line in re.findall(r"^  (--[a-z-]+)[^\n]*$", ran.stdout, re.MULTILINE):
            described = re.search(rf"{line}\b[^\n]*(\n {{6,}}\S|\s{{2,}}\S)", ran.stdout)
            assert described, f"{module} {line} has no help text"


def test_no_file_outgrows_a_reader() -> None:
    tops = ("exporter", "runtimes", "android_harness", "ios_harness", "profiles", "tests")
    sources = [p for top in tops for p in (ROOT / top).rglob("*.py")]
    long = {str(p): n for p in sources if (n := len(p.read_text().splitlines())) > LONGEST_FILE}
    assert not long
