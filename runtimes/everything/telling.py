"""What `sam-run --everything` says while it works, and how Ctrl-C ends its writing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from exporter.progress import Progress as Say
from exporter.progress import heartbeat
from exporter.signals import Terminated, offered
from runtimes.everything.asking import Progress
from runtimes.everything.stopping import Finish

EVERY = 2.0  # seconds between two lines of progress
_AGAIN = "Ctrl-C again drops them"


class Teller:
    """Tells progress and the time left, every few seconds.

    Attributes:
        stopped: whether Ctrl-C came.
    """

    def __init__(self, say: Say) -> None:
        self._say, self._next = say, EVERY
        self._first = 0.0  # when the first mask of this crop was encoded
        self.stopped = False

    def __call__(self, progress: Progress) -> None:
        """See `runtimes.everything.asking.Report`."""
        if progress.seconds < self._next or progress.done >= progress.planned:
            return
        self._next = progress.seconds + EVERY
        left = progress.seconds / progress.done * (progress.planned - progress.done)
        line = f"{progress.done} of {progress.planned} prompts, about {max(left, 1):.0f} s left"
        self._say(f"{line} (Ctrl-C keeps what is done)")

    def finish(self, finish: Finish) -> None:
        """See `runtimes.everything.stopping.ReportFinish`."""
        if finish.stopped and not self.stopped:
            self.stopped = True
            self._next = finish.seconds + EVERY
            self._say(f"keeping the masks found so far; {_AGAIN}")
        if finish.encoded == 1:
            self._first = finish.seconds
        if finish.encoded < 2 or finish.encoded >= finish.kept or finish.seconds < self._next:
            return
        self._next = finish.seconds + EVERY
        each = (finish.seconds - self._first) / (finish.encoded - 1)
        left = each * (finish.kept - finish.encoded)
        line = f"encoding masks: {finish.encoded} of {finish.kept}, about {max(left, 1):.0f} s left"
        self._say(f"{line} ({_AGAIN})" if self.stopped else line)


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Put the block's time into `seconds`."""
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[stage] = time.perf_counter() - start


def write_all(
    jobs: Sequence[tuple[Path, Callable[[], None]]], say: Say, *, waits: Path | None
) -> list[Path]:
    """Write files in order until Ctrl-C; returns those that are whole.

    Args:
        jobs: files, each with what writes it.
        say: told every few seconds of one that takes long.
        waits: the file that a first Ctrl-C waits for, before it ends the rest.
    """
    written: list[Path] = []
    now: Path | None = None
    pressed = False

    def take() -> bool:
        nonlocal pressed
        if pressed or now is None or now != waits:
            return False
        pressed = True
        return True

    try:
        with offered(take):
            for now, write in jobs:
                if pressed:
                    break
                with heartbeat(say, f"writing {now.name}", EVERY):
                    write()
                    written.append(now)
    except Terminated:
        raise
    except KeyboardInterrupt:
        pass
    return written
