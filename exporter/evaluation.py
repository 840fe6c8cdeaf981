"""Judge bundles on the user's own pictures: what the float32 network in torch answers there.

The pictures are decoded in a process of their own, torch answers every prompt once, and each
bundle's own masks are then made and compared by `profiles.accuracy.judging`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter import child
from exporter.bundle.end_to_end import Ask, answer
from exporter.bundle.manifest import EvaluationFigure, GraphFile, Manifest
from exporter.bundle.preprocess import Bools, image_input
from exporter.bundle.prompts import Prompts
from exporter.bundle.reading import parse
from exporter.bundle.rules import DrawnPrompts, PromptRule
from exporter.end_to_end import Stage
from exporter.judged_folder import JudgedPictures
from exporter.printable import printable
from exporter.progress import Progress

if TYPE_CHECKING:
    from exporter.graphs import Graph

PICTURES_MODULE = "runtimes.judged_pictures"
JUDGING_MODULE = "profiles.accuracy.judging"
"""Run by name: imports flow from there to here."""
PAGE = "page.html"


@dataclass(frozen=True)
class Asked:
    """Pictures, what is asked about them, and torch's masks.

    Attributes:
        folder: of the files; a page is written there first.
        rows: for each picture `name`, `file`, `size`, `asks` (see `runtimes.judged_pictures`) and
            `torch`, a file with one packed mask an ask.
    """

    folder: Path
    rows: Sequence[Mapping[str, Any]]

    def judge(self, folder: Path, name: str) -> tuple[EvaluationFigure, ...]:
        """Run a bundle that is not sealed yet on every picture, and compare; makes its page.

        Args:
            folder: the bundle's.
            name: of the bundle.
        """
        answered = child.call(
            [JUDGING_MODULE, str(folder)],
            {"rows": list(self.rows), "name": name, "page": str(self.folder / PAGE)},
            what="judging on your pictures",
        )
        return tuple(
            parse(EvaluationFigure, each, f"figures[{at}]") for at, each in enumerate(answered)
        )

    def show(self, bundle: Path) -> Path:
        """Put the page of the bundle that was judged last beside it; it appears whole."""
        page = page_of(bundle)
        beside = page.with_name(f".{page.name}.part")
        try:
            shutil.copyfile(self.folder / PAGE, beside)
            beside.replace(page)
        finally:
            beside.unlink(missing_ok=True)
        return page


@contextmanager
def ask_torch(
    judged: JudgedPictures,
    graphs: Sequence[Graph],
    draft: Manifest,
    report: Progress,
) -> Iterator[Asked]:
    """Prepare the pictures and ask the network in torch; the files are there within the block.

    Args:
        judged: the folder.
        graphs: the variant's, frozen.
        draft: of any bundle, with the preprocessing of the variant itself.
        report: called once a picture.

    Raises:
        RequestError: a picture, a label or a prompt cannot be used.
    """
    drawn, slots = draft.drawn_prompts, draft.prompts
    files = tuple(GraphFile(graph.spec, graph.spec.name, 0) for graph in graphs)
    manifest = replace(draft, graphs=files)
    report(f"judging on {len(judged.pictures)} pictures of {printable(str(judged.folder))}")
    with TemporaryDirectory(prefix="sam-export-") as folder:
        answered = child.call(
            [PICTURES_MODULE],
            _work(judged, manifest, slots, drawn) | {"output": folder},
            what="reading the pictures to judge on",
        )
        for note in answered["notes"]:
            report(note)
        rows = answered["pictures"]
        for at, row in enumerate(rows):
            report(f"picture {at + 1} of {len(rows)} in torch: {printable(row['name'], 80)}")
            row["torch"] = str(Path(folder) / f"torch-{at}.npz")
            masks = _answers(row, manifest, graphs)
            np.savez_compressed(row["torch"], masks=np.packbits(masks, axis=1))
        yield Asked(Path(folder), rows)


def page_of(bundle: Path) -> Path:
    """Name the page beside a bundle that shows its masks on the user's pictures."""
    return bundle.with_name(f"{bundle.name}-evaluation.html")


def prompts_of(data: Mapping[str, Any]) -> Prompts:
    """Read prompts as they are sent between processes."""
    box = data["box"]
    return Prompts(
        tuple((float(x), float(y)) for x, y in data["points"]),
        tuple(int(label) for label in data["labels"]),
        box and (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
    )


def _work(
    judged: JudgedPictures,
    manifest: Manifest,
    slots: PromptRule | None,
    drawn: DrawnPrompts | None,
) -> dict[str, Any]:
    return {
        "folder": str(judged.folder),
        "pictures": list(judged.pictures),
        "labels": dict(judged.labels),
        "coco": judged.coco,
        "prompts": judged.prompts,
        "preprocess": asdict(manifest.preprocess),
        "slots": None if slots is None else asdict(slots),
        "drawn": None if drawn is None else asdict(drawn),
    }


def _answers(row: Mapping[str, Any], manifest: Manifest, graphs: Sequence[Graph]) -> Bools:
    """Torch's mask for every ask, (asks, pixels)."""
    by_name = {graph.spec.name: graph for graph in graphs}
    with np.load(row["file"], allow_pickle=False) as arrays:
        image, frame = image_input(arrays["rgb"], manifest.preprocess)
    from exporter.goldens import run  # brings torch

    stage = Stage(manifest, lambda name, given: run(by_name[name], given), image, frame)
    masks = []
    for each in row["asks"]:
        ask = Ask(prompts_of(each["prompts"]))
        _, answered = answer(manifest, stage.outputs(ask, None), frame, ask)
        blank = np.zeros(frame.original[::-1], np.bool_)
        masks.append(answered.masks[answered.best] if len(answered.masks) else blank)
    return np.stack(masks).reshape(len(masks), -1)
