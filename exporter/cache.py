"""The folder that keeps downloads, capsules and builds. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def default_cache(environment: Mapping[str, str]) -> Path:
    """`$SAM_EXPORT_CACHE`, `$XDG_CACHE_HOME/sam-export` or `~/.cache/sam-export`."""
    if own := environment.get("SAM_EXPORT_CACHE"):
        return Path(own)
    if shared := environment.get("XDG_CACHE_HOME"):
        return Path(shared) / "sam-export"
    return Path.home() / ".cache" / "sam-export"
