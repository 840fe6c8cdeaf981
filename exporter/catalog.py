"""The only registry: a file in a catalogue folder is an entry, and its name is the entry's name.

An entry is imported when it is asked for, so a missing toolkit breaks only what needs it.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from exporter.closest import unknown


def names(package: str) -> tuple[str, ...]:
    """List the entries of a catalogue folder, sorted; a name that starts with `_` is no entry."""
    spec = importlib.util.find_spec(package)  # the package itself need not be imported
    if spec is None or not spec.origin:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    folder = Path(spec.origin).parent
    files = {p.stem for p in folder.glob("*.py")}
    folders = {p.parent.name for p in folder.glob("*/__init__.py")}
    return tuple(sorted(n for n in files | folders if not n.startswith("_")))


def load(package: str, name: str, symbol: str) -> Any:
    """Import `symbol` of entry `name`. RequestError names the closest entries if there is none.

    A catalogue's `ALIASES` are other people's names for its entries.
    """
    known = names(package)
    if name not in known:
        kind = package.rsplit(".", 1)[-1].rstrip("s")
        aliases = getattr(importlib.import_module(package), "ALIASES", None)
        raise unknown(kind, name, known, aliases=aliases)
    return getattr(importlib.import_module(f"{package}.{name}"), symbol)


def option_name(entry: str) -> str:
    """Spell an entry as an option's value: `int8_weights` -> `int8-weights`."""
    return entry.replace("_", "-")


def entry_name(option: str) -> str:
    """Spell an option's value as its entry: `int8-weights` -> `int8_weights`."""
    return option.replace("-", "_")
