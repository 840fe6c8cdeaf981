"""Write a generated clip as pictures: `python -m profiles.lab.demo.draw_clip clip --seed 10900007`.

It prints the objects that can be clicked on the first frame, and where.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from exporter.scenes.clip import clip
from exporter.scenes.prompts import deepest_pixel
from exporter.scenes.scene import HELD_OUT


def main() -> None:
    """Parse, draw."""
    parser = argparse.ArgumentParser("python -m profiles.lab.demo.draw_clip", description=__doc__)
    add = parser.add_argument
    add("folder", type=Path, help="for 000.png, 001.png ...; made if it is not there")
    add(
        "--seed", type=int, default=HELD_OUT, help="see exporter.scenes.clip (default: %(default)s)"
    )
    add("--height", type=int, default=240)
    add("--width", type=int, default=320)
    add("--frames", type=int, default=24)
    arguments = parser.parse_args()
    made = clip(arguments.seed, arguments.height, arguments.width, arguments.frames)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(made.frames):
        Image.fromarray(frame).save(arguments.folder / f"{number:03}.png")
    for number in made.clear():
        x, y = deepest_pixel(made.owners[0] == number)
        shown = " ".join(f"{share:.1f}" for share in made.shown[:, number])
        print(f"object {number}: --point {x:.0f},{y:.0f}  seen {shown}")


if __name__ == "__main__":
    main()
