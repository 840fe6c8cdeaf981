"""Put capsules together ahead of time, so that measuring needs no network.

python -m android_harness.ways.capsule --abi arm64-v8a --target onnx --target tflite
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from android_harness.runtimes import ABIS, targets
from android_harness.ways.capsule.assemble import build
from exporter.cache import default_cache
from exporter.errors import SamExportError
from exporter.printable import one_line


def main(argv: Sequence[str] | None = None) -> int:
    """Put capsules together and say where; the exit status of the last that failed, else 0."""
    parser = argparse.ArgumentParser(
        "python -m android_harness.ways.capsule",
        description="Fetch and build what the way `capsule` pushes to a device, and keep it.",
    )
    add = parser.add_argument
    add("--abi", action="append", choices=ABIS, help="of the device; repeatable (default: all)")
    add("--target", action="append", choices=targets(), help="repeatable (default: all)")
    add("--cache", type=Path, help="folder to keep it in (default: where sam-bench looks)")
    arguments = parser.parse_args(argv)
    cache, status = arguments.cache or default_cache(os.environ), 0
    for abi in arguments.abi or ABIS:
        for target in arguments.target or targets():
            try:
                sys.stdout.write(one_line(f"{abi} {target}: {build(abi, target, cache)}") + "\n")
            except SamExportError as error:
                sys.stderr.write(one_line(f"capsule: error: {abi} {target}: {error}") + "\n")
                status = error.exit_status
    return status


if __name__ == "__main__":
    sys.exit(main())
