"""The manifest of every variant in every format keeps the schema, and its parts agree."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from exporter import pipeline
from exporter.bundle.manifest import GraphFile, Manifest, Source
from exporter.errors import RequestError
from exporter.graphs import graphs_of
from exporter.graphs.image_encoder import as_padded
from exporter.job import Job, settle
from exporter.targets import IMAGE_INPUTS, Options, names
from exporter.targets.tflite.fp32 import _channels_last
from exporter.variants import families, variants

SOURCE = Source("repository", "", "filled", "", "plain")
JOBS = [(target, Options(image_input=image)) for target in names() for image in IMAGE_INPUTS]


def as_lowered(spec, target, options):
    """The spec as the target's files have it."""
    if target.name == "tflite":
        return replace(spec, inputs=tuple(map(_channels_last, spec.inputs)))
    if not target.takes_bytes(options):
        return spec
    image = {"dtype": "uint8", "layout": "RGB image"}
    inputs = (replace(t, **image) if t.name == "image" else t for t in spec.inputs)
    return replace(spec, inputs=tuple(inputs))


@pytest.mark.parametrize("family", families())
def test_a_familys_manifests_are_read_back(family):
    tried = 0
    for variant in (v for v in variants().values() if v.family == family):
        with torch.device("meta"):
            network = variant.layouts[0].build()
        for target, options in JOBS:
            try:
                order = settle(Job((target,), "fp32", variant.name, options=options), variant)
                draft = pipeline.draft(order, order.targets[0], SOURCE)
            except RequestError:
                continue  # bytes do not hold this variant's padding
            with torch.device("meta"):
                graphs = graphs_of(network, variant, order.prompts)
                padded = [as_padded(graph, draft.preprocess).spec for graph in graphs]
            specs = [as_lowered(spec, order.targets[0], options) for spec in padded]
            files = tuple(GraphFile(spec, f"{spec.name}.file", 1) for spec in specs)
            manifest = replace(draft, graphs=files)
            assert Manifest.from_json(manifest.to_json()) == manifest
            tried += 1
    assert tried >= len(names())
