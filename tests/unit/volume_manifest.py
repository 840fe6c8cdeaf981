"""A manifest of FastSAM3D's graphs, or of other graphs of the same rules, without an export."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.bundle.manifest import SCHEMA_VERSION, GraphFile, Manifest, Source
from exporter.bundle.tensors import GraphSpec
from exporter.host_rules import prompt_rule
from exporter.variants import load_variant


def manifest_of(graphs: Sequence, files: Sequence[GraphFile] = (), **changes) -> Manifest:
    """Of graphs in any form that have a `spec`, with the variant's own rules unless changed."""
    variant = load_variant("fastsam3d")
    specs: list[GraphSpec] = [graph.spec for graph in graphs]
    made = {
        "schema_version": SCHEMA_VERSION,
        "variant": variant.name,
        "family": variant.family,
        "target": "onnx",
        "precision": "fp32",
        "platform": "any",
        "licence": variant.licence,
        "source": Source(variant.repository, variant.paper, "student.pth", "", "fastsam3d"),
        "graphs": tuple(files) or tuple(GraphFile(s, f"{s.name}.onnx", 1) for s in specs),
        "preprocess": variant.preprocess,
        "prompts": prompt_rule(variant),
        "mask": variant.mask,
        "parity": (),
        "tools": {},
        "files": {},
        "created": "2026-01-01T00:00:00+00:00",
        "volume": variant.prompting.rule,
    }
    return Manifest(**(made | changes))
