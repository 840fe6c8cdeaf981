"""Everything in a picture: every object's mask, as the published generators find them. numpy only.

    from sam_export import everything, open_bundle, open_segmenter

    found = everything(open_segmenter(open_bundle(path)), "photo.jpg", points_per_side=16)
    for segment in found:
        segment.mask, segment.area, segment.bbox, segment.predicted_iou

Instead of a bundle's segmenter it takes anything with `set_image`, `points` and `boxes`
(`runtimes.everything.predictor`). The folder `methods` has the ways.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from exporter import catalog
from exporter.bundle.preprocess import Bytes
from exporter.errors import ImageError
from runtimes.everything import methods
from runtimes.everything.asking import Report, Run
from runtimes.everything.bundles import predictor_of
from runtimes.everything.predictor import Predictor, generator_of
from runtimes.everything.segments import Asked, Everything
from runtimes.everything.settings import SAM2, Settings, settings_of
from runtimes.everything.stopping import ReportFinish, Stopping
from runtimes.pictures.arrays import Given, as_picture
from runtimes.segmenters import Segmenter


def everything(
    predictor: Predictor | Segmenter,
    image: Given,
    method: str = "grid",
    *,
    report: Report | None = None,
    report_finish: ReportFinish | None = None,
    keep_partial: bool = False,
    **options: Any,
) -> Everything:
    """Find every object of a picture.

    Args:
        predictor: an encoder and a decoder in any form; for `detector`, what has `detections`. Of a
            bundle, what `open_segmenter` gives.
        image: (H, W, 3) uint8, RGB; for a bundle, whatever its `set_image` takes.
        method: `grid`, `hierarchical`, `object_aware`, `proposed` or `detector`.
        report: told of progress after each call of the predictor.
        report_finish: told once the asking was stopped, and after each mask that is encoded.
        keep_partial: whether Ctrl-C ends the asking, and what was found until then is returned as
            a partial result; while masks are finished it waits for them. A second one is raised,
            and one before anything was asked. Otherwise each is raised.
        options: the published generators' (`runtimes.everything.settings.Settings`).

    Returns:
        The masks in the published order; none where the published code fails because nothing was
        found, nothing is left to ask, or no box was given.

    Raises:
        RequestError: an unknown method or option, or a value that cannot be.
        ImageError: no RGB uint8 array with pixels.
    """
    way: methods.Method = catalog.load(methods.__name__, method, "METHOD")
    if isinstance(predictor, Segmenter):
        predictor, image = predictor_of(predictor), as_picture(image).rgb
    image = _checked(image)
    settings = options_of(predictor, method, options)
    run = Run(
        predictor,
        settings,
        (image.shape[0], image.shape[1]),
        _threshold(predictor, settings),
        (settings.generator or generator_of(predictor)) == "sam2",
        report,
        report_finish,
        Stopping(keep=keep_partial),
    )
    with run.stopping.watched():
        segments = way.find(run, image)
        if run.stopping.pressed:
            run.tell_finish(len(segments), len(segments))
    asked = Asked(run.images, run.calls, run.prompts, max(run.planned, run.prompts))
    return Everything(
        segments,
        run.size,
        method,
        asked,
        run.left,
        run.seconds,
        run.stopping.asking_ended,
        _notes(run),
        settings.output_mode,
    )


def options_of(predictor: object, method: str, options: dict[str, Any]) -> Settings:
    """Make a method's settings; see `everything` for what is raised."""
    way: methods.Method = catalog.load(methods.__name__, method, "METHOD")
    whose = options.get("generator") or generator_of(predictor)
    defaults = {**(SAM2 if whose == "sam2" else {}), **way.defaults}
    defaults = {name: value for name, value in defaults.items() if name in way.options}
    return settings_of(options, defaults, way.options, method)


def _threshold(predictor: object, settings: Settings) -> float:
    if settings.mask_threshold is not None:
        return float(settings.mask_threshold)
    return float(getattr(predictor, "mask_threshold", 0.0))


def _checked(image: object) -> Bytes:
    good = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3
    if not good or image.shape[2] != 3 or 0 in image.shape:  # type: ignore[attr-defined]
        shape, kind = getattr(image, "shape", ""), getattr(image, "dtype", type(image).__name__)
        raise ImageError(f"an image is an array (height, width, 3) of uint8, not {shape} of {kind}")
    return image  # type: ignore[return-value]


def _notes(run: Run) -> tuple[str, ...]:
    notes = [*run.faults.notes()]
    if run.fast_ious:
        mean, worst = sum(run.fast_ious) / len(run.fast_ious), min(run.fast_ious)
        notes.append(
            "fast: masks were chosen by boxes and stability of the network's own pixels; those "
            f"boxes have a mean IoU of {mean:.3f} with the masks' own, and {worst:.3f} at worst"
        )
    return tuple(notes)
