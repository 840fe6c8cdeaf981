"""`make counts`: multiply-accumulates and bundle sizes of every variant, for `--list` and README.

Networks are built without initialising their weights and run on shapes alone, so all of them
together take about a minute. Sizes come from `profiles/results/matrix.json`.
The tables of tensors by which a checkpoint is recognised are written too.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from exporter.arithmetic import multiply_accumulates
from exporter.errors import SamExportError
from exporter.listing import COUNTED, read_counts, readme_table, rows
from exporter.progress import Progress, on_stderr
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
        if "graphs" in row:
            total = sum(graph["bytes"] for graph in row["graphs"])
            found.setdefault(row["variant"], {})[f"{row['target']}-{row['precision']}"] = total
    return found


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
    arguments = parser.parse_args(argv)
    report = on_stderr()
    try:
        chosen = [load_variant(name) for name in arguments.variant] or list(variants().values())
        found = read_counts()
        for variant in [] if arguments.sizes_only else chosen:
            report(variant.name)
            found[variant.name] = count(variant)
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
    """Write the counts of existing variants, with their sizes, and the README's table."""
    measured = sizes(MATRIX)
    kept = {
        name: found[name] | {"bytes": measured.get(name, {})}
        for name in variants()
        if name in found
    }
    COUNTED.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    README.write_text(with_table(text, readme_table(rows())), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
