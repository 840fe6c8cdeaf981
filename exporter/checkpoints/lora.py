"""Find low-rank updates (LoRA) among a file's tensors, and fold them into the weights.

An update adds `up @ down * scale` to some rows of a layer's weight. Five ways of writing it down
are known, told by names and shapes; r is the rank, d a layer's width:

- PEFT: `X.lora_A.weight` (r, in), `X.lora_B.weight` (out, r); of a live model with the adapter's
  name before `.weight`, and the layer under `X.base_layer`. Its scale is in a file of its own.
- SAMed, Sam_LoRA: `w_a_000` (r, d), `w_b_000` (d, r), ...: queries, then values of each block.
- The same live: the layer under `X.qkv`, beside `X.linear_a_q`, `X.linear_b_q`, `X.linear_a_v`,
  `X.linear_b_v`. Queries are the first d rows and values the last d, as published, also in a
  network that orders its rows by head.
- finetune-SAM's single layers: the layer under `X.proj`, beside `X.w_a` and `X.w_b`.
- loralib: `X.lora_A`, `X.lora_B` beside `X.weight`; in a fused layer two groups of rows are queries
  and values, three are all. Its scale is in no file.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch

from exporter.errors import CheckpointError
from exporter.printable import printable, some

if TYPE_CHECKING:
    from torch import Tensor

Form = Literal["PEFT", "SAMed", "finetune-SAM", "loralib"]
Rows = Literal["all", "first", "middle", "last"]
Scale = Callable[["Update"], float]
MOST_RANK = 1024
"""Bounds the products that a file can ask for; published ranks are 4 to 256."""

_PEFT = re.compile(r"^(?P<layer>.+)\.lora_(?P<end>[AB])(?:\.(?P<name>[^.]+))?\.weight$")
_PEFT_MODEL = "base_model.model."
"""Stands before all names, or inside them if one part of the network was wrapped."""
_LORALIB = re.compile(r"^(?P<layer>.+)\.lora_(?P<end>[AB])$")
_LIST = re.compile(r"^w_(?P<end>[ab])_(?P<index>\d{1,4})(?:\.weight)?$")
_FUSED = re.compile(r"^(?P<layer>.+)\.linear_(?P<end>[ab])_(?P<part>[qkv])\.weight$")
_SINGLE = re.compile(r"^(?P<layer>.+)\.w_(?P<end>[ab])\.weight$")
_BASE = re.compile(r"\.base_layer\.(weight|bias)$")
_SAVED = re.compile(r"\.modules_to_save\.[^.]+\.")
_REPLACED = re.compile(r"\.original_module\.")
_OTHER = re.compile(
    r"lora_(?:magnitude_vector|embedding_[AB]|E|ranknum|B\.[^.]+\.bias|B\.bias)|vera_|lokr_|hada_|oft_|"
    r"boft_|ia3_|prompt_embeddings|(?:^|\.)w_(?:conv|bn)_"
)
"""Updates of other kinds, which are refused by name."""
_HINT = re.compile(
    r"lora_|base_layer\.|linear_[ab]_|(?:^|\.)w_(?:[ab](?:_|\.weight$)|conv|bn)|vera_|lokr_|hada_|oft_|"
    r"ia3_|prompt_embeddings"
)
"""Is in every name that one of the others matches: one search for the names of a large file."""
_ROWS: Mapping[str, Rows] = {"q": "first", "k": "middle", "v": "last"}


@dataclass(frozen=True)
class Update:
    """A weight's rows gain `up @ down` times a scale.

    Attributes:
        layer: the module's name in its file, without `.weight`.
        form: who writes so.
        rows: which of the weight's rows; a part has as many as `up`.
        down: (r, in), or a convolution's (r, in, k, k).
        up: (rows, r), or (rows, r, 1, 1).
    """

    layer: str
    form: Form
    rows: Rows
    down: Tensor
    up: Tensor

    @property
    def rank(self) -> int:
        """r."""
        return len(self.down)


@dataclass(frozen=True)
class Parsed:
    """A file's tensors apart.

    Attributes:
        plain: whole tensors, by the names they had before LoRA was put around them.
        updates: of layers that the file names.
        listed: SAMed's pairs by their number; the blocks are not in the file.
    """

    plain: Mapping[str, Tensor]
    updates: tuple[Update, ...] = ()
    listed: Mapping[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def found(self) -> bool:
        """Whether there is any LoRA."""
        return bool(self.updates or self.listed)


def parse(tensors: Mapping[str, Tensor]) -> Parsed:
    """Take LoRA apart from the other tensors.

    Raises:
        CheckpointError: half of a pair is missing, there are several adapters, a rank is no rank,
            or an update is of a kind that is not known here.
    """
    if not any(map(is_low_rank, tensors)):
        return Parsed(tensors)
    if odd := sorted(filter(_OTHER.search, tensors)):
        raise CheckpointError(
            f"holds {len(odd)} tensors of another kind of adapter, which is not folded: {some(odd)}"
        )
    ends: dict[tuple[str, str, str], dict[str, Tensor]] = {}
    plain: dict[str, Tensor] = {}
    adapters = set[str]()
    for held, tensor in tensors.items():
        name = held.replace(_PEFT_MODEL, "")
        key, end, adapter = _place(name)
        if key is None:
            plain[name] = tensor
            continue
        adapters.add(adapter)
        ends.setdefault(key, {})[end.lower()] = tensor
    if len(adapters) > 1:
        raise CheckpointError(
            f"holds several LoRA adapters ({some(sorted(adapters))}): save it with one of them"
        )
    return _joined(_unwrap(plain, ends), ends)


def is_low_rank(name: str) -> bool:
    """Tell whether a tensor's name is one that LoRA gives."""
    if not _HINT.search(name):
        return False
    return _place(name)[0] is not None or bool(_BASE.search(name) or _OTHER.search(name))


def _place(name: str) -> tuple[tuple[str, str, str] | None, str, str]:
    """Find the pair that a tensor is half of, as (form, layer, part); which half; the adapter."""
    if match := _PEFT.match(name):
        return ("PEFT", match["layer"], ""), match["end"], match["name"] or ""
    if match := _LORALIB.match(name):
        return ("loralib", match["layer"], ""), match["end"], ""
    if match := _LIST.match(name):
        return ("SAMed", "", str(int(match["index"]))), match["end"], ""
    if match := _FUSED.match(name):
        return ("SAMed", match["layer"], match["part"]), match["end"], ""
    if match := _SINGLE.match(name):
        return ("finetune-SAM", match["layer"], ""), match["end"], ""
    return None, "", ""


def _unwrap(
    plain: Mapping[str, Tensor], layers: Iterable[tuple[str, str, str]]
) -> dict[str, Tensor]:
    """Give layers the names that they had before LoRA was put around them."""
    inner = {}
    for form, layer, _part in layers:
        within = {"SAMed": "qkv", "finetune-SAM": "proj"}.get(form)
        for kind in ("weight", "bias") if within and layer else ():
            inner[f"{layer}.{within}.{kind}"] = f"{layer}.{kind}"
    named = {}
    for name, tensor in plain.items():
        if not _REPLACED.search(name):
            own = inner.get(name) or _BASE.sub(r".\1", _SAVED.sub(".", name))
            named[own] = tensor
    return named


def _joined(
    plain: Mapping[str, Tensor], ends: Mapping[tuple[str, str, str], Mapping[str, Tensor]]
) -> Parsed:
    updates: list[Update] = []
    listed: dict[int, tuple[Tensor, Tensor]] = {}
    for (form, layer, part), halves in ends.items():
        named = printable(layer or f"w_a_{part}", 100)
        if halves.keys() != {"a", "b"}:
            raise CheckpointError(f"holds half of a LoRA pair: {named}")
        down, up = halves["a"], halves["b"]
        if form == "loralib":
            updates += _groups(layer, down, up)
            continue
        _require_rank(named, down, up)
        if not layer:
            listed[int(part)] = (down, up)
        else:
            rows = _ROWS.get(part, "all")
            updates.append(Update(layer, form, rows, down, up))  # type: ignore[arg-type]
    return Parsed(plain, tuple(updates), listed)


def _require_rank(named: str, down: Tensor, up: Tensor) -> None:
    shaped = down.ndim == up.ndim and down.ndim in (2, 4) and up.shape[2:] in ((), (1, 1))
    rank = len(down) if shaped else 0
    # Of a convolution's patch: three channels of 16 x 16 have 768 values.
    most = min(down[:1].numel(), len(up), MOST_RANK) if shaped else 0
    if not shaped or up.shape[1] != rank or not 1 <= rank <= most:
        raise CheckpointError(
            f"holds a LoRA pair that does not fit: {named}, {tuple(down.shape)} and "
            f"{tuple(up.shape)}"
        )


def _groups(layer: str, down: Tensor, up: Tensor) -> list[Update]:
    """Split loralib's pair of a fused layer; one of a plain layer is a single group."""
    named = printable(layer, 100)
    rank = up.shape[1] if up.ndim == 2 else 0
    groups = len(down) // rank if down.ndim == 2 and rank else 0
    parts: Mapping[int, tuple[Rows, ...]] = {
        1: ("all",), 2: ("first", "last"), 3: ("first", "middle", "last")
    }  # fmt: skip
    if groups not in parts or groups * rank != len(down) or len(up) % groups:
        raise CheckpointError(f"holds a LoRA pair that does not fit: {named}")
    made = []
    pairs = zip(parts[groups], down.chunk(groups), up.chunk(groups), strict=True)
    for rows, part_down, part_up in pairs:
        _require_rank(named, part_down, part_up)
        made.append(Update(layer, "loralib", rows, part_down, part_up))
    return made


def fold(
    tensors: Mapping[str, Tensor], updates: Iterable[Update], scale: Scale
) -> dict[str, Tensor]:
    """Add the updates to their layers' weights, in double precision.

    Args:
        tensors: by name; the updates' layers are among them.
        updates: each with its layer's name as `tensors` has it.
        scale: of an update.

    Raises:
        CheckpointError: a layer is missing or of another shape, or a sum is no float32.
    """
    folded = dict(tensors)
    for update in updates:
        name = f"{update.layer}.weight"
        weight = folded.get(name)
        if weight is None:
            raise CheckpointError(f"has LoRA for {printable(name, 100)}, which is not there")
        made = weight.double() + _delta(update, weight) * scale(update)
        if not torch.isfinite(made.float()).all():
            raise CheckpointError(f"has LoRA for {printable(name, 100)} that is no finite number")
        folded[name] = made.float()
    return folded


def _delta(update: Update, weight: Tensor) -> Tensor:
    """What a weight of this shape gains, before the scale."""
    down, up = update.down.double(), update.up.double()
    product = (up.flatten(1) @ down.flatten(1)).reshape(len(up), *down.shape[1:])
    delta = torch.zeros(weight.shape, dtype=torch.float64)
    count, total = len(product), len(weight)
    whole = count == total if update.rows == "all" else count <= total
    thirds = update.rows != "middle" or 3 * count == total
    if product.shape[1:] != weight.shape[1:] or not whole or not thirds:
        raise CheckpointError(
            f"has LoRA of {tuple(product.shape)} for {printable(update.layer, 100)}, whose weight "
            f"is {tuple(weight.shape)}"
        )
    first = {"all": 0, "first": 0, "middle": count, "last": total - count}[update.rows]
    delta[first : first + count] = product
    return delta


def at_layer(update: Update, layer: str) -> Update:
    """Return the same update of a layer of another name."""
    return dataclasses.replace(update, layer=layer)
