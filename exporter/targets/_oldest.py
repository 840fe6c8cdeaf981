"""The oldest runtimes that bundles like one were run in: `make oldest` writes `oldest.json`."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from exporter.targets import Options

FILE = Path(__file__).with_name("oldest.json")
"""Target -> precision -> family -> opset asked for, or "" -> runtime -> release."""
_SPECIFICATION = {16: 7, 17: 8, 18: 9}
"""iOS -> version of Core ML's specification that a package declares for it."""


def oldest_runtimes(target: str, precision: str, family: str, options: Options) -> dict[str, str]:
    """Look up runtime -> oldest release in which a bundle of the family passed every floor.

    Empty if none was run. Core ML itself cannot be run where bundles are made: its entry says so.
    """
    if target == "coreml":
        ios = options.minimum_ios
        return {"Core ML": f"specification {_SPECIFICATION[ios]} (iOS {ios}); not run"}
    form = str(options.opset or "") if target == "onnx" else ""
    found: dict[str, Any] = _table().get(target, {}).get(precision, {}).get(family, {})
    return dict(found.get(form, {}))


@functools.cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return table
