"""The contract: everything needed to run, measure or ship a bundle. No torch.

    from exporter.bundle import open_bundle

`manifest`, and the `tensors` and `rules` in it, are plain data and need no numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exporter.bundle.folder import Bundle, open_bundle

__all__ = ["Bundle", "open_bundle"]


def __getattr__(name: str) -> Any:
    """Import `folder`, and with it numpy, only when a bundle is opened."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("exporter.bundle.folder"), name)
