"""Say of an unknown name which known one was meant. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from exporter.errors import RequestError
from exporter.printable import printable

SHORT = 8
"""Names that an error lists in any case."""
LIKE = 0.6
"""Similarity, 0 to 1, from which a name may have been meant."""
HOLDS = 0.3
"""How much likelier a name is if it holds the one given, or the other way round."""
STARTS = 0.1
"""How much likelier still if it begins with the one given."""
_LONGEST = 100
"""Characters of an unknown name that are compared."""
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")


def unknown(
    kind: str,
    name: str,
    known: Iterable[str],
    *,
    aliases: Mapping[str, str] | None = None,
    everything: str = "",
    where: str = "",
) -> RequestError:
    """Make the error for a name that is not known.

    Args:
        kind: what it is a name of: `variant`.
        name: as a user spelt it.
        known: every name there is.
        aliases: other people's names -> ours, compared as loosely as ours.
        everything: how to see all names, instead of a long list of them.
        where: the file that holds the name.
    """
    place = f"{printable(where)}: " if where else ""
    return RequestError(f"{place}unknown {kind} {suggest(name, known, aliases, everything)}")


def suggest(
    name: str, known: Iterable[str], aliases: Mapping[str, str] | None = None, everything: str = ""
) -> str:
    """Quote an unknown name, with those that may be meant and what there is; see `unknown`."""
    names = list(known)
    meant = closest(name, names, aliases)
    hint = f" did you mean {' or '.join(meant)}?" if meant else ""
    choices = everything if everything and len(names) > SHORT else _choices(names)
    return f"'{printable(name)}';{hint} {choices}"


def missing(path: Path) -> str:
    """Say of a path at which nothing is that it is missing; of an address, what to do with it."""
    name = path.as_posix()
    if name == "-":
        return "missing: nothing is read from standard input; give a file"
    found = _ADDRESS.match(name)  # a path has but one of the slashes left
    if found is None:
        return "missing"
    if found[1].lower() == "file":
        return f"an address: give the path alone, /{name[found.end() :]}"
    return f"an address, not a path: download {found[1]}://{name[found.end() :]} first"


def _choices(names: Sequence[str]) -> str:
    return f"choose from {', '.join(names)}" if names else "there is none"


def closest(
    name: str, known: Sequence[str], aliases: Mapping[str, str] | None = None, most: int = 3
) -> list[str]:
    """Find the known names that were probably meant, the likeliest first; none if none is like it.

    Of a path the last part counts. Case and punctuation say nothing: `MobileSAM`, `mobile-sam` and
    `mobile_sam` are one. The name that differs in nothing else, or an alias that does, is the only
    answer.
    """
    asked = _plain(name[-_LONGEST:].rpartition("/")[2])
    if not asked:
        return []
    spelt = {_plain(each): each for each in known}
    others = {_plain(alias): ours for alias, ours in (aliases or {}).items() if ours in known}
    for table in (spelt, others):
        if asked in table:
            return [table[asked]]
    words = _words(name[-_LONGEST:].rpartition("/")[2])
    likeness = {
        plain: max(_likeness(asked, plain), _shared(words, _words(known)))
        for plain, known in spelt.items()
    }
    least = max(LIKE, max(likeness.values(), default=0.0) - HOLDS)
    ranked = sorted(likeness, key=lambda plain: -likeness[plain])
    near = [spelt[plain] for plain in ranked if likeness[plain] >= least]
    return list(dict.fromkeys(near))[:most]


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.casefold())


def _words(name: str) -> set[str]:
    return set(re.split(r"[\W_]+", name.casefold())) - {""}


def _shared(asked: set[str], known: set[str]) -> float:
    """Likeness by words, in whatever order: `hq-sam` for `sam_hq_vit_b`, `l0` for `vit_sam_l0`."""
    return LIKE + HOLDS if asked and asked <= known else 0.0


def _likeness(asked: str, plain: str) -> float:
    """From 0 to 1, and more for a name that holds the other: `sam` for `sam_vit_b`."""
    import difflib  # for a misspelt name alone

    ratio = difflib.SequenceMatcher(None, asked, plain).ratio()
    short, long = sorted((asked, plain), key=len)
    # Not in the middle of a number: `sam3` is none of the `edge_sam_3x`.
    inside = len(short) > 2 and re.search(rf"(?<!\d){re.escape(short)}(?!\d|x$)", long)
    if inside:
        return ratio + HOLDS + (STARTS if plain.startswith(asked) else 0.0)
    return ratio if len(short) > 4 or ratio > 0.75 else 0.0
