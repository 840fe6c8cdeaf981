"""One run: prompts to candidates, each filter in its place, nothing large held."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO

import numpy as np
import numpy.typing as npt

from exporter.bundle.preprocess import Bools, Floats
from runtimes.everything.faults import Faults
from runtimes.everything.predictor import Predictor, upscaler_of
from runtimes.everything.segments import Left, Segment
from runtimes.everything.settings import Settings
from runtimes.everything.steps.boxes import near_crop_edge, pixel_iou
from runtimes.everything.steps.grids import Crop
from runtimes.everything.steps.interpolation import Box, Measured, Upscaler, extent
from runtimes.everything.steps.low_res import measure_low
from runtimes.everything.steps.regions import fill_logits
from runtimes.everything.steps.runs import area_of, runs_of
from runtimes.everything.stopping import Finish, ReportFinish, Stopping

Points = npt.NDArray[np.float64]
HELD = 128_000_000
"""Bytes of logits that wait for suppression in memory; more of them wait in a file."""
REFINED = 32.0
"""SAM 2 clamps logits to this before it refines them."""


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        done: prompts asked.
        planned: prompts in all, as far as is known.
        seconds: since it began.
    """

    done: int
    planned: int
    seconds: float


Report = Callable[[Progress], None]


class HeldLogits:
    """Low-res logits until suppression: in memory up to `HELD` bytes, then in an unnamed file."""

    def __init__(self, most: int = HELD) -> None:
        self._most, self._bytes = most, 0
        self._file: IO[bytes] | None = None

    def keep(self, logits: Floats) -> Callable[[], Floats]:
        """Hold logits (h, w); returns what gives them back."""
        self._bytes += logits.nbytes
        if self._bytes <= self._most:
            copy = logits.copy()
            return lambda: copy
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it ends with this object
        stream, shape = self._file, logits.shape
        at = stream.seek(0, 2)
        stream.write(np.ascontiguousarray(logits, np.float32).tobytes())

        def read() -> Floats:
            stream.seek(at)
            return np.frombuffer(stream.read(4 * shape[0] * shape[1]), np.float32).reshape(shape)

        return read


@dataclass(frozen=True)
class Candidate:
    """A mask that passed the filters; its box and point are in pixels of its crop."""

    iou: np.float32
    measured: Measured
    point: npt.NDArray[np.generic]
    logits: Callable[[], Floats]


@dataclass
class Run:
    """One call of `everything`.

    Attributes:
        predictor: that is asked.
        settings: of the method.
        size: height and width of the picture.
        threshold: of the masks.
        report: told of progress.
        report_finish: told of masks that are finished.
        stopping: what Ctrl-C does.
        faults: masks and points that were no numbers.
    """

    predictor: Predictor
    settings: Settings
    size: tuple[int, int]
    threshold: float
    sam2: bool
    report: Report | None = None
    report_finish: ReportFinish | None = None
    stopping: Stopping = field(default_factory=lambda: Stopping(keep=False))
    faults: Faults = field(default_factory=Faults)
    left: Left = field(default_factory=Left)
    seconds: dict[str, float] = field(default_factory=dict)
    images: int = 0
    calls: int = 0
    prompts: int = 0
    planned: int = 0
    fast_ious: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the block's time to a stage's."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    @contextmanager
    def until_stopped(self) -> Iterator[None]:
        """Within it, Ctrl-C ends the asking, and what was asked is kept, if the caller wants so."""
        with self.stopping.asking():
            yield
        if self.stopping.asking_ended:
            if not self.prompts:
                raise KeyboardInterrupt  # nothing is done that could be kept
            self.tell_finish(0, 0)

    def set_image(self, part: npt.NDArray[np.uint8]) -> None:
        """Encode a crop."""
        with self.stage("encode"):
            self.predictor.set_image(np.ascontiguousarray(part))
        self.images += 1

    def tell(self) -> None:
        """Report progress."""
        if self.report is not None:
            spent = time.perf_counter() - self.began
            self.report(Progress(self.prompts, max(self.planned, self.prompts), spent))

    def tell_finish(self, encoded: int, kept: int) -> None:
        """Report how many masks of those kept are encoded."""
        if self.report_finish is not None:
            spent = time.perf_counter() - self.began
            self.report_finish(Finish(encoded, kept, spent, self.stopping.pressed))

    def count(self, prompts: int) -> None:
        """Count a call of the predictor."""
        self.calls += 1
        self.prompts += prompts

    def passing(self, ious: Floats) -> Bools:
        """Tell which masks the predicted IoU lets pass; one that is no number never does."""
        known: Bools = np.isfinite(ious)
        if self.settings.pred_iou_thresh > 0:
            with np.errstate(invalid="ignore"):
                known &= ious > np.float32(self.settings.pred_iou_thresh)
        return known


@dataclass
class CropAsker:
    """Asks for the objects of one crop.

    Attributes:
        run: counts and settings.
        crop: in pixels of the picture.
    """

    run: Run
    crop: Crop
    held: HeldLogits
    found: list[Candidate] = field(default_factory=list)
    _upscaler: Upscaler | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        x0, y0, x1, y1 = self.crop
        return y1 - y0, x1 - x0

    def ask(self, points: Points) -> None:
        """Ask for clicks (n, 2) in pixels of the crop, a batch a call."""
        batch = self.run.settings.points_per_batch
        if self.run.sam2:
            points = points.astype(np.float32).astype(np.float64)
        for first in range(0, len(points), batch):
            part = points[first : first + batch]
            logits, ious, passed = self._answers(part)
            self._take(logits, ious, passed, part)
            self.run.tell()

    def _answers(self, points: Points) -> tuple[Floats, Floats, Bools]:
        """Ask a batch: logits (P, h, w) of the masks that pass, and all IoUs (n, K)."""
        run, several = self.run, self.run.settings.multimask_output
        rated = getattr(run.predictor, "passing_points", None)
        with run.stage("decode"):
            if rated is not None and not run.settings.use_m2m:
                ious, passing = rated(points, several, run.passing)
                run.count(len(points))
                return passing, ious, run.passing(ious)
            logits, ious = run.predictor.points(points, several)
            run.count(len(points))
            if run.settings.use_m2m:
                logits, ious = self._refined(logits, points)
        passed = run.passing(ious)
        return logits[passed], ious, passed

    def _refined(self, logits: Floats, points: Points) -> tuple[Floats, Floats]:
        """Ask again with each mask and its click: (n, K, h, w) -> the same, rated anew."""
        run, batch = self.run, self.run.settings.points_per_batch
        many, kinds, *shape = logits.shape
        earlier = np.clip(logits.reshape(-1, *shape), -REFINED, REFINED)
        clicks = np.repeat(points, kinds, axis=0)
        ious = np.empty((many * kinds, 1), np.float32)
        refined = np.empty_like(earlier)
        for first in range(0, len(clicks), batch):
            part = slice(first, first + batch)
            masks, ious[part] = run.predictor.points(clicks[part], False, earlier[part])
            refined[part] = masks[:, 0]
            run.count(len(clicks[part]))
        return refined.reshape(logits.shape), ious.reshape(many, kinds)

    def _take(self, logits: Floats, ious: Floats, passed: Bools, points: Points) -> None:
        """Do the filters of one batch, a mask at a time."""
        run, left = self.run, self.run.left
        left.candidates += ious.size
        left.after_iou += len(logits)
        run.faults.unrated += int((~np.isfinite(ious)).sum())
        clicks = np.repeat(points, ious.shape[1], axis=0)[passed.ravel()]
        with run.stage("measure"):
            for mask, iou, click in zip(logits, ious[passed], clicks, strict=True):
                if not run.faults.usable(mask):
                    continue
                if run.sam2 and run.settings.components and run.settings.min_mask_region_area > 0:
                    mask = fill_logits(mask, run.settings.min_mask_region_area)
                measured = self._measure(mask)
                if not self._stays(measured):
                    continue
                self.found.append(Candidate(iou, measured, click, self.held.keep(mask)))

    def _measure(self, logits: Floats) -> Measured:
        upscaler, run = self.upscaler(logits), self.run
        measure = measure_low if run.settings.fast else Upscaler.measure
        return measure(upscaler, logits, run.threshold, run.settings.stability_score_offset)

    def _stays(self, measured: Measured) -> bool:
        least, left = self.run.settings.stability_score_thresh, self.run.left
        if least > 0 and not measured.stability >= np.float32(least):
            return False
        left.after_stability += 1
        height, width = self.run.size
        box = np.array([measured.box], np.int64)
        if near_crop_edge(box, self.crop, (width, height))[0]:
            return False
        left.after_edges += 1
        return True

    def upscaler(self, logits: Floats) -> Upscaler:
        """Return the crop's interpolation, which logits of a shape decide once."""
        if self._upscaler is None:
            shape = (logits.shape[-2], logits.shape[-1])
            self._upscaler = upscaler_of(self.run.predictor, shape, self.size)
        return self._upscaler

    def segments(self, kept: Sequence[Candidate]) -> list[Segment]:
        """Encode the masks of what suppression left, in the picture's pixels."""
        segments = []
        with self.run.stage("encode_masks"):
            for candidate in kept:
                segments.append(self._segment(candidate))
                self.run.tell_finish(len(segments), len(kept))
        return segments

    def _box(self, candidate: Candidate, part: Bools) -> Box:
        """Return a mask's box; of `fast` it is found now, and compared with the guessed one."""
        guessed = candidate.measured.box
        if not self.run.settings.fast:
            return guessed
        box = extent(part)
        self.run.fast_ious.append(pixel_iou(guessed, box))
        return box

    def _segment(self, candidate: Candidate) -> Segment:
        run, logits = self.run, candidate.logits()
        box = None if run.settings.fast else candidate.measured.box
        part = self.upscaler(logits).mask(logits, run.threshold, box)
        x0, y0, x1, y1 = self.crop
        left, top = (0, 0) if box is None else box[:2]
        runs = runs_of(part, (x0 + left, y0 + top), run.size)
        low_x, low_y, high_x, high_y = self._box(candidate, part)
        # As published: a click of SAM 2 stays in float32 in the picture's frame as well.
        click = candidate.point.astype(np.float32 if run.sam2 else np.float64)
        click = click + np.array([x0, y0], click.dtype)
        return Segment(
            runs,
            run.size,
            area_of(runs),
            (x0 + low_x, y0 + low_y, high_x - low_x, high_y - low_y),
            float(candidate.iou),
            float(candidate.measured.stability),
            (float(click[0]), float(click[1])),
            (x0, y0, x1 - x0, y1 - y0),
        )
