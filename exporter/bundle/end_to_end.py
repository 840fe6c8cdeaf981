"""One picture with prompts, from its pixels to its masks, as `goldens.npz` keeps it.

    picture -> [preprocess, prompts] -> inputs -> [graphs] -> outputs -> [rules] -> masks

A rule that was changed in meaning, in a manifest that is otherwise sound, shows in the inputs or in
the masks. Keys are `end_to_end/CASE/NAME`. Shared are the `picture` (H, W, 3), not of the input's
size or aspect, the `image` that the host makes of it, sampled, and `facts`, the part of the
manifest that was known before the goldens. A case has its prompts and torch's answer; one whose
name begins with `after_` has the answer to another case's stored outputs, in which no graph takes
part, so that it is exact in every precision. numpy only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from exporter.bundle.agreement import END_TO_END
from exporter.bundle.detections import choose_pieces, find_pieces
from exporter.bundle.drawn_prompts import draw
from exporter.bundle.goldens import SHARED, Goldens, key
from exporter.bundle.manifest import HASH, canonical
from exporter.bundle.masks import Masks, masks_of
from exporter.bundle.preprocess import Bools, Floats, Frame
from exporter.bundle.prompts import Prompts, pack
from exporter.bundle.reading import decode, parse
from exporter.errors import BundleError
from exporter.printable import printable

if TYPE_CHECKING:
    from exporter.bundle.manifest import Manifest

Array = npt.NDArray[Any]
AFTER = "after_"
PICTURE, IMAGE, FACTS = "picture", "image", "facts"
PROMPT_INPUTS = ("point_coords", "point_labels", "prompt_masks")
ANSWERING = ("low_res_masks", "iou_predictions")
DETECTED = ("boxes", "scores", "coefficients", "prototypes")
_AGAIN = "copy or export the bundle again"
MOST_SAMPLES = 64
"""Rows and columns that a sampled array keeps."""
_LATER = ("parity", "files", "created", "degraded", "evaluation", HASH)
"""Fields of a manifest that are not known when its goldens are recorded."""


@dataclass(frozen=True)
class Ask:
    """One prompt set on the picture.

    Attributes:
        refines: the case whose best `low_res_masks` is fed back; empty for none.
    """

    prompts: Prompts
    multimask: bool = False
    refines: str = ""

    def arrays(self) -> dict[str, Array]:
        """As goldens keep it."""
        rows = [(*xy, label) for xy, label in zip(self.prompts.points, self.prompts.labels)]  # noqa: B905
        return {
            "points": np.array(rows, np.float64).reshape(-1, 3),
            "box": np.array(self.prompts.box or (), np.float64),
            "multimask": np.array([self.multimask], np.uint8),
            "refines": np.frombuffer(self.refines.encode(), np.uint8),
        }

    @classmethod
    def of(cls, goldens: Goldens, case: str) -> Ask:
        """Read a case's. BundleError if it is none."""
        points, box, multimask, refines = (
            goldens.array(END_TO_END, case, name)
            for name in ("points", "box", "multimask", "refines")
        )
        try:
            corners = tuple(box.tolist())
            prompts = Prompts(
                tuple((float(x), float(y)) for x, y, _ in points),
                tuple(int(label) for *_, label in points),
                (corners[0], corners[1], corners[2], corners[3]) if corners else None,
            )
            made = cls(prompts, bool(multimask.any()), refines.tobytes().decode("ascii"))
            stored = {"points": points, "box": box, "multimask": multimask, "refines": refines}
            if all(_same(stored[name], array) for name, array in made.arrays().items()):
                return made
        except (ValueError, TypeError, IndexError, OverflowError):
            pass
        raise BundleError(f"{goldens.place}: {END_TO_END}/{case} holds no prompts; {_AGAIN}")


@dataclass(frozen=True)
class Answer:
    """The masks of one prompt set.

    Attributes:
        masks: (K, H, W)
        scores: (K,)
        logits: (K, h, w), sampled; empty if the bundle gives none.
    """

    masks: Bools
    scores: Floats
    logits: Floats

    @classmethod
    def of(cls, masks: Masks) -> Answer:
        """Keep what a caller gets."""
        return cls(masks.masks, masks.scores, sample(masks.low_res_masks))

    def arrays(self) -> dict[str, Array]:
        """As goldens keep it."""
        return {
            "masks": np.packbits(self.masks.reshape(len(self.masks), -1), axis=1),
            "scores": np.asarray(self.scores, np.float32),
            "logits": np.asarray(self.logits, np.float32),
        }

    @classmethod
    def read(cls, goldens: Goldens, case: str, size: tuple[int, int]) -> Answer:
        """Read a case's answer.

        Args:
            goldens: of the bundle.
            case: its name.
            size: width and height of the picture.

        Raises:
            BundleError: there is none, or it is not of this size.
        """
        packed, scores, logits = (
            goldens.array(END_TO_END, case, name) for name in ("masks", "scores", "logits")
        )
        pixels = size[0] * size[1]
        numbers = scores.ndim == 1 and scores.dtype == logits.dtype == np.float32
        shape = (scores.size, -(-pixels // 8))
        if not numbers or packed.dtype != np.uint8 or packed.shape != shape:
            raise BundleError(
                f"{goldens.place}: {END_TO_END}/{case} holds no masks of {size[0]} x {size[1]}"
            )
        bits = np.unpackbits(packed, axis=1, count=pixels).astype(np.bool_)
        return cls(bits.reshape(-1, size[1], size[0]), scores, logits)


def _same(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and np.array_equal(a, b)


def sample(array: Array) -> Floats:
    """(..., h, w) -> every n-th row and column of it, MOST_SAMPLES at most."""
    rows, columns = (-(-max(side, 1) // MOST_SAMPLES) for side in array.shape[-2:])
    return np.ascontiguousarray(array[..., ::rows, ::columns], np.float32)


def prompt_inputs(manifest: Manifest, prompts: Prompts, frame: Frame) -> dict[str, Floats]:
    """Make the inputs of a prompt set, for a whole batch; none if the bundle takes no prompts."""
    if manifest.prompts is not None:
        coords, labels = pack(prompts, frame, manifest.prompts)
        batch = manifest.prompts.batch
        return {
            "point_coords": np.repeat(coords, batch, axis=0),
            "point_labels": np.repeat(labels, batch, axis=0),
        }
    if manifest.drawn_prompts is not None:
        return {"prompt_masks": draw(prompts, frame, manifest.drawn_prompts)}
    return {}


def answer(
    manifest: Manifest, outputs: Mapping[str, Array], frame: Frame, ask: Ask
) -> tuple[Answer, Masks]:
    """Make masks of the graphs' outputs, by the manifest's rules.

    Args:
        manifest: its rules are read, nothing else.
        outputs: canonical, by name; of a batch the first set counts.
        frame: where the picture lies in the input.
        ask: which masks are asked for.
    """
    rule = manifest.mask
    if manifest.detections is not None:
        pieces = find_pieces(outputs, manifest.detections, rule.threshold, frame)
        masks = choose_pieces(pieces, ask.prompts, frame.original)
    else:
        logits, iou = (np.asarray(outputs[n][0], np.float32) for n in ANSWERING)
        masks = masks_of(logits, iou, frame, rule, multimask=ask.multimask)
    return Answer.of(masks), masks


def replays(
    manifest: Manifest, goldens: Goldens, frame: Frame
) -> Iterator[tuple[str, Ask, Answer]]:
    """Apply the rules to the graphs' stored outputs, as if those were outputs for the picture.

    Yields:
        The name of each case, which begins with `after_`, what it asks and its answer.
    """
    specs = [graph.spec for graph in manifest.graphs]
    # A decoder of two graphs gives the masks in one and their scores in another, in the same case.
    makers = {tensor.name: spec for spec in specs for tensor in spec.outputs}
    for spec in specs:
        if not {tensor.name for tensor in spec.outputs} & {ANSWERING[0], DETECTED[0]}:
            continue
        for case in goldens.cases(spec.name):
            outputs = {t.name: goldens.expected(spec, case, t.name) for t in spec.outputs}
            for name in {*ANSWERING} - {*outputs} if manifest.detections is None else ():
                outputs[name] = goldens.expected(makers[name], case, name)
            for multimask in (False,) if manifest.detections else (False, True):
                name = f"{AFTER}{case}_multimask" if multimask else f"{AFTER}{case}"
                ask = Ask(Prompts(), multimask)
                yield name, ask, answer(manifest, outputs, frame, ask)[0]


def facts(manifest: Manifest) -> dict[str, Any]:
    """Take the part of a manifest that is known before its goldens are recorded, as plain data."""
    data = dataclasses.asdict(manifest)
    plain: dict[str, Any] = decode(
        canonical({k: data[k] for k in data if k not in _LATER}), "facts"
    )
    return plain


def facts_array(manifest: Manifest) -> Array:
    """Pack the facts as goldens keep them."""
    return np.frombuffer(canonical(facts(manifest)).encode(), np.uint8)


def check_facts(manifest: Manifest, goldens: Goldens) -> None:
    """Compare a manifest with the facts in its goldens. BundleError names what differs."""
    stored = decode(goldens.array(END_TO_END, SHARED, FACTS).tobytes(), goldens.place)
    if not isinstance(stored, dict):
        raise BundleError(f"{goldens.place} holds no facts of a manifest; export the bundle again")
    data = dataclasses.asdict(manifest)
    later = {name: data[name] for name in _LATER}
    # Through a manifest: fields that came later have their defaults in both.
    then = parse(type(manifest), decode(canonical(stored | later), "facts"), "facts")
    for place in _differences(facts(manifest), facts(then), "manifest"):
        raise BundleError(
            f"{printable(place)} is not as it was when the goldens were recorded: it was changed "
            "after the export; copy or export the bundle again"
        )


def _differences(now: Any, then: Any, place: str) -> Iterator[str]:
    if isinstance(now, dict) and isinstance(then, dict):
        for name in sorted(now.keys() | then.keys()):
            if name not in now or name not in then:
                yield f"{place}.{name}"
            else:
                yield from _differences(now[name], then[name], f"{place}.{name}")
    elif isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        for i, (a, b) in enumerate(zip(now, then, strict=True)):
            yield from _differences(a, b, f"{place}[{i}]")
    elif now != then or isinstance(now, bool) != isinstance(then, bool):
        yield place


def end_to_end_key(case: str, name: str) -> str:
    """Spell a key; `case` is SHARED for an array of every case."""
    return key(END_TO_END, case, name)
