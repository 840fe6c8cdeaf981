"""Choose the network's tensors among those of a file, and take a wrapper's prefix off their names.

Training code holds the network in a class of its own (`model.`, `net.sam.`), compiles it
(`_orig_mod.`) or spreads it (`module.`), and saves what else it needs beside it. A prefix is taken
off only if the rest then fits a variant exactly, and a tensor beside it is left out only if its
name says that it is training's: the first part of the name that is not the network's holds one of
`TRAINING`. Both are said. Anything else stays an error of whoever loads the tensors.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from exporter.checkpoints.fit import Renames, fits_decoder, guess_variants
from exporter.checkpoints.reading import Checkpoint
from exporter.errors import CheckpointError
from exporter.printable import printable

if TYPE_CHECKING:
    from torch import Tensor

    from exporter.variants import Variant

TRAINING = re.compile(
    r"loss|criterion|metric|optim|sched|averag|confmat|meter|auroc|jaccard|accuracy|"
    r"(^|_)(acc|dice|iou|f1|ema|step|steps|epoch|initted|counter|precision|recall)(_|$)|"
    r"^pixel_(mean|std)$|^image_(mean|std)$"
)
_CONSTANT = re.compile(r"(^|\.)pixel_(mean|std)$")
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_DEEPEST, _MOST_PREFIXES, _LEAST_SHARE = 4, 24, 0.15
_SHOWN = 6


def choose(checkpoint: Checkpoint, candidates: Iterable[Variant]) -> Checkpoint:
    """Return the checkpoint with the tensors that fit one of the candidates, under plain names.

    Of several sets that fit, the first is taken, and a remark names the others.

    Returns:
        The same one if nothing in it fits.
    """
    known, renames = list(candidates), Renames()
    found: dict[int, tuple[str, Checkpoint]] = {}
    for place, tensors in (checkpoint.sets or {"": checkpoint.tensors}).items():
        plain = dataclasses.replace(checkpoint, tensors=dict(tensors))
        fits = _fits(plain, known, renames)
        chosen = plain if fits else _unwrapped(checkpoint, tensors, known, renames)
        if chosen is not None:
            # A set may be a part of one above it; the place further down says more.
            key = next(iter(chosen.tensors.values())).data_ptr()
            found[key] = max(found.get(key, (place, chosen)), (place, chosen), key=_depth)
    if not found:
        return checkpoint
    (place, first), *others = found.values()
    said = list(first.remarks)
    if others:
        names = " and ".join(printable(other, 60) or "its top" for other, _ in others)
        said.append(
            f"took {printable(place, 60) or 'its top'}; it holds such tensors in {names} too"
        )
    return dataclasses.replace(first, remarks=tuple(said))


def _depth(found: tuple[str, Checkpoint]) -> int:
    return len(found[0])


def check_constants(checkpoint: Checkpoint, variant: Variant) -> Iterator[str]:
    """Compare a file's own mean and deviation with those of the variant's graph.

    Yields:
        A warning for each that is all zeros or ones: something else normalised the pictures.

    Raises:
        CheckpointError: other numbers differ.
    """
    rule = variant.preprocess
    for name, tensor in checkpoint.constants.items():
        wanted, plain = (rule.mean, 0.0) if name.endswith("mean") else (rule.std, 1.0)
        held = [float(value) for value in tensor.flatten()[:4]]
        scales = (1.0, 255.0)
        if any(_close([value * scale for value in held], wanted) for scale in scales):
            continue
        if all(value == plain for value in held):
            yield (
                f"{printable(name, 80)} is {plain:.0f} in the file; {variant.name}'s own is in the "
                "graph: right only if pictures were normalised so before the network in training"
            )
        else:
            raise CheckpointError(
                f"{checkpoint.path} was trained with {printable(name, 80)} "
                f"{[round(value, 4) for value in held]}, and {variant.name} has "
                f"{[round(value, 4) for value in wanted]} in its graph: masks would be wrong"
            )


def _close(held: list[float], wanted: Iterable[float]) -> bool:
    return len(held) == 3 and all(
        abs(a - b) <= 0.01 * abs(b) for a, b in zip(held, wanted, strict=True)
    )


def _fits(checkpoint: Checkpoint, known: list[Variant], renames: Renames) -> bool:
    tensors = checkpoint.tensors
    return bool(guess_variants(checkpoint, known, renames)) or any(
        fits_decoder(variant, tensors, renames) for variant in known
    )


def _unwrapped(
    checkpoint: Checkpoint, tensors: Mapping[str, Tensor], known: list[Variant], renames: Renames
) -> Checkpoint | None:
    """Find the prefix whose tensors fit; None if there is none."""
    plain = _without_wrappers(tensors)
    for prefix in _prefixes(plain):
        inside = {n.removeprefix(prefix): t for n, t in plain.items() if n.startswith(prefix)}
        own = {name: tensor for name, tensor in inside.items() if not _is_training(name)}
        beside = [name for name in plain if not name.startswith(prefix)]
        left = [*beside, *(prefix + name for name in inside if name not in own)]
        if not own or not all(_is_training(_below(name, prefix)) for name in beside):
            continue
        chosen = dataclasses.replace(checkpoint, tensors=own)
        if _fits(chosen, known, renames):
            said = [*checkpoint.remarks]
            if prefix:
                said.append(f"its tensors are under {printable(prefix, 80)}")
            if left:
                said.append(f"left out what is training's: {_some(left)}")
            held = {name: plain[name] for name in left if _CONSTANT.search(name)}
            return dataclasses.replace(chosen, remarks=tuple(said), constants=held)
    return None


def _without_wrappers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the parts off that parallel and compiled modules add, unless two names become one."""
    named = {
        ".".join(part for part in name.split(".") if part not in _WRAPPERS): tensor
        for name, tensor in tensors.items()
    }
    return named if len(named) == len(tensors) else dict(tensors)


def _prefixes(names: Iterable[str]) -> Iterator[str]:
    """List the prefixes that hold a good share of the names, the shortest first."""
    yield ""
    every = list(names)
    level, total, given = [("", every)], len(every), 1
    for _ in range(_DEEPEST):
        deeper = []
        for prefix, group in level:
            counts = Counter(name[len(prefix) :].partition(".")[0] for name in group)
            for part, count in counts.most_common(_DEEPEST):
                if count >= _LEAST_SHARE * total and given < _MOST_PREFIXES:
                    longer, given = f"{prefix}{part}.", given + 1
                    yield longer
                    deeper.append((longer, [name for name in group if name.startswith(longer)]))
        level = deeper


def _below(name: str, prefix: str) -> str:
    """Cut the parts off that a name shares with a prefix it does not have."""
    for part in prefix.split("."):
        if not part or not name.startswith(f"{part}."):
            break
        name = name.removeprefix(f"{part}.")
    return name


def _is_training(name: str) -> bool:
    return TRAINING.search(name.partition(".")[0].lower()) is not None


def _some(names: list[str]) -> str:
    shown = ", ".join(printable(name, 80) for name in sorted(names)[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
