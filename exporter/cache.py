"""The folder that keeps downloads, capsules and builds. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from exporter.errors import RequestError


def default_cache(environment: Mapping[str, str]) -> Path:
    """`$SAM_EXPORT_CACHE`, `$XDG_CACHE_HOME/sam-export` or `~/.cache/sam-export`.

    On Windows `%LOCALAPPDATA%\\sam-export`.

    Raises:
        RequestError: there is none of these folders, as in a container without HOME.
    """
    if own := environment.get("SAM_EXPORT_CACHE"):
        return Path(own)
    if shared := environment.get("XDG_CACHE_HOME"):
        return Path(shared) / "sam-export"
    if os.name == "nt" and (local := environment.get("LOCALAPPDATA")):
        return Path(local) / "sam-export"
    try:
        home = Path.home()
    except RuntimeError:  # no HOME, and no such user
        home = Path()
    if not home.is_absolute():
        raise RequestError("there is no home folder to keep files in: set SAM_EXPORT_CACHE or HOME")
    return home / ".cache" / "sam-export"
