"""A Core AI file written here by Apple's own toolkit."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from exporter.bundle.manifest import GraphFile
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.errors import BundleError
from runtimes.lint.readers import coreai
from runtimes.lint.rules import RULES

pytest.importorskip("coreai_torch", reason="needs pip install 'sam-export[coreai]'")


class Windows(nn.Module):
    """Attention over a batch of windows, after a linear layer."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, image):
        x = self.fc(image)
        return F.scaled_dot_product_attention(x, x, x)


def entry(name, shape):
    ends = [(TensorSpec(each, shape, "float32", "BHNC"),) for each in ("image", "masks")]
    return GraphFile(GraphSpec(name, *ends, "image"), "g.aimodel", 1)


@pytest.mark.parametrize(("batch", "found"), [(10, ["wide-attention"]), (9, [])])
def test_attention_over_ten_windows_is_found(tmp_path, batch, found):
    from coreai_torch import TorchConverter, get_decomp_table

    shape = (batch, 2, 5, 8)
    whole = torch.export.export(Windows().eval(), (torch.zeros(shape),))
    converter = TorchConverter(mode=TorchConverter.Mode.RELEASE)
    converter.add_exported_program(
        whole.run_decompositions(get_decomp_table()),
        input_names=["image"],
        output_names=["masks"],
        entrypoint_name="segmenter",
    )
    converter.to_coreai().save_asset(tmp_path / "g.aimodel")
    network = coreai.read(tmp_path / "g.aimodel", entry("segmenter", shape))
    assert [rule.name for rule in RULES for _ in rule.finds(network)] == found
    assert {"linear", "attention"} <= {each.kind for each in network.operations}
    with pytest.raises(BundleError, match="no function mask_decoder"):
        coreai.read(tmp_path / "g.aimodel", entry("mask_decoder", shape))


@pytest.mark.parametrize(
    ("hashed", "words"), [(True, "was ended by SIGABRT"), (False, "was changed or cut short")]
)
def test_a_damaged_file_ends_a_process_that_is_not_ours(tmp_path, hashed, words):
    """The toolkit aborts on bytes that are no program; no memory image is left either."""
    asset = tmp_path / "g.aimodel"
    asset.mkdir()
    (asset / "main.mlirb").write_bytes(b"no program" * 100)
    digest = hashlib.sha256(b"no program" * 100).digest()
    (asset / "main.hash").write_bytes(digest if hashed else bytes(32))
    (asset / "metadata.json").write_text(json.dumps({"assetVersion": "2.0"}))
    with pytest.raises(BundleError, match=words):
        coreai.read(asset, entry("segmenter", (1, 2, 5, 8)))
