"""One file a target, of its name: a graph's file -> `runtimes.lint.Network`, as `READER`.

It imports its toolkit when it reads: it may be missing.
"""

from __future__ import annotations

import re

_OWNED = re.compile(r"^(?P<module>.+)[._](weight|bias)$")
_FORMS = ("_to_fp16", "_quantized", "_palettized")


def module_of(constant: str) -> str:
    """Read the module off a constant's name; empty if it is not a module's weight or bias."""
    for form in _FORMS:
        constant = constant.removesuffix(form)
    found = _OWNED.match(constant)
    return found["module"] if found else ""


def modules_of(constants: list[str]) -> dict[str, str]:
    """Map the constants that a module owns to it."""
    return {name: module for name in constants if (module := module_of(name))}
