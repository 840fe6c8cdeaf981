"""Bottleneck adapters in a ViT's blocks: read which there are off the tensors, and build them.

Known are Medical SAM Adapter's (`Space_Adapter`, `MLP_Adapter`, and `Depth_Adapter`, which serves
volumes alone but is in every file) and SAM-Med2D's (`Adapter`). Other adapters are refused by name:
forks use the same names with another scale or order, and a wrong guess is a wrong mask.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from exporter.checkpoints.changed_layout import changed_layout
from exporter.errors import CheckpointError
from exporter.printable import printable
from exporter.variants import Layout, Variant

if TYPE_CHECKING:
    from torch import Tensor

_IN_BLOCK = re.compile(r"(?:^|\.)blocks\.(?P<block>\d{1,3})\.(?P<own>\w*[Aa]dapter\w*\..+)$")
_ADAPTER = "dapter"
"""In the names of every adapter, however it is capitalised; a plain search is quick."""
_MOST = 2000
"""Tensors of adapters: twelve a block, of 32 at most, are some 400."""
_VOLUMES = re.compile(r"\.Depth_Adapter\.")
_BLOCK = re.compile(r"(?:^|\.)blocks\.(\d{1,3})\.norm1\.weight$")
_LINEAR = ("D_fc1.weight", "D_fc1.bias", "D_fc2.weight", "D_fc2.bias")
_NUMBER = re.compile(r"((?:^|\.)(?:blocks|layers)\.)\d+\.")
_SHOWN = 6


@dataclass(frozen=True)
class Form:
    """A kind of adapter.

    Attributes:
        name: of the project.
        tensors: of a block.
        inner: the one whose rows are the inner width.
        block: class of `exporter.models.vit_adapters`.
        note: what its training did that no tensor tells.
    """

    name: str
    tensors: frozenset[str]
    inner: str
    block: str
    note: str


_FORMS = (
    Form(
        "Medical SAM Adapter",
        frozenset(
            f"{kind}_Adapter.{layer}" for kind in ("Space", "MLP", "Depth") for layer in _LINEAR
        ),
        "MLP_Adapter.D_fc1.weight",
        "MedicalBlock",
        "its training resizes the position tables when it runs, to a size that no tensor tells: "
        "give it with --input-size if it was not 1024",
    ),
    Form(
        "SAM-Med2D",
        frozenset(
            f"Adapter.{layer}.weight"
            for layer in ("channel.0", "channel.2", "spatial.0", "spatial.2", "norm")
        )
        | {"Adapter.norm.bias"},
        "Adapter.channel.0.weight",
        "Med2dBlock",
        "its training normalises pictures as SAM does and then stretches them to 256 pixels, each "
        "the nearest one: no --preprocess is exactly that",
    ),
)


@dataclass(frozen=True)
class Adapters:
    """The adapters of a file: one form, in every block, `hidden` wide."""

    form: Form
    hidden: int
    blocks: int

    def __str__(self) -> str:
        """As a report and the manifest say it."""
        return f"adapters of {self.form.name} in {self.blocks} blocks, {self.hidden} wide"


def find_adapters(tensors: Mapping[str, Tensor]) -> Adapters | None:
    """Find the adapters among a network's tensors; None if there are none.

    Raises:
        CheckpointError: some that are not known, or not in every block; it names them.
    """
    named = [name for name in tensors if _ADAPTER in name]
    if not named:
        return None
    if len(named) > _MOST:
        raise _unknown(named)
    held: dict[int, dict[str, Tensor]] = {}
    for name in named:
        match = _IN_BLOCK.search(name)
        if match is None:
            raise _unknown(named)
        held.setdefault(int(match["block"]), {})[match["own"]] = tensors[name]
    blocks = {int(match[1]) for name in tensors if (match := _BLOCK.search(name))}
    form = next((each for each in _FORMS if held.keys() == blocks and _are(held, each)), None)
    if form is None:
        raise _unknown(named)
    widths = {tensor.shape[:1] for own in held.values() for tensor in (own[form.inner],)}
    hidden = widths.pop()
    whole = next(iter(held.values()))[form.inner].numel()
    if widths or len(hidden) != 1 or not 1 <= hidden[0] <= whole // max(hidden[0], 1):
        raise _unknown(named)
    return Adapters(form, hidden[0], len(blocks))


def _are(held: Mapping[int, Mapping[str, Tensor]], form: Form) -> bool:
    return all(own.keys() == form.tensors for own in held.values())


def _unknown(named: list[str]) -> CheckpointError:
    # A name for all blocks; the rarest first, as that is the odd one.
    kinds = Counter(_NUMBER.sub(r"\1*.", name) for name in named[:_MOST]).most_common()[::-1]
    shown = ", ".join(printable(kind, 100) for kind, _ in kinds[:_SHOWN])
    more = f" and {len(kinds) - _SHOWN} more kinds" if len(kinds) > _SHOWN else ""
    forms = " and ".join(form.name for form in _FORMS)
    return CheckpointError(
        f"holds {len(named)} tensors of adapters that are not known here, or not in every block "
        f"({shown}{more}); known are those of {forms}, whose arithmetic is published"
    )


def without_adapters(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Leave known adapters out, to recognise the network that they are in."""
    try:
        found = find_adapters(tensors)
    except CheckpointError:  # said by whoever finds that no variant fits
        return tensors
    if found is None:
        return tensors
    return {name: tensor for name, tensor in tensors.items() if _ADAPTER not in name}


def with_adapters(variant: Variant, adapters: Adapters) -> Variant:
    """Make a variant whose image encoder has these adapters.

    Medical SAM Adapter's encoder resizes its table of positions bicubically when it runs.
    """
    sizes = variant.sizes
    if sizes is not None and adapters.form.block == "MedicalBlock":
        sizes = dataclasses.replace(sizes, positions="bicubic")
    layouts = tuple(_layout(layout, adapters) for layout in variant.layouts)
    return dataclasses.replace(variant, layouts=layouts, sizes=sizes, changed=True)


def _layout(layout: Layout, adapters: Adapters) -> Layout:
    renamed = dataclasses.replace(layout, rename=functools.partial(_rename, layout.rename))
    return changed_layout(renamed, functools.partial(_with_blocks, adapters=adapters))


def _rename(rename: Callable[[str], str | None], name: str) -> str | None:
    """Drop the adapter of volumes, which takes no part in segmenting a picture."""
    return None if _VOLUMES.search(name) else rename(name)


def _with_blocks(module: nn.Module, adapters: Adapters) -> nn.Module:
    from exporter.models import vit_adapters
    from exporter.models.vit import ViT

    encoder: Any = module.image_encoder
    if type(encoder) is not ViT:
        raise CheckpointError(
            f"holds {adapters}, and this variant's image encoder is no plain ViT of SAM"
        )
    kind = getattr(vit_adapters, adapters.form.block)
    encoder.blocks = nn.ModuleList(
        kind(encoder.size, block, adapters.hidden) for block in encoder.size.block_sizes()
    )
    return module.eval()
