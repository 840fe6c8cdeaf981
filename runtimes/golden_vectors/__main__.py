"""Write every topic; the same bytes each time."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from exporter.bundle import travel
from exporter.printable import one_line
from runtimes.golden_vectors.answers import detections, masks, polygons
from runtimes.golden_vectors.bundles import write_bundles
from runtimes.golden_vectors.everything import everything, everything_steps
from runtimes.golden_vectors.parity import parity
from runtimes.golden_vectors.pixels import orientations, preprocessing
from runtimes.golden_vectors.prompting import drawn, slots
from runtimes.golden_vectors.refusals import refusals
from runtimes.golden_vectors.tracking import tracking

CASES = Path(__file__).parent / "cases"
TOPICS = (
    preprocessing, orientations, slots, drawn, masks, polygons, detections, refusals, everything,
    everything_steps, tracking,
)  # fmt: skip


def write(folder: Path) -> None:
    """Write everything into `folder`, which may not exist yet."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / travel.ATTRIBUTES).write_bytes(travel.KEEP_BYTES.encode())
    for topic in TOPICS:
        topic().write(folder)
    write_bundles(folder / "bundles")
    parity(folder / "bundles").write(folder)


def main() -> None:
    """Replace the committed files."""
    argparse.ArgumentParser("golden_vectors", description=__doc__).parse_args()
    shutil.rmtree(CASES, ignore_errors=True)
    write(CASES)
    sizes = [file.stat().st_size for file in CASES.rglob("*") if file.is_file()]
    print(one_line(f"{CASES}: {len(sizes)} files, {sum(sizes) / 1e3:.0f} KB"))


if __name__ == "__main__":
    main()
