"""The manifest's JSON Schema, from the annotations that reading checks.

    python -m exporter.bundle.schema

writes `manifest.schema.json` anew; a test keeps it equal.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from exporter.bundle.manifest import SCHEMA_VERSION, Manifest

FILE = Path(__file__).with_name("manifest.schema.json")


def manifest_schema() -> str:
    """Make the schema's text (draft 2020-12). No object has properties beyond those it lists."""
    made: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"manifest.json of a sam-export bundle, schema version {SCHEMA_VERSION}",
        **msgspec.json.schema(Manifest),
    }
    for kind in made["$defs"].values():
        if "properties" in kind:
            kind["additionalProperties"] = False
    made["$defs"]["Manifest"]["properties"]["schema_version"] = {"const": SCHEMA_VERSION}
    return json.dumps(made, indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(manifest_schema(), encoding="utf-8")
