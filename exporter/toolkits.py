"""Whether the toolkits of a job are installed, and load: found out before any work."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from exporter.bundle.folder import LOG
from exporter.errors import RequestError
from exporter.printable import printable
from exporter.progress import quiet
from exporter.targets import EVERY_EXPORT, Target, groups, load_target

LINE = 200
"""Characters of a toolkit's error that are shown."""


def require_toolkits(asked: Sequence[Target]) -> None:
    """RequestError if a target's toolkit is not installed; it names one extra for them all."""
    lame = {target.name: missing for target in asked if (missing := target.missing())}
    if not lame:
        return
    for target in asked:
        reason = target.unavailable() if target.name in lame else ""
        if reason:
            raise RequestError(f"--target {target.name} cannot be exported here: {reason}")
    every = len(lame) > 1 and set(lame) >= set(groups()["all"])
    owners = dict.fromkeys(target.extra for target in asked if target.name in lame)
    extras = "all" if every else ",".join(owners)
    packages = ", ".join(dict.fromkeys(name for missing in lame.values() for name in missing))
    raise RequestError(
        f"--target {', '.join(lame)} {'needs' if len(lame) == 1 else 'need'} {packages}: "
        f"pip install 'sam-export[{extras}]'"
    )


def load_toolkits(asked: Sequence[str]) -> None:
    """Import what lowering will need, without what it prints.

    A toolkit may be installed and broken: a library of it that does not load here, a package of
    its own that is missing or of another version. Later imports find it loaded, so this costs
    nothing but to a job that fails.

    Args:
        asked: names of targets.

    Raises:
        RequestError: one does not load; it says which, why and how to install it again.
    """
    for target in map(load_target, asked):
        for module in (*EVERY_EXPORT, *target.loads):
            try:
                with TemporaryDirectory(prefix="sam-export-") as folder, quiet(Path(folder, LOG)):
                    importlib.import_module(module)
            except Exception as error:  # of any class: it is whatever its code raises
                first = (str(error).splitlines() or [""])[0]
                raise RequestError(
                    f"--target {target.name}: {module} is installed and does not load "
                    f"({type(error).__name__}: {printable(first, LINE)}): "
                    f"pip install --force-reinstall 'sam-export[{target.extra}]'"
                ) from error
