"""Names of a program's inner functions that are the same in every export.

Core AI's converter makes a function of each layer norm and attention, and ends its name with eight
random letters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

LETTERS = 8


@contextmanager
def names_by_order(graph: str) -> Iterator[None]:
    """Within it, the letters follow from the graph's name and the order of the functions.

    Two graphs of a file have other letters, since their functions stand side by side.
    """
    from coreai.authoring import func, graph_builder

    numbers = count()

    def named(name: str) -> str:
        return f"{name}_{_letters(f'{graph} {next(numbers)}')}"

    modules = (func, graph_builder)
    kept = [module._randomize_fn_name for module in modules]
    for module in modules:
        module._randomize_fn_name = named
    try:
        yield
    finally:
        for module, function in zip(modules, kept, strict=True):
            module._randomize_fn_name = function


def _letters(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "".join(chr(ord("a") + byte % 26) for byte in digest[:LETTERS])
