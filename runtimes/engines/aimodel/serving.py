"""Serve one function of an .aimodel: `python -m runtimes.engines.aimodel.serving FILE FUNCTION`.

It answers on the stdout that it was started with; what the runtime prints goes to stderr. It ends
with its input, that is, with the process that started it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import IO

from runtimes.engines.aimodel.talk import receive, send, send_error


async def serve(path: Path, function: str, given: IO[bytes], told: IO[bytes]) -> None:
    """Load the function, say that it is loaded, then answer inputs with outputs."""
    from coreai.authoring.asset import AIModelAsset
    from coreai.runtime import NDArray

    async with AIModelAsset.load(path).executable() as model:
        loaded = model.load_function(function)
        send(told, {})
        while (inputs := receive(given)) is not None:
            outputs = await loaded({name: NDArray(array) for name, array in inputs.items()})
            send(told, {name: array.numpy() for name, array in outputs.items()})


def main(path: str, function: str) -> int:
    """Serve until the input ends; tell of an error in one line."""
    told = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        asyncio.run(serve(Path(path), function, sys.stdin.buffer, told))
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - the runtime's errors share no base
        lines = str(error).splitlines() or [type(error).__name__]
        send_error(told, lines[0])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
