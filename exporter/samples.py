"""Pictures with prompts, run through the float32 network: what few bits are measured against.

A picture's file is a file of goldens (`exporter.bundle.goldens`) of another subject: inputs for
calibration, torch's masks for `runtimes.gate`. No picture is used for both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from exporter import child
from exporter.bundle.goldens import PICTURE, SHARED, SIZE, key
from exporter.bundle.manifest import Calibration, PictureFile, RangeKind
from exporter.bundle.preprocess import resized_size, seen_frame
from exporter.bundle.prompts import Prompts
from exporter.bundle.rules import DrawnPrompts, MaskRule, Preprocess, PromptRule
from exporter.calibration import Pictures
from exporter.errors import RequestError
from exporter.goldens import SCENE, Arrays, input_sides, record
from exporter.graphs import Graph
from exporter.picture_folder import GATE_PICTURES, PROMPTS, ChosenPictures
from exporter.printable import printable
from exporter.progress import Progress
from exporter.subjects import PictureSubject, SceneSubject, Subject
from exporter.volume_goldens import record_volume

CALIBRATION_SEED = 10_500_000
GATE_SEED = 10_250_000
"""First seeds of scenes that the demo model was never trained on."""
CALIBRATION_PICTURES = 8
LARGE = 512
"""Side of an input, in pixels, from which on half as many scenes do: each has several times the
values and takes several times as long."""
PICTURES_MODULE = "runtimes.calibration_pictures"
"""Run by name: imports flow from there to here."""


@dataclass(frozen=True)
class Samples:
    """Files of goldens, one for each picture.

    Attributes:
        calibration: ranges are found on these.
        gate: masks are compared on these.
    """

    calibration: Pictures
    gate: tuple[Path, ...]


@dataclass(frozen=True)
class VolumeSubject:
    """The procedural volume of a seed; it fills the cube."""

    seed: int


@dataclass(frozen=True)
class Sampling:
    """Which pictures to record, and the rules of the variant.

    Attributes:
        rule: how prompts reach the graphs.
        mask: the bundle's.
        preprocess: from a picture to the input.
        calibrated: names of the graphs that ranges are wanted of; empty for none.
        ranges: how ranges are chosen.
        chosen: the user's pictures, or None for scenes.
    """

    rule: PromptRule | DrawnPrompts | None
    mask: MaskRule
    preprocess: Preprocess
    calibrated: tuple[str, ...] = ()
    ranges: RangeKind = "min-max"
    chosen: ChosenPictures | None = None


def calibration_of(ranges: RangeKind, chosen: ChosenPictures | None, side: int) -> Calibration:
    """Say for the manifest which pictures ranges are found and masks judged on.

    Args:
        ranges: how ranges are chosen.
        chosen: the user's pictures, or None.
        side: of the input, in pixels.
    """
    files: tuple[PictureFile, ...] = chosen.files if chosen else ()
    judged = len(chosen.paths("gate")) if chosen else 0
    share = 2 if side >= LARGE else 1
    return Calibration(
        ranges,
        files,
        chosen.prompts_sha256 if chosen else "",
        scenes=0 if chosen else CALIBRATION_PICTURES // share,
        seed=CALIBRATION_SEED,
        gate_scenes=max(0, GATE_PICTURES // share - judged),
        gate_seed=GATE_SEED,
    )


@contextmanager
def record_samples(
    graphs: Sequence[Graph], sampling: Sampling, report: Progress
) -> Iterator[Samples]:
    """Run the network on pictures; the files are there within the block.

    Args:
        graphs: the variant's.
        sampling: which pictures.
        report: called once a picture.

    Raises:
        RequestError: one of the user's pictures or prompts cannot be used, or every picture is of
            one colour.
    """
    with TemporaryDirectory(prefix="sam-export-") as folder:
        recorder = _Recorder(graphs, sampling, Path(folder), report)
        yield recorder.record()


@dataclass(frozen=True)
class _Recorder:
    graphs: Sequence[Graph]
    sampling: Sampling
    folder: Path
    report: Progress

    def record(self) -> Samples:
        side = max(input_sides(self.graphs))
        used = calibration_of(self.sampling.ranges, self.sampling.chosen, side)
        own = self._own() if self.sampling.chosen else {"ranges": [], "gate": []}
        wanted = used.scenes if self.sampling.calibrated else 0
        ranges = own["ranges"] + self._scenes(CALIBRATION_SEED, wanted)
        gate = own["gate"] + self._scenes(GATE_SEED, used.gate_scenes)
        calibration = self._files(ranges, "calibration", inputs_alone=self._inputs_suffice())
        return Samples(Pictures(calibration, self.sampling.ranges), self._files(gate, "test"))

    def _scenes(self, first: int, count: int) -> list[Subject | VolumeSubject]:
        sides = input_sides(self.graphs)
        if any(tensor.name == "volume" for graph in self.graphs for tensor in graph.spec.inputs):
            return [VolumeSubject(first + at) for at in range(count)]
        return [SceneSubject(first + at, sides) for at in range(count)]

    def _own(self) -> dict[str, list[Subject | VolumeSubject]]:
        """Have the user's pictures decoded and fitted, by what they are for."""
        chosen = self.sampling.chosen
        assert chosen is not None  # noqa: S101 - for mypy: `record` asks
        self.report(f"{chosen}; reading them")
        rows = self._prepared(chosen)
        flat = [
            row["flat"]
            for row, file in zip(rows, chosen.files, strict=True)
            if file.use == "ranges"
        ]
        if all(flat):
            raise RequestError(
                f"--calibration {printable(str(chosen.folder))}: every picture is of one colour, "
                "so no range can be found: give pictures like those that the app will see"
            )
        made: dict[str, list[Subject | VolumeSubject]] = {"ranges": [], "gate": []}
        for row, file in zip(rows, chosen.files, strict=True):
            made[file.use].append(self._subject(row))
        return made

    def _prepared(self, chosen: ChosenPictures) -> list[dict[str, Any]]:
        rule = self.sampling.rule
        answer = child.call(
            [PICTURES_MODULE],
            {
                "pictures": [str(chosen.folder / file.name) for file in chosen.files],
                "prompts": str(chosen.folder / PROMPTS) if chosen.prompts_sha256 else "",
                "output": str(self.folder),
                "preprocess": asdict(self.sampling.preprocess),
                "slots": asdict(rule) if isinstance(rule, PromptRule) else None,
                "drawn": asdict(rule) if isinstance(rule, DrawnPrompts) else None,
            },
            what="reading the calibration pictures",
        )
        for note in answer["notes"]:
            self.report(note)
        rows: list[dict[str, Any]] = answer["pictures"]
        return rows

    def _subject(self, row: dict[str, Any]) -> Subject:
        prompts = tuple(
            Prompts(
                tuple((x, y) for x, y in each["points"]),
                tuple(each["labels"]),
                each["box"] and tuple(each["box"]),
            )
            for each in row["prompts"]
        )
        width, height = row["size"]
        frame = seen_frame(width, height, self.sampling.preprocess)
        return PictureSubject(Path(row["file"]), (width, height), frame, prompts)

    def _inputs_suffice(self) -> bool:
        """Whether ranges are wanted of graphs alone that take nothing but the picture."""
        taken = {
            tensor.name
            for graph in self.graphs
            if graph.spec.name in self.sampling.calibrated
            for tensor in graph.spec.inputs
        }
        return taken <= {"image", "resized_size"}

    def _files(
        self, subjects: Sequence[Subject | VolumeSubject], what: str, *, inputs_alone: bool = False
    ) -> tuple[Path, ...]:
        made = []
        for at, subject in enumerate(subjects):
            path = self.folder / f"{what}-{at}.npz"
            if not inputs_alone:
                self.report(f"{what} picture {at + 1} of {len(subjects)} in torch")
            arrays = self._recorded(subject, inputs_alone=inputs_alone)
            np.savez(path, allow_pickle=False, **arrays)
            made.append(path)
        return tuple(made)

    def _recorded(self, subject: Subject | VolumeSubject, *, inputs_alone: bool) -> Arrays:
        rule = self.sampling.rule
        if isinstance(subject, VolumeSubject):
            if not isinstance(rule, PromptRule):
                raise TypeError("a volume's prompts are in slots")
            return record_volume(self.graphs, rule, self.sampling.mask, subject.seed)
        if inputs_alone:
            arrays = self._picture(subject)
        else:
            arrays = record(self.graphs, rule, self.sampling.mask, subject=subject)
        return arrays | self._frame(subject)

    def _picture(self, subject: Subject) -> Arrays:
        return {
            key(graph.spec.name, SCENE, "image"): subject.image
            for graph in self.graphs
            if graph.spec.name in self.sampling.calibrated
        }

    def _frame(self, subject: Subject) -> Arrays:
        """Where the picture lies: for graphs that write the padding, and for masks."""
        frame, arrays = subject.frame, Arrays()
        if subject.size != frame.whole:
            arrays[key(PICTURE, SHARED, SIZE)] = np.array(subject.size, np.float32)
        for graph in self.graphs:
            if any(tensor.name == "image" for tensor in graph.spec.inputs):
                # Shared, if the cases of the only graph share the image.
                case = SHARED if len(self.graphs) == 1 else SCENE
                arrays[key(graph.spec.name, case, "resized_size")] = resized_size(frame)
        return arrays
