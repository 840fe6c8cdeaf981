"""MobileSAM's package for Core ML on a padded picture: the published masks, whatever pads it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from exporter.precision import load_precision
from exporter.targets import Options, load_target
from runtimes.engines import choose_engine, run_canonical
from tests.conformance import test_published_numbers as published

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore"),  # the toolkits': torch versions, deprecations
]


def test_the_package_gives_the_published_masks(tmp_path):
    """On bytes, with noise in the padding."""
    ran = published.run_case("mobile_sam")
    graph, inputs = ran.core_ml
    file = load_target("coreml").lower(graph, load_precision("fp32"), tmp_path, Options())
    session = choose_engine("coreml").open(tmp_path / file.file, file, 2)
    given = {t.name: x.numpy() for t, x in zip(graph.spec.inputs, inputs, strict=True)}
    outputs = run_canonical(session, file.spec, given)
    features = {name: torch.from_numpy(array) for name, array in outputs.items()}
    published.check_prompts(replace(ran, features=features))
