"""A Core AI file written here by Apple's own toolkit."""

from __future__ import annotations

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
