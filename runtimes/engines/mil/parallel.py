"""Run blocks of one operation on several threads, with numpy's BLAS held to one thread each.

OpenBLAS splits even small products, and its threads wait for each other by spinning: on a busy
machine, MobileSAM's window attention (1,500 products of 196 x 196 x 32) took 4 to 12 s of CPU
instead of 0.1 s. Whole blocks never wait for each other, elementwise work gains too, and results do
not depend on the number of threads.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache
from pathlib import Path

import numpy as np

_PREFIX = "scipy_openblas"
_GET, _SET = f"{_PREFIX}_get_num_threads64_", f"{_PREFIX}_set_num_threads64_"


@cache
def _blas() -> ctypes.CDLL | None:
    """Find the OpenBLAS in numpy's wheel; None for another BLAS, which is left alone."""
    root = Path(np.__file__).parent
    for folder in (root.parent / "numpy.libs", root / ".dylibs"):
        for path in sorted(folder.glob(f"*{_PREFIX}*")):
            library = ctypes.CDLL(str(path))
            if hasattr(library, _GET) and hasattr(library, _SET):
                return library
    return None


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="mil")


@cache
def workers() -> int:
    """Count the threads that BLAS would use; OPENBLAS_NUM_THREADS limits both."""
    library = _blas()
    return 1 if library is None else max(1, int(library[_GET]()))


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Within the block, run each product on the thread that asks for it."""
    library = _blas()
    if library is None:
        yield
        return
    workers()  # counted once, before the limit
    before = int(library[_GET]())
    library[_SET](1)
    try:
        yield
    finally:
        library[_SET](before)


def for_blocks(count: int, step: int, function: Callable[[slice], None]) -> None:
    """Call `function` with each slice of `step` of range(count); blocks must not share results.

    Each runs in a copy of the caller's context, which holds numpy's error state.
    """
    blocks = [slice(start, min(count, start + step)) for start in range(0, count, step)]
    if len(blocks) < 2 or workers() < 2:
        for block in blocks:
            function(block)
        return
    tasks = [_pool(workers()).submit(copy_context().run, function, block) for block in blocks]
    for task in tasks:
        task.result()
