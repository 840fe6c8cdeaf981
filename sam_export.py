"""The public API: export a checkpoint, open a bundle, segment or track with it.

    from sam_export import Job, export, open_bundle, open_segmenter

    (bundle,) = export(Job(targets=("onnx",), variant="mobile_sam"))    # into bundles/
    segmenter = open_segmenter(open_bundle("bundles/mobile_sam-onnx-fp16"))
    segmenter.set_image("photo.jpg")                            # or a PIL image, or an RGB array
    masks = segmenter.predict(points=[(480, 360)], labels=[1])
    found = everything(segmenter, "photo.jpg", points_per_side=16)

    tracker = open_tracker(open_bundle("bundles/edgetam-video-onnx-fp16"))
    tracker.start("0.jpg")
    tracker.add_object("dog", points=[(480, 360)], labels=[1])
    found = tracker.track("1.jpg")["dog"]

Only `export` needs torch. Importing this module imports nothing else: each name is imported when it
is first used. Type checkers read the same names from `exporter/stubs/sam_export-stubs`.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "exporter": ("__version__",),
    "exporter.bundle.folder": ("Bundle", "open_bundle"),
    "exporter.bundle.manifest": ("Manifest",),
    "exporter.bundle.prompts": ("Prompts",),
    "exporter.errors": (
        "BundleError",
        "ExportError",
        "ImageError",
        "ParityError",
        "PromptError",
        "RequestError",
        "SamExportError",
    ),
    "exporter.job": ("Job", "Place"),
    "exporter.pipeline": ("export",),
    "exporter.targets": ("Options",),
    "exporter.bundle.masks": ("Masks",),
    "runtimes.parity": ("check_parity",),
    "runtimes.everything": ("everything",),
    "runtimes.everything.segments": ("Everything",),
    "runtimes.segmenters": ("Segmenter", "open_segmenter"),
    "runtimes.tracker": ("Tracker", "open_tracker"),
    "runtimes.tracking.result": ("ObjectPrompt", "Tracked"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605 - names stand in one table


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
