"""Ctrl-C while everything is found: the first keeps what is done, a second one drops it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from exporter.signals import Terminated, offered


@dataclass(frozen=True)
class Finish:
    """How far the finishing is: what follows the asking, once that is over or was stopped.

    Attributes:
        encoded: masks whose run lengths are encoded.
        kept: masks that suppression left; of one crop.
        seconds: since the run began.
        stopped: whether Ctrl-C came; one more drops all masks.
    """

    encoded: int
    kept: int
    seconds: float
    stopped: bool


ReportFinish = Callable[[Finish], None]


class Stopping:
    """What Ctrl-C does to one run.

    Args:
        keep: whether the first one keeps what is done; otherwise each is raised.

    Attributes:
        asking_ended: whether the asking was ended before all was asked.
        pressed: whether Ctrl-C came.
    """

    def __init__(self, *, keep: bool) -> None:
        self._keep = keep
        self._finishing = False
        self.asking_ended = self.pressed = False

    def watched(self) -> AbstractContextManager[None]:
        """Within it, a first Ctrl-C that comes while masks are finished waits for them."""
        return offered(self._take) if self._keep else nullcontext()

    def _take(self) -> bool:
        if self.pressed or not self._finishing:
            return False
        self.pressed = True
        return True

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Within it, Ctrl-C ends the asking alone, if what is done is kept."""
        self._finishing = False
        try:
            yield
            self._finishing = True
        except KeyboardInterrupt as end:
            if not self._keep or isinstance(end, Terminated):
                raise
            self._finishing = self.asking_ended = self.pressed = True

    def goes_on(self) -> bool:
        """Tell whether more may be asked after a part that was finished."""
        self.asking_ended = self.asking_ended or self.pressed
        return not self.asking_ended
