"""Names that training code makes of a network's: prefixes, wrappers, and tensors of its own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator

TRAINING = re.compile(
    r"loss|criterion|metric|optim|sched|averag|confmat|meter|auroc|jaccard|accuracy|"
    r"(^|_)(acc|dice|iou|f1|ema|step|steps|epoch|initted|counter|precision|recall)(_|$)|"
    r"^pixel_(mean|std)$|^image_(mean|std)$"
)
_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
_PART = re.compile(
    r"((?:[^.]+\.)*?)(?:image_encoder|vision_encoder|(?:sam_)?prompt_encoder|(?:sam_)?mask_decoder)\."
)
_DEEPEST, _MOST_PREFIXES, _LEAST_SHARE = 4, 24, 0.15


def without_wrappers(names: Iterable[str]) -> dict[str, str]:
    """Name in the file -> without the words of parallel and compiled modules, unless two meet."""
    plain = {n: ".".join(word for word in n.split(".") if word not in _WRAPPERS) for n in names}
    return plain if len(set(plain.values())) == len(plain) else {n: n for n in plain}


def prefixes(names: Iterable[str]) -> Iterator[str]:
    """List the prefixes that hold a good share of the names, and the one of most parts.

    The shortest come first; each is listed once.
    """
    yield ""
    every = list(names)
    level, total, given, deepest = [("", every)], len(every), 1, network_prefix(every)
    for _ in range(_DEEPEST):
        deeper = []
        for prefix, group in level:
            counts = Counter(name[len(prefix) :].partition(".")[0] for name in group)
            for part, count in counts.most_common(_DEEPEST):
                if count >= _LEAST_SHARE * total and given < _MOST_PREFIXES:
                    longer, given = f"{prefix}{part}.", given + 1
                    yield longer
                    deepest = "" if longer == deepest else deepest
                    deeper.append((longer, [name for name in group if name.startswith(longer)]))
        level = deeper
    if deepest:
        yield deepest


def _below(name: str, prefix: str) -> str:
    """Cut the parts off that a name shares with a prefix it does not have."""
    for part in prefix.split("."):
        if not part or not name.startswith(f"{part}."):
            break
        name = name.removeprefix(f"{part}.")
    return name


def is_training(name: str) -> bool:
    """Tell whether a tensor is training's, by the first part of its name."""
    return TRAINING.search(name.partition(".")[0].lower()) is not None


def is_beside(name: str, prefix: str) -> bool:
    """Tell whether a tensor that is not the network's is training's."""
    below = name.removeprefix(prefix) if name.startswith(prefix) else _below(name, prefix)
    return is_training(below)


def wrappers_in(names: Iterable[str]) -> tuple[str, ...]:
    """List the words of parallel and compiled modules that names hold."""
    words = {word for name in names for word in name.split(".")}
    return tuple(word for word in _WRAPPERS if word in words)


def network_prefix(names: Iterable[str]) -> str:
    """Return what mostly stands before the name of a network's part; empty if none has one."""
    heads = Counter(found[1] for name in names if (found := _PART.match(name)) is not None)
    return heads.most_common(1)[0][0] if heads else ""


def training_beside(names: Collection[str], prefix: str) -> set[str]:
    """List the names that are training's beside a network whose parts are named under a prefix."""
    apart = {name for name in names if _PART.match(name) is None}
    whole = len(apart) < len(names)
    return {name for name in apart if whole and is_beside(name, prefix)}
