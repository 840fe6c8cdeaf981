"""Follow the object of a bundle's golden video with the lowered graphs, and compare with torch.

What a graph alone cannot show: rounding that adds up from frame to frame, an object that leaves and
comes back, and whether the mask, not only the features, moves with the bank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from exporter.bundle.agreement import VIDEO
from exporter.bundle.folder import Bundle
from exporter.bundle.goldens import CHAIN, Goldens
from exporter.bundle.layouts import Array
from exporter.bundle.manifest import Figure
from exporter.bundle.preprocess import Floats
from exporter.bundle.video import CHAIN_STEP, LOST, MEMORY_ATTENTION, alone
from runtimes.engines import Load, LoadedGraph
from runtimes.measures import IOU, LAST_IOU, MASKS, MEMORY_SENSITIVITY, PSNR, WORST, Floors
from runtimes.measures import prompt_sensitivity as follows
from runtimes.memory_parity import tells
from runtimes.tracker import Tracker

DECODER, ENCODER, SCORE = "mask_decoder", "image_encoder", "object_score_logits"
NAME = "object"


@dataclass
class Watched:
    """A loaded graph that keeps its last inputs, and loses the object on some calls.

    Attributes:
        lost: numbers of the calls, from 0, whose score is lowered.
    """

    inner: LoadedGraph
    lost: frozenset[int] = frozenset()
    given: dict[str, Array] = field(default_factory=dict)
    calls: int = 0

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `runtimes.engines.LoadedGraph`."""
        self.given = dict(inputs)
        outputs = dict(self.inner.run(inputs))
        if self.calls in self.lost:
            outputs[SCORE] = outputs[SCORE] - LOST
        self.calls += 1
        return outputs


def check_chain(bundle: Bundle, goldens: Goldens, load: Load, floors: Floors) -> list[Figure]:
    """Follow the object of the golden video.

    Args:
        bundle: a video bundle, sealed or not.
        goldens: its.
        load: graph's name -> the lowered graph.
        floors: of the precision.

    Raises:
        BundleError: the goldens have no such video, or a graph gives values that are not finite.
    """

    def golden(name: str) -> Array:
        return goldens.array(VIDEO, CHAIN, name)

    lost = frozenset(int(each) for each in golden("lost"))
    watched = {graph.spec.name: Watched(load(graph.spec.name)) for graph in bundle.manifest.graphs}
    watched[DECODER].lost = lost
    frames = golden("frames")
    tracker = Tracker(bundle, load=watched.__getitem__)
    tracker.start(frames[0], frames=len(frames))
    found = [tracker.add_object(NAME, points=[golden("click")], labels=[1])]
    found += [tracker.track(frame)[NAME] for frame in frames[1:]]
    masks = np.stack([each.low_res_mask[::CHAIN_STEP, ::CHAIN_STEP] for each in found])
    scores = np.asarray([each.score for each in found], np.float32)
    wanted = np.asarray(golden(MASKS), np.float32)
    threshold, moved = bundle.manifest.mask.threshold, _look_again(watched)
    seen = [at for at in range(len(found)) if at not in lost]
    error = WORST.function(golden(SCORE)[seen], scores[seen], threshold)
    should = [np.asarray(golden(name), np.float32) for name in ("seen", "forgotten")]
    rows = (
        (MASKS, IOU.name, IOU.function(wanted, masks, threshold), "", "higher"),
        (MASKS, LAST_IOU, IOU.function(wanted[-1:], masks[-1:], threshold), "", "higher"),
        (MASKS, PSNR.name, PSNR.function(wanted[seen], masks[seen], threshold), "dB", "higher"),
        (MASKS, MEMORY_SENSITIVITY, follows(should, moved), "", "higher"),
        (SCORE, WORST.name, error, "", "lower"),
    )
    silent = () if tells(*should) else (MEMORY_SENSITIVITY,)
    return [
        Figure(
            VIDEO, output, measure, value, unit, better,  # type: ignore[arg-type]
            None if measure in silent else floors(VIDEO, output, measure),
        )
        for output, measure, value, unit, better in rows
    ]  # fmt: skip


def _look_again(watched: Mapping[str, Watched]) -> list[Floats]:
    """Masks (M, h, w) of the last frame with its bank, and with the prompted frame alone."""
    attention, decoder = watched[MEMORY_ATTENTION], watched[DECODER]
    found = []
    for bank in (attention.given, alone(attention.given)):
        features = attention.inner.run(bank)["conditioned_embeddings"]
        given = decoder.given | {"image_embeddings": features}
        masks = np.asarray(decoder.inner.run(given)[MASKS], np.float32)[0]
        found.append(masks[:, ::CHAIN_STEP, ::CHAIN_STEP])
    return found
