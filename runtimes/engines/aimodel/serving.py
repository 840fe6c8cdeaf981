"""Serve one function of an .aimodel: `python -m ...serving FILE FUNCTION ARITHMETIC`.

ARITHMETIC is a word of `runtimes.engines.aimodel`.
It answers on the stdout that it was started with; what the runtime prints goes to stderr. It ends
with its input or with the process that started it, also in the middle of a computation.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, Any

import numpy as np

from exporter.child import leave_no_core
from runtimes.engines.aimodel import FLOAT32
from runtimes.engines.aimodel.talk import WIDENED, receive, send, send_error
from runtimes.engines.aimodel.widening import widen

_LOOK_S = 1.0


async def serve(
    path: Path, function: str, arithmetic: str, given: IO[bytes], told: IO[bytes]
) -> None:
    """Load the function, say that it is loaded and in which arithmetic, then answer inputs."""
    from coreai.runtime import NDArray

    asset, widened = _asset(path, arithmetic)
    async with asset.executable() as model:
        loaded = model.load_function(function)
        send(told, {WIDENED: np.array(widened)})
        while (inputs := receive(given)) is not None:
            outputs = await loaded({name: NDArray(array) for name, array in inputs.items()})
            send(told, {name: array.numpy() for name, array in outputs.items()})


def _asset(path: Path, arithmetic: str) -> tuple[Any, bool]:
    """Open the file, or what it becomes in float32, and say whether that is another program.

    The other program is written to the folder for temporary files, which who started us clears.
    """
    from coreai.authoring.asset import AIModelAsset
    from coreai.runtime import AIModelAssetMetadata

    asset = AIModelAsset.load(path)
    if arithmetic == FLOAT32:
        program = asset.program
        if widen(program._module._mlir_module):
            wide = Path(tempfile.mkdtemp()) / "float32.aimodel"
            return program.save_asset(wide, AIModelAssetMetadata()), True
    return asset, False


def end_with(parent: int) -> None:
    """End this process soon after its parent has: nobody waits for a computation of minutes.

    Windows does not tell: there it ends with its input alone.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(path: str, function: str, arithmetic: str) -> int:
    """Serve until the input ends; tell of an error in one line."""
    end_with(os.getppid())
    leave_no_core()
    told = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        asyncio.run(serve(Path(path), function, arithmetic, sys.stdin.buffer, told))
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - the runtime's errors share no base
        lines = str(error).splitlines() or [type(error).__name__]
        send_error(told, lines[0], toolkit=isinstance(error, ImportError))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
