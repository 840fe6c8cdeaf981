"""`python -m tests.fuzz [--minutes N] [--only TARGET] [--write]`: fuzz, and print the counts."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from tests.fuzz.campaign import Count, run
from tests.fuzz.page import PAGE, write
from tests.fuzz.target import names


def main() -> int:
    """Exit status: 0 nothing found, 1 something."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="for each target (default: 1)")
    parser.add_argument("--only", action="append", choices=names(), help="this target; repeatable")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations (default: 0)")
    parser.add_argument("--findings", type=Path, default=Path("build/fuzz"), help="folder for them")
    parser.add_argument("--write", action="store_true", help=f"rows into {PAGE.name}")
    arguments = parser.parse_args()
    counts = []
    for name in arguments.only or names():
        folder = arguments.findings / name
        shutil.rmtree(folder, ignore_errors=True)
        count = run(name, 60 * arguments.minutes, arguments.seed, folder)
        counts.append(count)
        print(_line(count), flush=True)
        for what, file in count.findings.items():
            print(f"  {file.with_suffix('')}: {what}", flush=True)
        if arguments.write:
            write(count, arguments.seed)
    return int(any(count.findings for count in counts))


def _line(count: Count) -> str:
    found = f"{len(count.findings) or 'no'} finding{'s' * (len(count.findings) != 1)}"
    return (
        f"{count.target}: {count.tried} inputs in {count.seconds:.0f} s: "
        f"{count.accepted} accepted, {count.refused} refused, {found}"
    )


if __name__ == "__main__":
    sys.exit(main())
