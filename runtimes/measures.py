"""Measures of a lowered graph's distance from torch, and the floor of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from exporter.bundle.agreement import VIDEO
from exporter.bundle.flow import HasSpec
from exporter.bundle.manifest import Figure, Manifest
from exporter.bundle.preprocess import Floats
from exporter.errors import BundleError

Floors = Callable[[str, str, str], float | None]
"""Graph, output, measure -> the floor, or None if the figure is only reported."""
JOINED = "+"
"""Joins the names of a chain of graphs in the label of its figures."""
MASKS = "low_res_masks"
IOUS = "iou_predictions"
ONE_IOU = "iou_predictions of one mask"
"""What floors call IOUS of a decoder with one mask token."""
PANOPTIC_MASKS, PANOPTIC_SCORES = "panoptic_masks", "panoptic_scores"
BOXES = "boxes"

# JSON has no infinity; no measure comes near this otherwise.
CAP = 999.0


@dataclass(frozen=True)
class Measure:
    """A number with its unit and its direction.

    Attributes:
        name: as the manifest spells it.
        unit: of the value; empty for a ratio.
        better: `higher` or `lower`.
        function: expected, actual, mask threshold -> value.
    """

    name: str
    unit: str
    better: Literal["higher", "lower"]
    function: Callable[[Floats, Floats, float], float]

    def worst(self, values: list[float]) -> float:
        """Pick the worst value of several cases."""
        return min(values) if self.better == "higher" else max(values)


def psnr_db(expected: Floats, actual: Floats, threshold: float = 0.0) -> float:
    """20 log10(largest |expected| / root mean square error); equal arrays give CAP."""
    rmse = float(np.sqrt(np.mean(np.square(_float64(actual) - _float64(expected)))))
    peak = float(np.max(np.abs(_float64(expected))))
    if rmse == 0.0:
        return CAP
    if peak == 0.0:
        return -CAP
    return min(CAP, 20.0 * float(np.log10(peak / rmse)))


def worst_error(
    expected: Floats, actual: Floats, threshold: float = 0.0, scale: float = 0.0
) -> float:
    """Largest |actual - expected| over the largest |expected|, or over `scale` if that is more."""
    worst = float(np.max(np.abs(_float64(actual) - _float64(expected))))
    peak = max(scale, float(np.max(np.abs(_float64(expected)))))
    if worst == 0.0:
        return 0.0
    return min(CAP, worst / peak) if peak else CAP


def mask_iou(expected: Floats, actual: Floats, threshold: float) -> float:
    """Smallest intersection over union of the masks of (..., h, w) logits; both empty is 1."""
    a, b = expected > threshold, actual > threshold
    both = (a & b).sum(axis=(-2, -1))
    either = (a | b).sum(axis=(-2, -1))
    return float(np.min(np.where(either == 0, 1.0, both / np.maximum(either, 1))))


def pixel_agreement(expected: Floats, actual: Floats, threshold: float) -> float:
    """Share of the pixels that are on the same side of the threshold, in the worst of the masks."""
    same = (expected > threshold) == (actual > threshold)
    return float(np.min(np.mean(same, axis=(-2, -1))))


def prompt_sensitivity(expected: list[Floats], actual: list[Floats]) -> float:
    """Measure how closely the output follows the prompt, against the original; 1 is exactly.

    Args:
        expected: torch's output for two or more prompts on one image.
        actual: the lowered graph's for the same.

    Returns:
        The worst pair's min(r, 1/r) with r = |actual(a) - actual(b)| / |expected(a) - expected(b)|;
        0 if either does not move at all: such a pair proves nothing.
    """
    pairs = [(i, j) for i in range(len(expected)) for j in range(i)]
    if not pairs:
        raise BundleError("prompt sensitivity needs goldens of two prompts that begin with 'click'")
    values = []
    for i, j in pairs:
        moved = float(np.linalg.norm(_float64(actual[i]) - _float64(actual[j])))
        should = float(np.linalg.norm(_float64(expected[i]) - _float64(expected[j])))
        values.append(min(moved / should, should / moved) if moved and should else 0.0)
    return min(values)


PSNR = Measure("psnr_db", "dB", "higher", psnr_db)
WORST = Measure("worst_error", "", "lower", worst_error)
IOU = Measure("mask_iou", "", "higher", mask_iou)
PIXELS = Measure("pixel_agreement", "", "higher", pixel_agreement)
SENSITIVITY = "prompt_sensitivity"
MEMORY_SENSITIVITY = "memory_sensitivity"
EMPTY_SLOTS, SLOT_ORDER = "empty_slots", "slot_order"
"""See `runtimes.memory_parity`."""
FEATURES = "conditioned_embeddings"
LAST_IOU = "last_mask_iou"
"""Of the last frame of a video: what is left after all that adds up. Its floor is every frame's."""
FULL_SCORE = 1.0
"""Predicted IoUs and detection scores are shares of 1; relative to one near 0, an error is huge."""


@dataclass(frozen=True)
class Floor:
    """The value a figure must reach (or stay under, if lower is better), and the reason for it."""

    value: float
    why: str


ANY = "*"
_FOLLOWS = Floor(0.9, "a decoder that lost its prompts still looks right on one click; it gives 0")

# What no graph takes part in is the same arithmetic in every precision, on every machine.
_HOST = {
    ("image", "worst_error"): Floor(1e-3, "a quarter of a byte's step; another resize gives more"),
    ("prompts", "worst_error"): Floor(1e-6, "float32 holds a place in the input so exactly"),
    ("replayed_masks", "mask_iou"): Floor(0.9999, "sums of another order may turn a pixel"),
    ("replayed_scores", "worst_error"): Floor(1e-5, "stored numbers, and counts of pixels"),
    ("replayed_logits", "worst_error"): Floor(1e-5, "stored numbers, only clamped"),
}

_BANK = Floor(0.9, "attention that lost its memories still gives a likely picture; it gives 0")
_MEMORY_32 = {
    # Reached here: 130 dB and more, but 111 by SAM 2.1's published case in TFLite.
    (name, "psnr_db"): Floor(100.0, "float32 sums over up to 28,736 keys, in another order")
    for name in ("memory", "query", "conditioned_embeddings")
} | {
    (ANY, MEMORY_SENSITIVITY): _BANK,
    ("object_score_logits", "psnr_db"): Floor(60.0, "one number, and it may lie near 0"),
    ("object_score_logits", "worst_error"): Floor(1e-3, "one number, and it may lie near 0"),
    (ONE_IOU, "psnr_db"): Floor(60.0, "as object_score_logits"),
    (ONE_IOU, "worst_error"): Floor(1e-3, "as object_score_logits"),
    # Reached here: 0.9985, of EfficientTAM-Ti's published case; the others have 1.
    (MASKS, LAST_IOU): Floor(0.99, "a pixel at the threshold that flips is in every later frame"),
    (FEATURES, EMPTY_SLOTS): Floor(1e-6, "exp(-1e4) is 0: what they hold is multiplied by it"),
    (FEATURES, SLOT_ORDER): Floor(1e-5, "only the order of float32 sums over the bank differs"),
}
_MEMORY_16 = {
    (name, "psnr_db"): Floor(70.0, "11-bit mantissas are 66 dB each, and sums average them")
    for name in ("memory", "query", "conditioned_embeddings")
} | {
    (ANY, MEMORY_SENSITIVITY): _BANK,
    ("object_score_logits", "psnr_db"): Floor(20.0, "one number, and it may lie near 0"),
    (ONE_IOU, "psnr_db"): Floor(20.0, "as object_score_logits"),
    # Reached here: 0.983, of filled weights, whose small masks are mostly contour.
    (MASKS, LAST_IOU): Floor(0.95, "as low_res_masks; each frame sees the rounding before it"),
    (FEATURES, EMPTY_SLOTS): Floor(1e-3, "exp(-1e4) is 0 in float16 too; a bias that is not shows"),
    (FEATURES, SLOT_ORDER): Floor(1e-2, "sums over thousands of keys in float16, in another order"),
}

BROKEN = frozenset({*_HOST, (FEATURES, EMPTY_SLOTS), (FEATURES, SLOT_ORDER)})
FOLLOWING = frozenset({SENSITIVITY, "least_prompt_sensitivity", MEMORY_SENSITIVITY})
LOST = 0.1
"""Sensitivity under which a decoder does not follow its prompts; one that lost them has 0."""

# precision -> (graph output or ANY, measure) -> floor. The one place for tolerances.
FLOORS: dict[str, dict[tuple[str, str], Floor]] = {
    "fp32": {
        **_HOST,
        **_MEMORY_32,
        ("masks", "mask_iou"): Floor(0.99, "a pixel flips only if its logit is at the threshold"),
        ("scores", "worst_error"): Floor(0.001, "a score of counted pixels moves by a pixel"),
        # Reached here: 109 dB and more; EdgeTAM's filled weights, up to 2.5e7, give the least.
        (ANY, "psnr_db"): Floor(100.0, "only the order of float32 sums differs: 24-bit mantissas"),
        (ANY, "worst_error"): Floor(1e-4, "about 1000 float32 roundings in one place"),
        (ANY, "mask_iou"): Floor(0.999, "a pixel flips only if its logit is at the threshold"),
        (ANY, SENSITIVITY): _FOLLOWS,
    },
    "fp16": {
        **_HOST,
        **_MEMORY_16,
        # Reached here: 0.98. Cases that noise of 50 dB turns are not recorded.
        ("masks", "mask_iou"): Floor(0.95, "as low_res_masks; an error of both graphs together"),
        ("scores", "worst_error"): Floor(0.05, "40 dB is 1 % on average, and the worst of a few"),
        # Reached here: 61 dB and more on masks, 47 on IoUs. The margin below is for the effect of
        # trained weights on float16, which no checkpoint on this machine could show.
        # Core AI has goals above these floors, see HALF_GOALS.
        (MASKS, "psnr_db"): Floor(50.0, "11-bit mantissas are 66 dB each; the decoder is shallow"),
        (ANY, "psnr_db"): Floor(40.0, "the error of an encoder's dozen blocks adds up"),
        # Reached here: 76 dB.
        (BOXES, "psnr_db"): Floor(60.0, "a pixel of 1024, where float16 steps by half a one"),
        # Reached here: 0.995. One flipped pixel takes 2 % of a mask of 50 pixels.
        (MASKS, "mask_iou"): Floor(0.95, "a small mask is mostly contour; PSNR is the gate"),
        (ANY, SENSITIVITY): _FOLLOWS,
    },
}

HALF_GOALS = {MASKS: 60.0, IOUS: 50.0}
"""Decibels that the parts of `exporter.targets.coreai.fp16` are kept in float32 for, in arithmetic
that adds half numbers one after another; `profiles.lab.half_decoders` measures every family.

No floors: those go into the manifest, and an app's `verify()` refuses what is under them, while a
phone's units may round otherwise. And filled RWKV-SAM misses both (56.5 and 22.1; 58 and 16 if
all of its decoder were float32, on weights in half). Of trained weights only the demo's are known.
"""

# Reached: by `sam-export --target all --precision PRECISION`, 112 masks of 16 scenes that no range
# was found on. What falls short, and so sets the floors, was measured with other recipes, which no
# command here repeats. Rounding to few bits moves every number; `runtimes.gate` compares masks, and
# the rest finds a file that is damaged.
_FEW_BITS = {
    **_HOST,
    **_MEMORY_16,  # whatever the bits of the rest
    # Reached: 44 dB and more.
    ("image_embeddings", "psnr_db"): Floor(25.0, "less is another embedding, whatever the masks"),
    (MASKS, "mask_iou"): Floor(0.85, "one mask may lie at a tie; the mean is the gate"),
    ("masks", "mask_iou"): Floor(0.85, "as low_res_masks, of one more picture"),
    ("scores", "worst_error"): Floor(0.1, "an estimate that moves by more ranks other masks first"),
    (ANY, SENSITIVITY): _FOLLOWS,
    (ANY, "least_prompt_sensitivity"): _FOLLOWS,
    (ANY, "dead_channels"): Floor(0, "a channel that says nothing any more was cut off"),
    (ANY, "saturated_channels"): Floor(0, "a range that is too narrow cut it off"),
}
_MEAN = "mean_mask_iou"
FLOORS |= {
    # Reached: 0.993 to 0.994. A calibrator that merges ranges by a moving average gives 0.985.
    "int8": _FEW_BITS | {(ANY, _MEAN): Floor(0.985, "less means that ranges cut values off")},
    # Reached: 0.997 to 0.998. The decoder's upscaling in 8 bits gives 0.988.
    "int8-weights": _FEW_BITS
    | {(ANY, _MEAN): Floor(0.995, "255 steps for each output channel leave masks as they are")},
    # Reached: 0.989. Everything in 4 bits gives 0.969, the decoder's upscaling 0.75.
    "int4-weights": _FEW_BITS
    | {(ANY, _MEAN): Floor(0.97, "less means that a part which needs more bits has 4")},
}


_HARD_32 = {
    # Reached here: 97 dB and 2.7e-4 of panoptic masks, with filled weights.
    (output, measure): floor
    for output in (MASKS, PANOPTIC_MASKS, PANOPTIC_SCORES, "iou_predictions")
    for measure, floor in (
        ("psnr_db", Floor(70.0, "noise of 1e-6 in the features flips pixels inside: 1.4e-4 here")),
        ("worst_error", Floor(3e-3, "the published case's own tolerance, for the same reason")),
    )
} | {
    (PANOPTIC_MASKS, "pixel_agreement"): Floor(0.998, "the published case's own tolerance"),
    (MASKS, "pixel_agreement"): Floor(0.998, "the published case's own tolerance"),
    (MASKS, "mask_iou"): Floor(0.99, "pixels are the gate; a mask of any size has them"),
}
_HARD_16 = {
    # Reached by Core ML with filled weights at 128 x 160, and at 800 x 1088 with the published
    # case's: 54 and 57 dB, 60 and 63 panoptic, 28 and 35 of IoUs.
    (output, "psnr_db"): Floor(decibels, "rounding flips pixels inside: masks are the gate")
    for output, decibels in (
        (MASKS, 40.0),
        (PANOPTIC_MASKS, 40.0),
        (PANOPTIC_SCORES, 40.0),
        ("iou_predictions", 20.0),
    )
} | {
    # Reached there behind the encoder in half: 0.998, and 0.993 of the worst panoptic mask.
    (MASKS, "pixel_agreement"): Floor(0.98, "features in half are 1e-3 off"),
    (PANOPTIC_MASKS, "pixel_agreement"): Floor(0.95, "as one mask, and the worst of a hundred"),
}
THRESHOLDED = {"fp32": _HARD_32, "fp16": _HARD_16}
"""Instead of `FLOORS`, of families that have a hard threshold inside: the next."""
THRESHOLDED_FAMILIES = frozenset({"rap_sam"})


def floor_of(
    precision: str, graph: str, output: str, measure: str, family: str = ""
) -> float | None:
    """Look up the floor of a figure; None if it is only reported.

    End to end, decibels have no floor: the encoder's error reaches the masks through the decoder,
    and only the masks count.

    Raises:
        BundleError: no floors are set for this precision.
    """
    if precision not in FLOORS:
        raise BundleError(
            f"no floors are set for precision {precision!r}; choose from {', '.join(FLOORS)}"
        )
    if measure == PSNR.name and (is_chain(graph) or graph == VIDEO):
        return None
    if graph == VIDEO and measure == IOU.name:
        measure = LAST_IOU  # of any frame, which sees those before it as well
    table = FLOORS[precision]
    if family in THRESHOLDED_FAMILIES:
        table = table | THRESHOLDED.get(precision, {})
    floor = table.get((output, measure)) or table.get((ANY, measure))
    return floor.value if floor else None


def chain(graph: HasSpec, earlier: Iterable[HasSpec]) -> str:
    """Name the figures of a graph on lowered inputs: `image_encoder+mask_decoder`."""
    return JOINED.join(each.spec.name for each in (*earlier, graph))


def is_chain(graph: str) -> bool:
    """Tell whether a figure's `graph` names a chain of graphs."""
    return JOINED in graph


def find_misses(figures: tuple[Figure, ...]) -> list[Figure]:
    """List the figures that miss their floor."""
    return [figure for figure in figures if not meets_floor(figure)]


def means_broken(figure: Figure) -> bool:
    """Whether a figure that misses its floor says that a graph or a rule is broken.

    Few bits blur masks; they change no input and leave no decoder that does not follow its prompts.
    """
    lost = figure.measure in FOLLOWING and figure.value < LOST
    return lost or (figure.output, figure.measure) in BROKEN


def new_misses(manifest: Manifest, figures: tuple[Figure, ...]) -> list[Figure]:
    """List the figures that miss their floor; of a degraded bundle, those that were not let pass.

    Args:
        manifest: of the bundle, with the figures of its export.
        figures: as measured now.
    """
    under = find_misses(figures)
    if not manifest.degraded:
        return under
    passed = {(f.graph, f.output, f.measure) for f in find_misses(manifest.parity)}
    return [f for f in under if (f.graph, f.output, f.measure) not in passed]


def degraded(manifest: Manifest) -> str:
    """Say what is wrong with a degraded bundle."""
    under = [describe(figure, manifest.precision) for figure in find_misses(manifest.parity)]
    return f"degraded: {'; '.join(under) or 'it has no figures'}"


def describe(figure: Figure, precision: str = "") -> str:
    """Describe a figure and its floor in one line; names `precision` if it is given."""
    unit = f" {figure.unit}" if figure.unit else ""
    start = f"{figure.graph} {figure.output} {figure.measure}"
    if figure.arithmetic:
        start += f" (computed in {figure.arithmetic})"
    if figure.floor is None:
        return f"{start} {figure.value:.4g}{unit} (no floor)"
    value, floor = f"{figure.value:.4g}", f"{figure.floor:.4g}"
    if value == floor:  # rounded, a near miss would read as a hit
        value = repr(figure.value)
    lower = figure.better == "lower"
    if meets_floor(figure):
        verdict = "is within the limit" if lower else "reaches the floor"
    else:
        verdict = "is over the limit" if lower else "is under the floor"
    owner = f" of {precision}" if precision else ""
    return f"{start} {value}{unit} {verdict} {floor}{unit}{owner}"


def meets_floor(figure: Figure) -> bool:
    """Tell whether a figure is as good as its floor; NaN is not."""
    if figure.floor is None:
        return True
    if figure.better == "higher":
        return figure.value >= figure.floor
    return figure.value <= figure.floor


def _float64(array: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.asarray(array, np.float64)
