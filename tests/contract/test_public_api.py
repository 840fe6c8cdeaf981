"""`sam_export`: what a user of the wheel imports."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import sam_export
from tests.unit import tiny_bundle


def test_every_public_name_is_there():
    for name in sam_export.__all__:
        assert getattr(sam_export, name) is not None
    assert dir(sam_export) == sorted(sam_export.__all__)
    with pytest.raises(AttributeError, match="no attribute 'magic'"):
        _ = sam_export.magic


def test_importing_it_imports_nothing_and_a_job_needs_no_torch():
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import sam_export\n"
        "new = set(sys.modules) - before - {'sam_export'}\n"
        "assert not {n for n in new if n.split('.')[0] in ('numpy', 'exporter', 'torch')}, new\n"
        "from sam_export import Job, export, open_bundle, open_segmenter\n"
        "assert Job(('coreml',)).precision == 'fp16'\n"
        "bad = {'torch', 'coremltools', 'onnxruntime', 'litert_torch'} & set(sys.modules)\n"
        "assert not bad, bad\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_bundle_is_opened_and_prompted(tmp_path):
    tiny_bundle.build(tmp_path / "bundle")
    bundle = sam_export.open_bundle(str(tmp_path / "bundle"))
    segmenter = sam_export.open_segmenter(bundle)
    segmenter.set_image(np.zeros((48, 64, 3), np.uint8))
    masks = segmenter.predict(points=[(20, 20)], labels=[1])
    assert isinstance(masks, sam_export.Masks)
    assert masks.masks.shape == (1, 48, 64)


def test_a_wrong_job_is_a_request_error():
    with pytest.raises(sam_export.RequestError, match="unknown target 'tensorrt'; choose from"):
        sam_export.export(sam_export.Job(("tensorrt",)))
