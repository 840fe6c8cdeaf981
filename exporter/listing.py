"""List the variants, for `--list` and the README. No torch: `--list` must answer at once.

Counts come from `counted.json` beside the families; `make counts` counts again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from exporter import catalog
from exporter.precision import names as precision_names
from exporter.precision import precisions
from exporter.variants import variants

TARGETS = "exporter.targets"
"""The catalogue of targets, not imported: each takes longer than this table."""
COUNTED = Path(__file__).with_name("variants") / "counted.json"
SHOWN = "fp16"
"""The precision whose sizes the tables show: the default."""
HEAD = ("variant", "family", "params", "GMACs", "input", "licence", "fp16 MB", "checkpoint", "from")


def read_counts(path: Path = COUNTED) -> dict[str, dict[str, Any]]:
    """Read, by variant: `parameters`, `multiply_accumulates` by graph, `bytes` by bundle."""
    if not path.is_file():
        return {}
    counts: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return counts


def rows() -> list[dict[str, Any]]:
    """Collect all data on each variant, as plain values.

    `multiply_accumulates` is graph -> number in one call with batch 1 and 8 slots; `bundle_bytes`
    is TARGET-PRECISION -> bytes of the graphs' files, for the bundles that were measured.
    """
    counts, names = read_counts(), list(catalog.names(TARGETS))
    precisions = list(precision_names())
    data = []
    for variant in variants().values():
        count = counts.get(variant.name, {})
        more = {
            "copyleft": "AGPL" in variant.licence.name,
            "licence_url": variant.licence.url,
            "repository": variant.repository,
            "paper": variant.paper,
            "multiply_accumulates": count.get("multiply_accumulates", {}),
            "bundle_bytes": count.get("bytes", {}),
            "targets": names,
            "precisions": precisions,
        }
        data.append(variant.row() | more)
    return data


def listing(*, as_json: bool) -> str:
    """List every variant: a table, or JSON with all data."""
    data = rows()
    if as_json:
        kept = [precision.row() for precision in precisions()]
        return json.dumps({"variants": data, "precisions": kept}, indent=2)
    table = [HEAD, *map(_cells, data)]
    widths = [max(len(row[i]) for row in table) for i in range(len(HEAD))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in table]
    order = ", ".join(catalog.names(TARGETS))
    notes = (
        "GMACs: 10^9 multiply-accumulates in one call of each graph, image_encoder + mask_decoder "
        "if there are two.",
        f"MB: the graphs' files of an {SHOWN} bundle for {order}; empty if not measured.",
        *(f"{precision.name}: {precision.summary}." for precision in precisions()),
        f"--video: {', '.join(row['name'] for row in data if row['video'])}.",
    )
    return "\n".join([*(line.rstrip() for line in lines), "", *notes])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["name"],
        row["family"],
        f"{row['parameters'] / 1e6:.1f} M",
        macs(row),
        " x ".join([str(row["input_size"])] * (3 if row["volume"] else 2)),
        licence(row),
        sizes(row, "/"),
        " and ".join(name for name, _ in files(row)),
        " and ".join(url for _, url in files(row)) or row["repository"],
    )


def files(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List name and address of each published file; a decoder may have its own."""
    pairs = [(row[f"{part}checkpoint"], row[f"{part}url"]) for part in ("", "decoder_")]
    return [(name, url) for name, url in pairs if name]


def licence(row: Mapping[str, Any]) -> str:
    """Name a licence and its restrictions."""
    marks = [] if row["commercial_use"] else ["not commercial"]
    marks += ["copyleft: covers the app"] if row["copyleft"] else []
    return f"{row['licence']} ({', '.join(marks)})" if marks else str(row["licence"])


def three_digits(number: float) -> str:
    """Format to three digits, never with an exponent: `1.29`, `97.7`, `409`, `1290`."""
    return f"{number:.3g}" if number < 1000 else f"{number:.0f}"


def macs(row: Mapping[str, Any]) -> str:
    """Format 10**9 multiply-accumulates of each graph, in order: `38.4 + 1.88`."""
    billions = (number / 1e9 for number in row["multiply_accumulates"].values())
    return " + ".join(map(three_digits, billions))


def sizes(row: Mapping[str, Any], between: str) -> str:
    """Format MB of each target's bundle in the default precision: `20/21/20`; empty if unknown."""
    known = [row["bundle_bytes"].get(f"{target}-{SHOWN}") for target in row["targets"]]
    if not any(known):
        return ""
    return between.join("-" if size is None else three_digits(size / 1e6) for size in known)


def readme_table(data: Iterable[Mapping[str, Any]]) -> str:
    """Format the README's table of variants."""
    order = ", ".join(catalog.names(TARGETS))
    head = ["variant", "parameters", "GMACs", "input", f"{SHOWN} MB ({order})", "licence"]
    lines: list[Sequence[str]] = [[*head, "checkpoint"], ["---"] * (len(head) + 1)]
    for row in data:
        links = [f"[{name}]({url})" if url else "in this repository" for name, url in files(row)]
        if row["url"].endswith(".zip"):
            links.append("unpack the .zip, then `--checkpoint`")
        name, family, parameters, macs_, side, terms, *_ = _cells(row)
        del family
        lines.append(
            [f"`{name}`", parameters, macs_, side, sizes(row, ", "), terms, ", ".join(links)]
        )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
