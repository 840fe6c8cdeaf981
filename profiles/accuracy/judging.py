"""Judge a bundle on the user's pictures, in a process of its own: see `exporter.evaluation`.

    python -m profiles.accuracy.judging FOLDER < WORK

runs the bundle as an app would, one picture at a time, and answers with the figures of every kind
of prompt. The page that it writes shows the worst masks beside torch's.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from exporter import child
from exporter.bundle.folder import Bundle, read_manifest
from exporter.bundle.manifest import EvaluationFigure
from exporter.bundle.preprocess import Bools, Bytes
from exporter.bundle.prompts import Prompts
from profiles.accuracy.overlays import Panel, jpeg
from profiles.pages.html.markup import Markup, element, html_table, page, picture
from runtimes.gate import iou
from runtimes.segmenters import Segmenter, open_segmenter

SHOWN = 12
"""Masks on the page: those with the lowest IoU, with the label if there is one, else with torch."""


@dataclass(frozen=True)
class Mask:
    """One ask, the mask that the bundle gave, and what it is compared with.

    Attributes:
        name: of the picture.
        rgb: (H, W, 3), the picture.
        truth: the labelled object, or None.
    """

    name: str
    kind: str
    rgb: Bytes
    prompts: Prompts
    truth: Bools | None
    torch: Bools
    own: Bools

    @property
    def agreement(self) -> float:
        """IoU of the bundle's mask with torch's."""
        return iou(self.own, self.torch)

    @property
    def ious(self) -> tuple[float, float] | None:
        """IoU of torch's mask and of the bundle's with the label; None without one."""
        if self.truth is None:
            return None
        return iou(self.torch, self.truth), iou(self.own, self.truth)

    @property
    def merit(self) -> float:
        """The least is shown first."""
        return self.agreement if self.ious is None else min(self.agreement, self.ious[1])


@dataclass
class Tally:
    """What was measured so far, by kind of prompt, and the worst masks."""

    agreements: dict[str, list[float]] = field(default_factory=dict)
    known: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    worst: list[tuple[float, int, Mask]] = field(default_factory=list)
    count: int = 0

    def add(self, mask: Mask) -> None:
        """Take one mask; only the worst are kept."""
        self.agreements.setdefault(mask.kind, []).append(mask.agreement)
        if mask.ious is not None:
            self.known.setdefault(mask.kind, []).append(mask.ious)
        self.count += 1
        heapq.heappush(self.worst, (-mask.merit, -self.count, mask))
        if len(self.worst) > SHOWN:
            heapq.heappop(self.worst)

    def figures(self) -> Iterator[EvaluationFigure]:
        """Make the means of each kind of prompt."""
        for kind, values in self.agreements.items():
            known = self.known.get(kind)
            torch, own = np.mean(known, axis=0).tolist() if known else (None, None)
            mean = float(np.mean(values))
            yield EvaluationFigure(kind, len(values), torch, own, mean, min(values))


def judge(segmenter: Segmenter, rows: Sequence[Mapping[str, Any]]) -> Tally:
    """Ask a bundle everything that torch was asked; see `exporter.evaluation.Asked`."""
    tally = Tally()
    for row in rows:
        width, height = row["size"]
        with np.load(row["file"], allow_pickle=False) as arrays:
            rgb, packed = arrays["rgb"], arrays["objects"]
        with np.load(row["torch"], allow_pickle=False) as arrays:
            expected = arrays["masks"]
        segmenter.set_image(rgb)
        for at, ask in enumerate(row["asks"]):
            prompts = _prompts(ask["prompts"])
            made = segmenter.predict_prompts(prompts)
            own = made.masks[made.best] if len(made.masks) else np.zeros((height, width), np.bool_)
            truth = None if ask["object"] is None else _bits(packed[ask["object"]], width, height)
            torch = _bits(expected[at], width, height)
            tally.add(Mask(row["name"], ask["kind"], rgb, prompts, truth, torch, own))
    return tally


def _bits(packed: Bytes, width: int, height: int) -> Bools:
    bits = np.unpackbits(packed, count=width * height)
    return bits.reshape(height, width).astype(np.bool_)


def _prompts(data: Mapping[str, Any]) -> Prompts:
    box = data["box"]
    points = tuple((float(x), float(y)) for x, y in data["points"])
    return Prompts(points, tuple(data["labels"]), tuple(box) if box else None)


def render(name: str, tally: Tally, pictures: int) -> str:
    """Write the page: figures, and the worst masks with torch's and the label side by side."""
    rows = [
        [
            each.prompts,
            str(each.cases),
            *(
                "" if value is None else f"{value:.4f}"
                for value in (each.torch_iou, each.exported_iou, each.agreement)
            ),
            f"{each.worst_agreement:.3f}",
        ]
        for each in tally.figures()
    ]
    head = (
        "prompts",
        "cases",
        "torch, mean IoU with the labels",
        f"{name}, the same",
        "mean IoU of both",
        "least IoU of both",
    )
    shown = [mask for _, _, mask in sorted(tally.worst, key=lambda each: (-each[0], -each[1]))]
    return page(
        f"sam-export: {name} on your pictures",
        element("h1", f"{name} on your {pictures} pictures"),
        html_table(head, rows),
        element("h2", "The worst masks"),
        *(part for mask in shown for part in _section(name, mask)),
    )


def _section(name: str, mask: Mask) -> Iterator[Markup]:
    yield element("h3", f"{mask.name}, {mask.kind}")
    yield element("div", *(_figure(panel) for panel in _panels(name, mask)), class_="side")


def _panels(name: str, mask: Mask) -> Iterator[Panel]:
    known = mask.ious
    if mask.truth is not None:
        yield Panel("label", jpeg(mask.rgb, mask.truth, mask.prompts), ())
    with_label = () if known is None else (f"IoU {known[0]:.3f} with the label",)
    yield Panel("torch, float32", jpeg(mask.rgb, mask.torch, mask.prompts), with_label)
    lines = [f"IoU {mask.agreement:.3f} with torch"]
    lines += [] if known is None else [f"{known[1]:.3f} with the label"]
    yield Panel(name, jpeg(mask.rgb, mask.own, mask.prompts), tuple(lines))


def _figure(panel: Panel) -> Markup:
    shown = picture("image/jpeg", panel.jpeg, panel.name)
    lines = (element("div", line) for line in (panel.name, *panel.lines))
    return element("figure", shown, element("figcaption", *lines))


def main(argv: Sequence[str] | None = None) -> int:
    """Judge the bundle in the folder; no hash is checked."""
    (folder,) = map(Path, sys.argv[1:] if argv is None else argv)

    def work(given: Any) -> list[dict[str, Any]]:
        bundle = Bundle(folder, read_manifest(folder))
        tally = judge(open_segmenter(bundle), given["rows"])
        text = render(given["name"], tally, len(given["rows"]))
        Path(given["page"]).write_text(text, encoding="utf-8")
        return [asdict(figure) for figure in tally.figures()]

    return child.serve(work)


if __name__ == "__main__":
    sys.exit(main())
