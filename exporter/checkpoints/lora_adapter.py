"""Put an adapter's file onto its base: whole tensors replace its own, low-rank updates are added.

An adapter names its layers as the code that trained it did, so its names may be another layout's
than the base's, and may stand under wrappers of their own.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.checkpoints.fit import best_fit
from exporter.checkpoints.lora import Parsed, Update, at_layer, fold, parse
from exporter.checkpoints.lora_options import LoraOptions
from exporter.checkpoints.lora_scale import CONFIG, read_config, scale_of
from exporter.checkpoints.mask_tokens import hypernetwork_of, is_token_table, renumbered
from exporter.checkpoints.reading import Checkpoint, read_checkpoint
from exporter.errors import CheckpointError
from exporter.printable import printable, some
from exporter.variants import Variant

if TYPE_CHECKING:
    from torch import Tensor

_FILES = ("adapter_model.safetensors", "adapter_model.bin")
_PARTS = ("image_encoder.", "vision_encoder.", "mask_decoder.")
_WRAPPERS = 3
_FUSED = re.compile(
    r"^(?:.*\.)?(?:image_encoder|vision_encoder)\.(?:trunk\.)?(?:blocks|layers)\.(\d{1,3})"
    r"\.attn\.qkv\.weight$"
)


@dataclass(frozen=True)
class Folded:
    """A network's tensors with LoRA folded in, and words for what was done."""

    tensors: dict[str, Tensor]
    said: str


def read_adapter(path: Path) -> Checkpoint:
    """Read an adapter's file, or PEFT's folder. CheckpointError if it is none."""
    if path.is_dir():
        found = [path / name for name in _FILES if (path / name).is_file()]
        if not found:
            raise CheckpointError(
                f"{printable(str(path))} is a folder without an adapter: {' or '.join(_FILES)}"
            )
        path = found[0]
    return read_checkpoint(path)


def fold_own(held: Checkpoint, options: LoraOptions) -> Folded | None:
    """Fold the LoRA that lies among a checkpoint's own tensors; None if there is none.

    Raises:
        CheckpointError: its scale is not known, or it does not fit the weights beside it.
    """
    parsed = _parse(held.tensors, held.path)
    if not parsed.found:
        return None
    return fold_parsed(parsed.plain, parsed, held.path, options)


def fold_adapter(
    variant: Variant, base: Checkpoint, adapter: Checkpoint, options: LoraOptions
) -> Folded:
    """Put an adapter onto its base.

    Raises:
        CheckpointError: it holds no LoRA, its scale is not known, or it does not fit the base.
    """
    parsed = _parse(adapter.tensors, adapter.path)
    if not parsed.found:
        raise CheckpointError(
            f"{printable(str(adapter.path))} holds no LoRA that is known here: PEFT's, SAMed's, "
            "Sam_LoRA's, finetune-SAM's or loralib's"
        )
    names = _Names(variant, base)
    parsed = _in_base(parsed, names)
    layers = [update.layer for update in parsed.updates]
    named = {own: names.find(own) for own in (*parsed.plain, *(f"{la}.weight" for la in layers))}
    if strange := sorted(own for own, ours in named.items() if ours is None):
        raise CheckpointError(
            f"{printable(str(adapter.path))} names {len(strange)} tensors that {variant.name} does "
            f"not have: {some(strange)}"
        )
    whole = {str(named[own]): tensor for own, tensor in parsed.plain.items()}
    tensors = {n: t for n, t in base.tensors.items() if not _outdated(n, whole)} | whole
    updates = tuple(
        at_layer(update, str(named[f"{update.layer}.weight"]).removesuffix(".weight"))
        for update in parsed.updates
    )
    moved = dataclasses.replace(parsed, updates=updates)
    folded = fold_parsed(tensors, moved, adapter.path, options)
    more = f", {len(whole)} tensors replaced" if whole else ""
    if whole and parsed.listed:
        more += "; SAMed trains on pictures of 0..1, with no mean, no deviation and no prompt"
    return Folded(folded.tensors, folded.said + more)


def require_base(held: Checkpoint) -> None:
    """CheckpointError if a file has LoRA without the layers that it is for, or unknown LoRA."""
    parsed = _parse(held.tensors, held.path)
    layers = (f"{update.layer}.weight" in parsed.plain for update in parsed.updates)
    if parsed.found and not any(layers):
        form = parsed.updates[0].form if parsed.updates else "SAMed"
        raise CheckpointError(
            f"{printable(str(held.path))} holds LoRA of {form} without its base: give the base "
            "with --checkpoint (or --variant for a published one), and this with --lora"
        )


def _parse(tensors: Mapping[str, Tensor], path: Path) -> Parsed:
    try:
        return parse(tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{printable(str(path))} {error}") from None


def fold_parsed(
    tensors: Mapping[str, Tensor], parsed: Parsed, path: Path, options: LoraOptions
) -> Folded:
    """Fold the updates among a base's tensors; see `fold_own` and `fold_adapter`."""
    beside = (path if path.is_dir() else path.parent) / CONFIG
    peft = any(update.form == "PEFT" for update in parsed.updates)
    config = read_config(beside) if peft and options.alpha is None and beside.is_file() else None
    try:
        updates = (*parsed.updates, *_listed(parsed, tensors, options.blocks))
        scales = [scale_of(update, config, options.alpha) for update in updates]
        by_id = {id(update): scale for update, scale in zip(updates, scales, strict=True)}
        folded = fold(tensors, updates, lambda update: by_id[id(update)])
    except CheckpointError as error:
        raise CheckpointError(f"{printable(str(path))} {error}") from None
    return Folded(folded, _describe(updates, scales))


def _describe(updates: tuple[Update, ...], scales: list[float]) -> str:
    forms = " and ".join(dict.fromkeys(update.form for update in updates))
    weights = len({update.layer for update in updates})
    ranks = sorted({update.rank for update in updates})
    factors = sorted(set(scales))
    return (
        f"LoRA of {forms} folded into {weights} weights, rank {_range(ranks)}, scale "
        f"{_range(factors)}"
    )


def _range(values: list[int] | list[float]) -> str:
    least, most = f"{values[0]:.6g}", f"{values[-1]:.6g}"
    return least if least == most else f"{least} to {most}"


def _listed(parsed: Parsed, tensors: Mapping[str, Tensor], blocks: tuple[int, ...]) -> list[Update]:
    """Give SAMed's pairs their blocks: queries, then values of each in turn."""
    if not parsed.listed:
        if blocks:
            raise CheckpointError("names its layers itself: leave out --lora-blocks")
        return []
    layers = {
        int(match[1]): name.removesuffix(".weight")
        for name in tensors
        if (match := _FUSED.match(name))
    }
    chosen = blocks or tuple(sorted(layers))
    count = len(parsed.listed)
    if count != 2 * len(chosen) or sorted(parsed.listed) != list(range(count)):
        raise CheckpointError(
            f"holds {count} LoRA pairs, and a query's and a value's for each of {len(chosen)} "
            f"blocks are {2 * len(chosen)}: name the adapted blocks with --lora-blocks, as 0,1,2"
        )
    if absent := [block for block in chosen if block not in layers]:
        raise CheckpointError(f"has LoRA for block {absent[0]}, and there are {len(layers)}")
    queries = (
        Update(layers[b], "SAMed", "first", *parsed.listed[2 * i]) for i, b in enumerate(chosen)
    )
    values = (
        Update(layers[b], "SAMed", "last", *parsed.listed[2 * i + 1]) for i, b in enumerate(chosen)
    )
    return [*queries, *values]


def _outdated(name: str, whole: Mapping[str, Tensor]) -> bool:
    """Tell whether a base's hypernetwork belongs to mask tokens that an adapter replaces."""
    return (
        hypernetwork_of(name) is not None and name not in whole and any(map(is_token_table, whole))
    )


class _Names:
    """An adapter's names -> its base's."""

    def __init__(self, variant: Variant, base: Checkpoint) -> None:
        self._held = base.tensors.keys()
        fit = best_fit(variant, base.tensors)
        self._ours = {ours: published[0] for ours, published in fit.names.items()}
        self._layouts = variant.layouts

    def find(self, own: str) -> str | None:
        """Find the base's name; of a hypernetwork that it does not have, as it would be called."""
        if own in self._held:
            return own
        for layout in self._layouts:
            ours = layout.rename(own)
            if ours in self._ours:
                return self._ours[ours]
        if number := hypernetwork_of(own):
            first = self.find(renumbered(own, 0))
            return None if first is None else renumbered(first, number)
        return None


def _in_base(parsed: Parsed, names: _Names) -> Parsed:
    """Give an adapter's names what its base's begin with: less wrappers, or a part's own name."""
    own = [*parsed.plain, *(f"{update.layer}.weight" for update in parsed.updates)]
    prefix, lead = "", ""
    for _ in range(_WRAPPERS):
        if not own or any(names.find(name.removeprefix(prefix)) for name in own):
            break
        longer = f"{prefix}{own[0].removeprefix(prefix).partition('.')[0]}."
        if not all(name.startswith(longer) for name in own):
            prefix, lead = "", _part_of(own, names)
            break
        prefix = longer

    def named(name: str) -> str:
        return lead + name.removeprefix(prefix)

    return dataclasses.replace(
        parsed,
        plain={named(name): tensor for name, tensor in parsed.plain.items()},
        updates=tuple(at_layer(each, named(each.layer)) for each in parsed.updates),
    )


def _part_of(own: list[str], names: _Names) -> str:
    """Find the part that an adapter was trained in alone; empty if it is none."""
    found = (lead for lead in _PARTS if all(names.find(lead + name) for name in own))
    return next(found, "")
