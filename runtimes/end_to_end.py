"""Run the picture in a bundle's goldens as a user's: preprocess, prompts, graphs, masks.

The graphs are compared with torch in `runtimes.parity`; here the manifest's rules are, as this
release understands them. A rule that was changed gives another input, another mask, or differs from
the facts that the goldens keep.
"""

from __future__ import annotations

import numpy as np

from exporter.bundle.agreement import END_TO_END
from exporter.bundle.end_to_end import (
    AFTER,
    IMAGE,
    PICTURE,
    PROMPT_INPUTS,
    Answer,
    Ask,
    prompt_inputs,
    replays,
    sample,
)
from exporter.bundle.folder import Bundle
from exporter.bundle.goldens import SHARED, Goldens
from exporter.bundle.manifest import Figure
from exporter.bundle.masks import Masks
from exporter.bundle.preprocess import Frame, image_input
from exporter.errors import BundleError, PromptError
from runtimes.engines import Load
from runtimes.measures import FULL_SCORE, IOU, Floors
from runtimes.segmenters import Segmenter, open_segmenter
from runtimes.worst import Worst


def check_end_to_end(
    bundle: Bundle, goldens: Goldens, load: Load, floors: Floors
) -> tuple[Figure, ...]:
    """Compare everything that the host makes, and the masks at the end, with what was recorded.

    Args:
        bundle: sealed or not.
        goldens: the bundle's.
        load: its graphs.
        floors: for the figures.

    Returns:
        Figures of `end_to_end`: `image` and `prompts` (what the graphs are given), `masks` and
        `scores` (through the graphs), `replayed_masks`, `replayed_scores` and `replayed_logits`
        (the rules on stored outputs).

    Raises:
        BundleError: the goldens have no such picture.
    """
    manifest, worst = bundle.manifest, Worst()
    picture = goldens.array(END_TO_END, SHARED, PICTURE)
    if picture.ndim != 3 or picture.dtype != np.uint8 or not picture.size:
        raise BundleError(f"{goldens.place} holds no picture; export the bundle again")
    image, frame = image_input(picture, manifest.preprocess)
    worst.compare("image", goldens.array(END_TO_END, SHARED, IMAGE), sample(image))
    segmenter = open_segmenter(bundle, load=load)
    segmenter.set_image(picture)
    _ask_all(segmenter, goldens, frame, worst, bundle)
    stored = {case for case in goldens.cases(END_TO_END) if case.startswith(AFTER)}
    for case, ask, found in replays(manifest, goldens, frame):
        stored.discard(case)
        if Ask.of(goldens, case) != ask:
            raise BundleError(f"{goldens.place}: {END_TO_END}/{case} asks for something else")
        _judge(worst, "replayed_", Answer.read(goldens, case, frame.original), found)
    if stored:
        raise BundleError(f"{goldens.place} has no outputs for {min(stored)!r}")
    return tuple(worst.figures(floors))


def _ask_all(
    segmenter: Segmenter, goldens: Goldens, frame: Frame, worst: Worst, bundle: Bundle
) -> None:
    """Ask every recorded prompt set of a bundle's own graphs."""
    kept: dict[str, Masks] = {}
    cases = [case for case in goldens.cases(END_TO_END) if not case.startswith(AFTER)]
    asks = {case: Ask.of(goldens, case) for case in cases}
    lost = [case for case, ask in asks.items() if ask.refines and ask.refines not in asks]
    if lost:
        raise BundleError(
            f"{goldens.place}: {END_TO_END}/{lost[0]} refines a case it does not have"
        )
    for case, ask in sorted(asks.items(), key=lambda item: (bool(item[1].refines), item[0])):
        try:
            given = prompt_inputs(bundle.manifest, ask.prompts, frame)
            if goldens.owns(END_TO_END, case, "masks"):
                earlier = kept.get(ask.refines)
                fed = None if earlier is None else earlier.low_res_masks[earlier.best]
                kept[case] = segmenter.predict_prompts(ask.prompts, fed, multimask=ask.multimask)
        except PromptError as error:
            raise BundleError(f"{goldens.place}: {END_TO_END}/{case}: {error}") from None
        for name in PROMPT_INPUTS:
            if goldens.owns(END_TO_END, case, name) or name in given:
                expected = goldens.array(END_TO_END, case, name)
                worst.compare("prompts", expected, given.get(name, np.zeros(0, np.float32)))
        if case in kept:
            _judge(worst, "", Answer.read(goldens, case, frame.original), Answer.of(kept[case]))


def _judge(worst: Worst, prefix: str, expected: Answer, found: Answer) -> None:
    """Compare an answer with the recorded one; as many masks of the same size, or none is right."""
    same = expected.masks.shape == found.masks.shape
    both = (expected.masks & found.masks).sum(axis=(1, 2)) if same else np.zeros(1)
    either = (expected.masks | found.masks).sum(axis=(1, 2)) if same else np.ones(1)
    shares = np.where(either == 0, 1.0, both / np.maximum(either, 1))
    worst.add(f"{prefix}masks", IOU, float(min(shares, default=1.0)))
    worst.compare(f"{prefix}scores", expected.scores, found.scores, FULL_SCORE)
    if prefix:  # through the graphs, logits are measured as low_res_masks
        worst.compare(f"{prefix}logits", expected.logits, found.logits)
