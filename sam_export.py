"""The public API: export a checkpoint, open a bundle, segment with it.

    from sam_export import Job, export, open_bundle, open_segmenter

    (bundle,) = export(Job(targets=("onnx",), variant="mobile_sam"))    # into bundles/
    segmenter = open_segmenter(open_bundle("bundles/mobile_sam-onnx-fp16"))
    segmenter.set_image("photo.jpg")                            # or a PIL image, or an RGB array
    masks = segmenter.predict(points=[(480, 360)], labels=[1])

Only `export` needs torch. Importing this module imports nothing else: each name is imported when it
is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exporter import __version__
    from exporter.bundle.folder import Bundle, open_bundle
    from exporter.bundle.manifest import Manifest
    from exporter.bundle.masks import Masks
    from exporter.bundle.prompts import Prompts
    from exporter.errors import ExportError, RequestError, SamExportError
    from exporter.job import Job, Place
    from exporter.pipeline import export
    from exporter.targets import Options
    from runtimes.parity import check_parity
    from runtimes.segmenters import Segmenter, open_segmenter

__all__ = [
    "Bundle",
    "ExportError",
    "Job",
    "Manifest",
    "Masks",
    "Options",
    "Place",
    "Prompts",
    "RequestError",
    "SamExportError",
    "Segmenter",
    "__version__",
    "check_parity",
    "export",
    "open_bundle",
    "open_segmenter",
]

_HOMES = {
    "exporter": ("__version__",),
    "exporter.bundle.folder": ("Bundle", "open_bundle"),
    "exporter.bundle.manifest": ("Manifest",),
    "exporter.bundle.prompts": ("Prompts",),
    "exporter.errors": ("ExportError", "RequestError", "SamExportError"),
    "exporter.job": ("Job", "Place"),
    "exporter.pipeline": ("export",),
    "exporter.targets": ("Options",),
    "exporter.bundle.masks": ("Masks",),
    "runtimes.parity": ("check_parity",),
    "runtimes.segmenters": ("Segmenter", "open_segmenter"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
