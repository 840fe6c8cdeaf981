"""Mask tokens: read how many a decoder has off its tensors, and build the variant with as many.

A decoder trained for other outputs (`num_multimask_outputs`) differs from the published one in
three places: rows of `mask_tokens`, one hypernetwork a token, and rows of the last layer that
predicts IoU. Token 0 is the single mask and the others are the `multimask` ones, as published.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from exporter.bundle.rules import MaskRule
from exporter.checkpoints.changed_layout import changed_layout
from exporter.errors import CheckpointError
from exporter.variants import Slots, Variant

if TYPE_CHECKING:
    from torch import Tensor

PUBLISHED = 4
"""One single mask and three: every published decoder's."""
MOST = 16
"""SAMed has nine, one a class; each costs a mask of logits in every call."""
_TOKENS = re.compile(r"(?:^|\.)mask_tokens\.weight$")
_HYPERNETWORK = re.compile(r"output_hypernetworks_mlps\.(\d{1,3})\.")
_LAST_LAYER = re.compile(r"iou_prediction_head\.(?:layers\.2|proj_out|fc)\.(?:weight|bias)$")


def is_token_table(name: str) -> bool:
    """Tell whether a tensor has a row for each mask token."""
    return _TOKENS.search(name) is not None


def hypernetwork_of(name: str) -> int | None:
    """Return the mask token whose hypernetwork a tensor is in; None if it is in none."""
    match = _HYPERNETWORK.search(name)
    return int(match[1]) if match else None


def renumbered(name: str, index: int) -> str:
    """Return the name of the same tensor in the hypernetwork of another mask token."""
    return _HYPERNETWORK.sub(f"output_hypernetworks_mlps.{index}.", name, count=1)


def count_mask_tokens(tensors: Mapping[str, Tensor]) -> int | None:
    """Count a decoder's mask tokens; None if there is none, or the three places disagree."""
    tables = [name for name in tensors if is_token_table(name) and tensors[name].ndim == 2]
    if len(tables) != 1:
        return None
    count, prefix = len(tensors[tables[0]]), tables[0].removesuffix("mask_tokens.weight")
    found = (_HYPERNETWORK.match(name.removeprefix(prefix)) for name in tensors)
    hypernetworks = {int(match[1]) for match in found if match}
    heads = [len(t) for n, t in tensors.items() if _LAST_LAYER.search(n) and t.ndim]
    same = hypernetworks == set(range(count)) and set(heads) == {count}
    return count if same and 1 <= count <= MOST else None


def with_published_tokens(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Give a decoder of another count the published shapes, to recognise it by; values repeat."""
    return with_token_shapes(tensors, PUBLISHED)


def with_token_shapes(tensors: Mapping[str, Tensor], count: int) -> Mapping[str, Tensor]:
    """Give a decoder the shapes of so many mask tokens; the first one's values repeat."""
    if count_mask_tokens(tensors) in (None, count):
        return tensors
    shaped: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        own = hypernetwork_of(name)
        if own is None:
            rows = is_token_table(name) or _LAST_LAYER.search(name)
            shaped[name] = tensor[:1].expand(count, *tensor.shape[1:]) if rows else tensor
        elif own == 0:
            shaped |= {renumbered(name, index): tensor for index in range(count)}
    return shaped


def with_mask_tokens(variant: Variant, count: int) -> Variant:
    """Make a variant whose decoder has so many mask tokens.

    Raises:
        CheckpointError: its decoder is another than SAM's.
    """
    prompting = variant.prompting
    if not isinstance(prompting, Slots) or variant.decoder is not None:
        raise CheckpointError(
            f"{variant.name} is exported with {PUBLISHED} mask tokens, and the file has {count}"
        )
    stability, change = variant.stability, functools.partial(_resize, count=count)
    return dataclasses.replace(
        variant,
        prompting=dataclasses.replace(prompting, mask_tokens=count),
        mask=_rule(variant.mask, count),
        stability=None if stability is None else _rule(stability, count),
        layouts=tuple(changed_layout(layout, change) for layout in variant.layouts),
        changed=True,
    )


def _rule(rule: MaskRule, count: int) -> MaskRule:
    """Choose among so many tokens: see `multi` of `exporter.bundle.rules.MaskRule`."""
    first = min(rule.multi)
    multi = tuple(range(first, count)) or (0,)
    # One token cannot give way to another.
    return dataclasses.replace(rule, multi=multi, stability=rule.stability if count > 1 else None)


def _resize(module: nn.Module, count: int) -> nn.Module:
    """Give a network's decoder so many mask tokens; their weights come from the file."""
    decoder: Any = module.mask_decoder
    networks, head = decoder.output_hypernetworks_mlps, decoder.iou_prediction_head.layers
    decoder.mask_tokens = nn.Embedding(count, decoder.mask_tokens.embedding_dim)
    decoder.output_hypernetworks_mlps = nn.ModuleList(
        copy.deepcopy(networks[0]) for _ in range(count)
    )
    head[-1] = nn.Linear(head[-1].in_features, count)
    decoder.size = dataclasses.replace(decoder.size, mask_tokens=count)
    return module.eval()
