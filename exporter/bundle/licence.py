"""The licence of published weights. Apart from the manifest, so that `--list` is quick."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.bundle.ranges import Name, Text


@dataclass(frozen=True)
class Licence:
    """Licence of the published weights. `commercial_use` is false if restricted."""

    name: Name
    url: Text
    commercial_use: bool
