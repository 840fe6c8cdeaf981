"""Choose the network's tensors among those of a file, and take a wrapper's prefix off their names.

Training code holds the network in a class of its own (`model.`, `net.sam.`), compiles it
(`_orig_mod.`) or spreads it (`module.`), and saves what else it needs beside it. A prefix is taken
off only if the rest then fits exactly, and a tensor beside it is left out only if the user says so
or its name says that it is training's: the first part of the name that is not the network's holds
one of `exporter.checkpoints.names.TRAINING`. Both are said, and recorded. Of several sets that fit,
as weights and their moving average, the user chooses. Anything else stays an error of whoever loads
the tensors.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from exporter.bundle.manifest import MOST_LEFT_OUT, Taken
from exporter.checkpoints.fit import Renames, decoder_owners, fitting
from exporter.checkpoints.names import (
    is_beside,
    is_training,
    network_prefix,
    prefixes,
    training_beside,
    without_wrappers,
    wrappers_in,
)
from exporter.checkpoints.reading import Checkpoint
from exporter.checkpoints.wanted import Wanted
from exporter.closest import closest
from exporter.errors import CheckpointError
from exporter.printable import printable, some

if TYPE_CHECKING:
    from torch import Tensor

    from exporter.variants import Variant

Tensors = Mapping[str, "Tensor"]
Fits = Callable[[Tensors], bool]
"""Tells whether these are exactly the tensors that are looked for."""

_CONSTANT = re.compile(r"(^|\.)pixel_(mean|std)$")
_SHOWN = 6
_MOST_COMPARED = 3000
"""Names that are compared with a pattern that names none of them."""


@dataclass(frozen=True)
class _Choice:
    """A set that fits, or may; `tensors` by the network's names."""

    name: str
    tensors: dict[str, Tensor]
    taken: Taken
    training: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    constants: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)


class SeveralSets(CheckpointError):
    """Several sets of tensors fit, called `names`, and none is chosen."""

    def __init__(self, checkpoint: Checkpoint, names: Sequence[str]) -> None:
        self.names = tuple(names)
        shown = " and ".join(printable(each, 60) or "its top" for each in names)
        super().__init__(
            f"{checkpoint.path} holds {len(names)} sets of tensors that fit, {shown}: say which "
            "with --tensors NAME"
        )


def choose(
    checkpoint: Checkpoint, candidates: Iterable[Variant], wanted: Wanted | None = None
) -> Checkpoint:
    """Return the checkpoint with the tensors that fit one of the candidates; see `choose_by`."""
    return choose_by(checkpoint, whole_of(candidates), wanted)


def whole_of(candidates: Iterable[Variant]) -> Fits:
    """Make the test whether tensors are a whole file of one of the candidates."""
    known, renames = list(candidates), Renames()
    return lambda tensors: (
        bool(fitting(tensors, known, renames)) or bool(decoder_owners(known, tensors, renames))
    )


def either(one: Fits, other: Fits) -> Fits:
    """Make the test whether tensors pass one of two."""
    return lambda tensors: one(tensors) or other(tensors)


def choose_by(checkpoint: Checkpoint, fits: Fits, wanted: Wanted | None = None) -> Checkpoint:
    """Return the checkpoint with the tensors that fit, under plain names.

    Args:
        checkpoint: as read.
        fits: what is looked for.
        wanted: what the user says; None for nothing.

    Returns:
        If nothing in it fits, its largest set, or the one that is wanted, without what is ignored.

    Raises:
        CheckpointError: several sets fit and none is chosen, there is none of that name, or a
            pattern of what to ignore names nothing.
    """
    wanted = wanted or Wanted()
    found: dict[int, _Choice] = {}
    sets = checkpoint.sets or {"": checkpoint.tensors}
    together = _together(sets)
    for place in sorted(sets, key=together.__contains__):
        if place in together and found:
            continue
        for choice in _Set.of(place, sets[place], wanted.ignore).fitting(fits):
            # A set may be a part of one above it; the place further down says more.
            key = id(next(iter(choice.tensors.values())))
            found[key] = max(found.get(key, choice), choice, key=lambda each: len(each.name))
    choices = list(found.values())
    if wanted.ignore:
        _require_named(checkpoint, sets, wanted.ignore)
    if not choices:
        return _unchosen(checkpoint, sets, wanted)
    return _with(checkpoint, _pick(checkpoint, choices, sets, wanted.tensors))


def _together(sets: Mapping[str, Tensors]) -> set[str]:
    """Name the sets that are those inside them put together; they are looked into last."""
    found = set()
    for place, tensors in sets.items():
        inner = [held for at, held in sets.items() if at.startswith(f"{place}." if place else "")]
        own = {id(each) for held in inner if held is not tensors for each in held.values()}
        if all(id(tensor) in own for tensor in tensors.values()):
            found.add(place)
    return found


def _pick(
    checkpoint: Checkpoint, choices: list[_Choice], sets: Mapping[str, Tensors], name: str
) -> _Choice:
    if name:
        choices = _named(name, {each.name: each for each in choices})
        if not choices:
            raise _no_such_set(checkpoint, name, sets)
    if len(choices) > 1:
        raise SeveralSets(checkpoint, [each.name for each in choices])
    return choices[0]


def _named(name: str, choices: Mapping[str, _Choice]) -> list[_Choice]:
    """List those of this name, else those whose names hold it."""
    if name in choices:
        return [choices[name]]
    return [each for own, each in choices.items() if name in own]


def _no_such_set(checkpoint: Checkpoint, name: str, sets: Mapping[str, Tensors]) -> CheckpointError:
    there = ", ".join(printable(place, 60) or "its top" for place in list(sets)[:_SHOWN])
    return CheckpointError(
        f"{checkpoint.path} holds no tensors called {printable(name, 60)} that fit; its sets: "
        f"{there}"
    )


def _unchosen(checkpoint: Checkpoint, sets: Mapping[str, Tensors], wanted: Wanted) -> Checkpoint:
    """Take the largest set, or the one that is wanted, for an error that says what differs."""
    places = [p for p in sets if p == wanted.tensors] or [p for p in sets if wanted.tensors in p]
    if not places or (wanted.tensors and len(places) > 1):
        raise _no_such_set(checkpoint, wanted.tensors, sets)
    place = max(places, key=lambda each: len(sets[each]))
    found = _Set.of(place, sets[place], wanted.ignore)
    prefix = network_prefix(found.names)
    inside = {name.removeprefix(prefix) for name in found.names}
    prefix = prefix if len(inside) == len(found.names) else ""
    training = training_beside(found.names, prefix)
    named = {
        name.removeprefix(prefix): found.tensors[held]
        for name, held in found.names.items()
        if name not in training
    }
    taken = Taken(printable(place), printable(prefix))
    return dataclasses.replace(checkpoint, tensors=named, taken=taken)


def _with(checkpoint: Checkpoint, choice: _Choice) -> Checkpoint:
    taken = dataclasses.replace(choice.taken, rounded=checkpoint.taken.rounded)
    said = list(checkpoint.remarks)
    if taken.place and len(checkpoint.sets) > 1:
        said.append(f"took the tensors under {printable(choice.name, 80)}")
    if taken.prefix:
        said.append(f"its tensors are under {printable(taken.prefix, 80)}")
    if taken.wrappers:
        said.append(f"{' and '.join(taken.wrappers)} is taken out of their names")
    if choice.training:
        said.append(f"left out what is training's: {some(sorted(choice.training))}")
    if choice.ignored:
        said.append(f"left out as asked: {some(sorted(choice.ignored))}")
    return dataclasses.replace(
        checkpoint,
        tensors=choice.tensors,
        remarks=tuple(said),
        constants=choice.constants,
        taken=taken,
    )


@dataclass(frozen=True)
class _Set:
    """A set of a file's tensors, without what is ignored.

    Attributes:
        names: plain name -> name in the file.
        ignored: what is left out, by its name in the file, because a pattern names it.
        patterns: what to ignore.
    """

    place: str
    tensors: Tensors
    names: Mapping[str, str]
    ignored: tuple[str, ...]
    patterns: tuple[str, ...]

    @classmethod
    def of(cls, place: str, tensors: Tensors, patterns: tuple[str, ...]) -> _Set:
        named = without_wrappers(tensors)
        spelt = _spellings(named) if patterns else {}
        ignored = {name: name for name, each in spelt.items() if _is_ignored(each, patterns)}
        names = {plain: name for name, plain in named.items() if name not in ignored}
        return cls(place, tensors, names, tuple(ignored), patterns)

    def fitting(self, fits: Fits) -> list[_Choice]:
        """List what fits: all of it, or what is under a prefix; several if names repeat."""
        inside = {
            prefix: {n.removeprefix(prefix) for n in self.names if n.startswith(prefix)}
            for prefix in prefixes(self.names)
        }
        for prefix, held in inside.items():
            # A part's own names may sound like training's: `iou_token`.
            quiet = {name for name in held if not is_training(name)}
            for own in (held, quiet) if len(quiet) < len(held) else (held,):
                twins = [each for each in inside if each != prefix and inside[each] >= own]
                found = self._under([prefix, *twins], own, fits) if own else []
                if found:
                    return found
        return []

    def _under(self, groups: Sequence[str], own: set[str], fits: Fits) -> list[_Choice]:
        """Choose these names under each prefix, if they fit and the rest is training's."""
        left = [n for n in self.names if not any(_is_under(n, group, own) for group in groups)]
        if not all(any(is_beside(n, group) for group in groups) for n in left):
            return []
        if not fits({name: self.tensors[self.names[groups[0] + name]] for name in own}):
            return []
        alone = len(groups) == 1
        return [self._choice(group, own, left, alone=alone) for group in groups]

    def _choice(self, prefix: str, own: set[str], left: Sequence[str], *, alone: bool) -> _Choice:
        names = {n: held for n, held in self.names.items() if _is_under(n, prefix, own)}
        tensors = {n.removeprefix(prefix): self.tensors[held] for n, held in names.items()}
        # The same words in front of every name are a prefix, whatever they are.
        heads = {_head(held, n.removeprefix(prefix)) for n, held in names.items()}
        head = heads.pop() if len(heads) == 1 else None
        wrappers = wrappers_in(names.values()) if head is None else ()
        taken = Taken(printable(self.place), printable(prefix if head is None else head), wrappers)
        training = tuple(self.names[name] for name in left)
        constants = {n: self.tensors[self.names[n]] for n in left if _CONSTANT.search(n)}
        name = self.place if alone else f"{self.place}.{prefix}".strip(".")
        taken = _record(taken, (*training, *self.ignored), self.patterns)
        return _Choice(name, tensors, taken, training, self.ignored, constants)


def _is_under(name: str, prefix: str, own: set[str]) -> bool:
    return name.startswith(prefix) and name.removeprefix(prefix) in own


def _record(taken: Taken, left: Sequence[str], ignored: tuple[str, ...]) -> Taken:
    shown = tuple(printable(name) for name in sorted(left)[:MOST_LEFT_OUT])
    patterns = tuple(printable(pattern) for pattern in ignored)
    return dataclasses.replace(taken, left_out=shown, left_out_count=len(left), ignored=patterns)


def _head(name: str, rest: str) -> str | None:
    """Return what stands before the rest of a name; None if something stands inside it too."""
    return name.removesuffix(rest) if name.endswith(rest) else None


def _spellings(named: Mapping[str, str]) -> dict[str, set[str]]:
    """Name in the file -> that, without wrappers' words, and without the network's prefix too."""
    prefix = network_prefix(named.values())
    return {name: {name, plain, plain.removeprefix(prefix)} for name, plain in named.items()}


def _is_ignored(spellings: Iterable[str], patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for name in spellings for pattern in patterns)


def _require_named(
    checkpoint: Checkpoint, sets: Mapping[str, Tensors], patterns: tuple[str, ...]
) -> None:
    """CheckpointError if a pattern names no tensor."""
    every: set[str] = set()
    for tensors in sets.values():
        every.update(*_spellings(without_wrappers(tensors)).values())
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in every):
            near = closest(pattern, sorted(every)) if len(every) <= _MOST_COMPARED else ()
            meant = f"; did you mean {' or '.join(printable(each, 80) for each in near)}?"
            raise CheckpointError(
                f"--ignore {printable(pattern, 80)} names no tensor of {checkpoint.path}"
                f"{meant if near else ''}"
            )
