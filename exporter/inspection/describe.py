"""Describe a checkpoint: where its network is, whose it is, and the command that exports it."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.bundle.licence import Licence
from exporter.checkpoints.reading import Checkpoint, read_checkpoint
from exporter.errors import CheckpointError
from exporter.printable import LINE, printable
from exporter.variants import Slots, Variant, variants
from exporter.variants._sizes import Size

if TYPE_CHECKING:
    from torch import Tensor

    from exporter.checkpoints.fit import Fit, Renames

MOST_NAMES = 50
"""Tensors that a list names; beside it stands how many there are."""
_MOST_COMPARED = 3000
"""Tensors of a network that is compared with every variant; none has so many."""
_NEAREST = 3
_NAME = 200
_MASK_TOKENS = re.compile(r"(^|\.)mask_tokens\.weight$")
_PART = re.compile(r"(?<![^.])(image_encoder|vision_encoder|prompt_encoder|mask_decoder|sam_)")
"""Begins the names of a network's parts."""
_POSITIONS = re.compile(r"(^|\.)image_encoder\.pos_embed$|(^|\.)vision_encoder\.pos_embed$")


@dataclass(frozen=True)
class Names:
    """Some tensors; `names` are escaped, and at most MOST_NAMES of the `count` there are."""

    count: int
    names: tuple[str, ...]

    @classmethod
    def of(cls, names: Iterable[str]) -> Names:
        """Sort, escape and cut."""
        known = sorted(names)
        return cls(len(known), tuple(printable(name, _NAME) for name in known[:MOST_NAMES]))


@dataclass(frozen=True)
class Near:
    """A variant and layout, and the tensors in which a file differs from them."""

    variant: str
    layout: str
    missing: Names
    unused: Names
    misshapen: Names

    @property
    def faults(self) -> int:
        """Tensors that differ; lower is closer."""
        return self.missing.count + self.unused.count + self.misshapen.count


@dataclass(frozen=True)
class Description:
    """What a checkpoint is.

    Attributes:
        path: the file or folder.
        bytes: of its weights' files together.
        sha256: see `exporter.checkpoints.reading.Checkpoint`.
        container: see there.
        places: dictionaries of tensors in the file -> how many each holds; "" is its top.
        place: the one that holds the network.
        prefix: what its names begin with; empty for published names.
        tensors: of the network.
        parameters: values of the network's tensors.
        dtypes: as stored, of the whole file -> number of tensors.
        variants: those it fits; several have the same names and shapes.
        layout: of the first of them; empty if it fits none.
        nearest: the closest variants if it fits none, the closest first.
        input_size: side of the square input in pixels, or height and width; None if nothing tells.
        mask_tokens: masks that the decoder makes for a prompt; None if it has no decoder.
        changes: how the network differs from the published one, each in some words.
        lora: the LoRA that is among the tensors, in some words; empty for none.
        beside: tensors in the same place that are not the network's.
        remarks: what an export would do to the tensors, or leave out.
        licence: of the published variant; the file's own may differ. None if it fits none.
        problem: why an export would refuse it, or what it has to be told; empty if nothing.
        command: to type; empty if none would work.
    """

    path: str
    bytes: int
    sha256: str
    container: str
    places: Mapping[str, int]
    place: str
    prefix: str
    tensors: int
    parameters: int
    dtypes: Mapping[str, int]
    variants: tuple[str, ...]
    layout: str
    nearest: tuple[Near, ...]
    input_size: Size | None
    mask_tokens: int | None
    changes: tuple[str, ...]
    lora: str
    beside: Names
    remarks: tuple[str, ...]
    licence: Licence | None
    problem: str
    command: str


def describe(path: Path) -> Description:
    """Read a checkpoint and say what it is.

    Raises:
        CheckpointError: it cannot be read at all; see `exporter.checkpoints.reading`.
    """
    return describe_tensors(read_checkpoint(path))


def describe_tensors(held: Checkpoint) -> Description:
    """Say what a checkpoint is that was read already."""
    # These bring torch: a bad file is refused before.
    from exporter.checkpoints.fit import Renames, guess_variants
    from exporter.checkpoints.resized import as_in_file

    renames = Renames()
    known = {variant.name: variant for variant in as_in_file(held, variants().values())}
    chosen, problem, options = _chosen(held, known.values())
    names = guess_variants(chosen, known.values(), renames)
    problem = problem or ("" if len(names) == 1 else _problem(chosen, known.values()))
    chosen = chosen if names else _without_prefix(chosen)
    place, prefix = _origin(held, chosen)
    fitting = [known[name] for name in names]
    lora = _lora(chosen.tensors)
    changes, refused = _changes(fitting[0], chosen) if fitting else ((), "")
    fits = _ranked(chosen.tensors, fitting or known.values(), renames)
    own = {id(tensor) for tensor in chosen.tensors.values()}
    beside = [name for name, each in _places(held)[place].items() if id(each) not in own]
    return Description(
        path=printable(str(held.path), LINE),
        bytes=held.bytes,
        sha256=held.sha256,
        container=held.container,
        places={printable(at, _NAME): len(each) for at, each in _places(held).items()},
        place=printable(place, _NAME),
        prefix=printable(prefix, _NAME),
        tensors=len(chosen.tensors),
        parameters=sum(tensor.numel() for tensor in chosen.tensors.values()),
        dtypes=held.dtypes,
        variants=tuple(names),
        layout=fits[0][1].layout.name if fitting and fits else "",
        nearest=() if fitting else tuple(_near(*each) for each in fits[:_NEAREST]),
        input_size=_input_size(chosen.tensors, fitting),
        mask_tokens=_mask_tokens(chosen.tensors, fitting),
        changes=changes,
        lora=lora,
        beside=Names.of(beside),
        remarks=tuple(printable(remark, LINE) for remark in chosen.remarks),
        licence=fitting[0].licence if fitting else None,
        problem="; ".join(filter(None, (problem, refused))),
        command=_command(held.path, names, lora if refused or not names else "", options),
    )


def _chosen(held: Checkpoint, known: Iterable[Variant]) -> tuple[Checkpoint, str, str]:
    """Choose the network's tensors: of several sets the first; what an export has to be told."""
    from exporter.checkpoints.choose import SeveralSets, choose
    from exporter.checkpoints.constants import require_known_preparation
    from exporter.checkpoints.wanted import Wanted

    candidates = list(known)
    try:
        chosen, problem, options = choose(held, candidates), "", ""
    except SeveralSets as several:
        first = several.names[0]
        chosen, problem = choose(held, candidates, Wanted(tensors=first)), str(several)
        options = f" --tensors {shlex.quote(printable(first, LINE))}"
    try:
        require_known_preparation([chosen])
    except CheckpointError as error:
        problem, options = problem or str(error), f"{options} --preprocess medsam"
    return chosen, printable(problem, LINE), options


def _places(held: Checkpoint) -> Mapping[str, Mapping[str, Tensor]]:
    return held.sets or {"": held.tensors}


def _origin(held: Checkpoint, chosen: Checkpoint) -> tuple[str, str]:
    """Find the place and the prefix that chosen tensors come from: they are the same objects."""
    name, tensor = next(iter(chosen.tensors.items()))
    for place, tensors in _places(held).items():
        for own, each in tensors.items():
            if each is tensor:
                return place, own.removesuffix(name) if own.endswith(name) else ""
    return next(iter(_places(held))), ""


def _without_prefix(held: Checkpoint) -> Checkpoint:
    """Keep what is under the prefix that most parts of a network share, to name what differs."""
    found = (_PART.search(name) for name in held.tensors)
    prefixes = Counter(match.string[: match.start()] for match in found if match)
    ((prefix, _),) = prefixes.most_common(1) or [("", 0)]
    inside = {n.removeprefix(prefix): t for n, t in held.tensors.items() if n.startswith(prefix)}
    return dataclasses.replace(held, tensors=inside)


def _ranked(
    tensors: Mapping[str, Tensor], known: Iterable[Variant], renames: Renames
) -> list[tuple[Variant, Fit]]:
    """Compare with each variant, the closest first; those that share less than half are none."""
    from exporter.checkpoints.fit import best_fit

    if len(tensors) > _MOST_COMPARED:
        return []
    fits = [(variant, best_fit(variant, tensors, renames)) for variant in known]
    half = len(tensors) / 2
    alike = [each for each in fits if len(each[1].names) - len(each[1].misshapen) >= half]
    return sorted(alike, key=lambda each: each[1].faults)


def _near(variant: Variant, fit: Fit) -> Near:
    return Near(
        variant.name,
        fit.layout.name,
        Names.of(fit.missing),
        Names.of(fit.unused),
        Names.of(fit.misshapen),
    )


def _problem(chosen: Checkpoint, known: Iterable[Variant]) -> str:
    from exporter.checkpoints.recognise import recognise

    try:
        recognise(chosen, known)
    except CheckpointError as error:
        return printable(str(error), LINE)
    return ""


def _mask_tokens(tensors: Mapping[str, Tensor], fitting: list[Variant]) -> int | None:
    """Count the masks; a file may hold tokens that its variant's decoder does not take."""
    from exporter.checkpoints.mask_tokens import PUBLISHED

    prompting = fitting[0].prompting if fitting else None
    if isinstance(prompting, Slots) and prompting.mask_tokens != PUBLISHED:
        return prompting.mask_tokens
    held = [t for name, t in tensors.items() if _MASK_TOKENS.search(name) and t.ndim == 2]
    return len(held[0]) if held else None


def _input_size(tensors: Mapping[str, Tensor], fitting: list[Variant]) -> Size | None:
    """Read the size from a ViT's position table, one row and column for 16 pixels."""
    for name, tensor in tensors.items():
        if _POSITIONS.search(name) and tensor.ndim == 4 and tensor.shape[1] == tensor.shape[2]:
            return 16 * tensor.shape[1]
    if not fitting:
        return None
    rule = fitting[0].preprocess
    return rule.sides or rule.size


def _lora(tensors: Mapping[str, Tensor]) -> str:
    """Describe LoRA; empty for none, or for such as is refused with its reason."""
    from exporter.checkpoints.lora import parse

    try:
        parsed = parse(tensors)
    except CheckpointError:
        return ""
    if not parsed.found:
        return ""
    forms = " and ".join(sorted({update.form for update in parsed.updates} or {"SAMed"}))
    layers = len({update.layer for update in parsed.updates})
    count = f"{layers} layers" if layers else f"{len(parsed.listed)} pairs"
    ranks = {update.rank for update in parsed.updates}
    ranks |= {len(down) for down, _ in parsed.listed.values()}
    return f"{forms}: {count}, rank {' and '.join(map(str, sorted(ranks)))}"


def _changes(variant: Variant, chosen: Checkpoint) -> tuple[tuple[str, ...], str]:
    """Adapt the variant as an export would; returns what differs, and why it is refused."""
    from exporter.checkpoints.adapt import adapt
    from exporter.checkpoints.lora_options import LoraOptions
    from exporter.progress import silent

    try:
        _, adapted = adapt(variant, chosen, LoraOptions(), silent)
    except CheckpointError as error:
        return (), printable(str(error), LINE)
    return adapted.changes, ""


def _command(path: Path, names: list[str], lora: str, options: str) -> str:
    """Spell the command; with LoRA that needs more, what stands in capitals is the user's."""
    quoted = shlex.quote(printable(str(path), LINE))
    if not names:
        return f"sam-export --checkpoint BASE --lora {quoted}" if lora else ""
    which = f" --variant {names[0]}" if len(names) > 1 else ""
    alpha = " --lora-alpha A" if lora else ""
    return f"sam-export --checkpoint {quoted}{which}{alpha}{options}"
