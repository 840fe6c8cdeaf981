"""Write the page of what parts and edits are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PRECISIONS = ("int8", "int8-weights", "int4-weights")
HEAD = """# What each part of the demo loses in few bits

`{command} --write`, {date}, torch {torch}, {cpu}. Rounding is simulated in torch, one part at a
time, the rest in float32: weights with a scale for each output channel (in 4 bits, for each 32
inputs of a linear layer; convolutions in 8), values in 256 steps between the least and the largest
on 8 other scenes. A cell has the mean IoU with the float32 network's masks over every kind of
prompt, its first percentile, and the share of cases in which another mask is chosen.
"""


def page(facts: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay the rows out.

    Args:
        facts: of the run, see `profiles.lab.bench.machine.circumstances`.
        rows: the fields of `Row`.
    """
    head = HEAD.format(
        command=facts["command"],
        date=facts["date"][:10],
        torch=facts["versions"]["torch"],
        cpu=facts["machine"]["cpu"],
    )
    parts = [row for row in rows if row["table"] == "parts"]
    blocks = [row for row in rows if row["table"] == "blocks"]
    edited = [row for row in rows if row["table"] == "edits"]
    return "\n".join(
        [
            head,
            "## Parts\n",
            *_by_precision(parts),
            "\n## Blocks\n",
            *_by_precision(blocks),
            "\n## Exact edits\n",
            "Of the whole encoder, but for the keys, which are the decoder's.\n",
            "| edit | precision | mean IoU | 1 % under | another mask |",
            "| --- | --- | --- | --- | --- |",
            *(_edit(row) for row in edited),
            "",
        ]
    )


def _by_precision(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "| part | share of its graph's weights | "
        + " | ".join(f"`{p}`" for p in PRECISIONS)
        + " |",
        "| --- | --- | --- | --- | --- |",
    ]
    for part in dict.fromkeys(row["part"] for row in rows):
        own = [row for row in rows if row["part"] == part]
        share = next((row["share"] for row in own if row["share"] is not None), None)
        shown = "-" if share is None else f"{share:.1%}"
        cells = {row["precision"] or "int8": _cell(row) for row in own}
        lines.append(
            f"| {part} | {shown} | " + " | ".join(cells.get(p, "-") for p in PRECISIONS) + " |"
        )
    return lines


def _cell(row: Mapping[str, Any]) -> str:
    return f"{row['mean']:.4f}, {row['p1']:.3f}, {row['others']:.1%}"


def _edit(row: Mapping[str, Any]) -> str:
    precision = f"`{row['precision']}`" if row["precision"] else "-"
    return (
        f"| {row['part']} | {precision} | {row['mean']:.4f} | {row['p1']:.3f} | "
        f"{row['others']:.1%} |"
    )
