"""Rows -> Markdown and a drawing, from plain data: input-size.json can be rendered again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from profiles.lab.bench.table import markdown
from profiles.lab.precision.table import alone
from profiles.pages.html.charts import Mark, Side, plot

DRAWING = "input-size.svg"
ENCODER = "image_encoder"
Row = Mapping[str, Any]


def render(results: Mapping[str, Any]) -> str:
    """Render the whole page."""
    rows, machine = results["rows"], results["machine"]
    head = [
        "input",
        "encoder, G multiply-accumulates",
        "decoder",
        "encoder's time over the published size's",
        "decoder's",
        "mean IoU with the objects",
        *results["kinds"],
    ]
    return "\n".join(
        [
            "# What another input size costs, and saves",
            "",
            f"The embedded demo model, trained at {results['published']} pixels alone, exported "
            f"with `--input-size` and asked on {results['scenes']} scenes that it was not trained "
            f"on: {results['masks']} masks, of all kinds of prompts together and of each kind.",
            "",
            "- the objects are known, so that IoU is the network's own accuracy at that size, not "
            "its likeness to another network",
            "- times are medians of the ratios of calls in turns with one thread, ONNX in fp32. "
            "**Host timings, not phone timings**, beside whatever else ran there",
            "- a network loses what its weights learned of one size; one that is trained at the "
            "smaller size keeps more",
            "",
            markdown(head, [_cells(row, results["kinds"]) for row in rows]),
            "",
            f"![mean IoU against the encoder's time]({DRAWING})",
            "",
            f"- command: `{results['command']}`, {results['date']} (UTC)",
            f"- machine: {machine['cpu']}, {machine['cores']} cores, {machine['system']}",
            "",
        ]
    )


def _cells(row: Row, kinds: Sequence[str]) -> list[str]:
    work, ratios = row["multiply_accumulates"], row["ratios"]
    return [
        str(row["side"]),
        *(f"{work[graph] / 1e9:.3g}" for graph in (ENCODER, "mask_decoder")),
        *(f"{ratios[graph]:.2f}" for graph in (ENCODER, "mask_decoder")),
        f"{row['iou']:.4f}",
        *(f"{row['kinds'][kind]:.3f}" for kind in kinds),
    ]


def draw(results: Mapping[str, Any]) -> str:
    """Draw mean IoU with the objects against the encoder's time, as a file."""
    rows = results["rows"]
    marks = [
        Mark(
            f"{row['side']}",
            "onnx",
            "",
            f"{row['ratios'][ENCODER]:.2f}, IoU {row['iou']:.4f}",
            (row["ratios"][ENCODER], row["iou"]),
        )
        for row in rows
    ]
    low, high = (pick(row["iou"] for row in rows) for pick in (min, max))
    room = max(0.1 * (high - low), 1e-3)
    across = Side("encoder's time on this host, of the published size's", 0, _wide(rows))
    up = Side("mean IoU with the objects", low - room, min(1.0, high + room))
    return alone(plot(marks, "mean IoU against the encoder's time", across, up))


def _wide(rows: Sequence[Row]) -> float:
    return 1.1 * max(float(row["ratios"][ENCODER]) for row in rows)
