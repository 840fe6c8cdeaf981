"""`make counts`: multiply-accumulates and bundle sizes of every variant, for `--list` and README.

Networks are built without initialising their weights and run on shapes alone, so all of them
together take about a minute. Sizes come from `profiles/results/matrix.json`, and with
`--lower TARGET` from lowering alone where the matrix has no row: they hardly depend on the weights.
The tables of tensors by which a checkpoint is recognised are written too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from exporter.arithmetic import multiply_accumulates
from exporter.errors import SamExportError
from exporter.listing import COUNTED, read_counts, readme_table, rows
from exporter.progress import Progress, on_stderr
from exporter.targets import names
from exporter.variants import Variant, load_variant, variants

ROOT = Path(__file__).resolve().parents[3]
MATRIX = ROOT / "profiles" / "results" / "matrix.json"
README = ROOT / "README.md"
START, END = "<!-- variants: written by make counts -->", "<!-- end of variants -->"


def count(variant: Variant) -> dict[str, Any]:
    """Count `parameters`, and each graph's `multiply_accumulates` at batch 1 and default slots."""
    from exporter.checkpoints.tables import NoInitialisation
    from exporter.graphs import graphs_of
    from exporter.host_rules import prompt_rule
    from exporter.models.layers import freeze

    with NoInitialisation():
        network = variant.layouts[0].build()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    graphs = graphs_of(freeze(network), variant, prompt_rule(variant))
    macs = {graph.spec.name: multiply_accumulates(graph) for graph in graphs}
    return {"parameters": parameters, "multiply_accumulates": macs}


def sizes(matrix: Path) -> dict[str, dict[str, int]]:
    """Read variant -> TARGET-PRECISION -> bytes of the graphs' files, for rows that have them."""
    if not matrix.is_file():
        return {}
    found: dict[str, dict[str, int]] = {}
    for row in json.loads(matrix.read_text(encoding="utf-8"))["rows"]:
        if "graphs" in row and not row.get("video"):
            total = sum(graph["bytes"] for graph in row["graphs"])
            found.setdefault(row["variant"], {})[f"{row['target']}-{row['precision']}"] = total
    return found


def lowered_size(name: str, target: str) -> int:
    """Lower every graph in fp16 with random weights; return the files' bytes."""
    import torch

    from exporter.graphs import graphs_of
    from exporter.host_rules import prompt_rule
    from exporter.models.layers import freeze
    from exporter.precision import load_precision
    from exporter.targets import Options, load_target

    variant = load_variant(name)
    network = freeze(variant.layouts[0].build())
    with torch.no_grad():  # equal tensors, as they are initialised, would be stored once
        for parameter in network.parameters():
            parameter.normal_(std=0.02)
    lower, total = load_target(target).lower, 0
    for graph in graphs_of(network, variant, prompt_rule(variant)):
        with tempfile.TemporaryDirectory() as folder:
            total += lower(graph, load_precision("fp16"), Path(folder), Options()).bytes
    return total


def _lower(
    variant: Variant, target: str, found: Mapping[str, Any], report: Progress
) -> dict[str, Any]:
    """Lower what has no size yet, in a process of its own: memory comes back."""
    known, form = found[variant.name].get("bytes", {}), f"{target}-fp16"
    if form in known:
        return {}
    report(f"{variant.name}: lowering for {target}")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return {form: pool.submit(lowered_size, variant.name, target).result()}


def with_table(readme: str, table: str) -> str:
    """Replace the table of variants between the README's two marks."""
    before, start, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise SamExportError(f"the README is missing a mark: {START} or {END}")
    return f"{before}{START}\n{table}\n{END}{after}"


def main(argv: Sequence[str] | None = None) -> int:
    """Count and write."""
    parser = argparse.ArgumentParser("python -m profiles.lab.matrix.counts", description=__doc__)
    parser.add_argument("variant", nargs="*", help="these (default: all)")
    parser.add_argument("--sizes-only", action="store_true", help="count nothing again")
    parser.add_argument("--lower", choices=names(), metavar="TARGET", help="see above")
    arguments = parser.parse_args(argv)
    report = on_stderr()
    try:
        chosen = [load_variant(name) for name in arguments.variant] or list(variants().values())
        found = read_counts()
        for variant in [] if arguments.sizes_only else chosen:
            report(variant.name)
            earlier = found.get(variant.name, {})
            found[variant.name] = earlier | count(variant)
        write(found)
        for variant in chosen if arguments.lower else []:
            made = _lower(variant, arguments.lower, found, report)
            found[variant.name]["bytes"] = found[variant.name].get("bytes", {}) | made
            write(found)
        if not arguments.sizes_only:
            _write_tables(report)
    except SamExportError as error:
        sys.stderr.write(f"counts: error: {error}\n")
        return error.exit_status
    return 0


def _write_tables(report: Progress) -> None:
    from exporter.checkpoints.tables import write_tables

    report("names and shapes of every layout's tensors")
    write_tables()


def write(found: Mapping[str, dict[str, Any]]) -> None:
    """Write the counts of existing variants, with their sizes, and the README's table.

    The matrix's sizes go before earlier ones.
    """
    measured = sizes(MATRIX)
    kept = {
        name: found[name] | {"bytes": found[name].get("bytes", {}) | measured.get(name, {})}
        for name in variants()
        if name in found
    }
    COUNTED.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    README.write_text(with_table(text, readme_table(rows())), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
