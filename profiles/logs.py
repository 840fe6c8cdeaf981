"""What the harnesses log, said to the user while a command runs.

`sam_export.device` tells of what takes long (INFO: pushing, cooling, booting an emulator),
`sam_export.adb` of every call of adb (DEBUG).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from exporter.progress import Progress

LOGGER = "sam_export"
"""The root of every logger of ours."""


@contextmanager
def show(progress: Progress, warn: Progress, *, debug: bool) -> Iterator[None]:
    """Say every line of our loggers while the block runs.

    Args:
        progress: takes INFO, and DEBUG where it is asked for.
        warn: takes what is WARNING and above.
        debug: whether DEBUG is said.
    """
    logger, handler = logging.getLogger(LOGGER), _Handler(progress, warn)
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
    logger.propagate = False  # whoever calls us from a program of their own hears a line once
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


class _Handler(logging.Handler):
    def __init__(self, progress: Progress, warn: Progress) -> None:
        super().__init__()
        self._progress, self._warn = progress, warn

    def emit(self, record: logging.LogRecord) -> None:
        say = self._warn if record.levelno >= logging.WARNING else self._progress
        say(record.getMessage())
