"""Published files as names, shapes and types without values; other counts of mask tokens."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch

from exporter.checkpoints.reading import Checkpoint
from tests.conformance import published_case

HYPERNETWORK = re.compile(r"(.*output_hypernetworks_mlps\.)(\d+)(\..*)")


def published(case):
    facts = json.loads((published_case.CASES / f"{case}.json").read_text())
    return {
        name: torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
        for name, (shape, dtype) in facts["checkpoint"]["tensors"].items()
    }


def held(tensors, name="own.pt"):
    return Checkpoint(Path(name), "0" * 64, dict(tensors))


def with_tokens(tensors, count):
    """As training code saves a decoder of so many outputs; it begins with the published ones."""
    changed = {}
    for name, tensor in tensors.items():
        if "mask_tokens." in name or re.search(r"iou_prediction_head\.(layers\.2|proj|fc)", name):
            rows = tensor.shape[0] == 4  # not the head's first layer, `proj_in`
            changed[name] = torch.cat([tensor] * 5)[:count] * 1.5 if rows else tensor
        elif match := HYPERNETWORK.match(name):
            ours = range(int(match[2]), count, 4)
            changed |= {f"{match[1]}{index}{match[3]}": tensor for index in ours}
        else:
            changed[name] = tensor
    return changed
