"""Clips of a few small frames, made here: a red bar that walks right, a green corner."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT, FRAMES, RATE = 64, 48, 6, 10


def picture(frame: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    rgb = np.full((height, width, 3), 30, np.uint8)
    left = frame * 4 % width
    rgb[:, left : left + 8] = [255, 40 * frame % 255, 0]
    rgb[:8, :8] = [0, 255, 0]
    return rgb


def folder(path: Path, frames: int = FRAMES) -> Path:
    path.mkdir()
    for frame in range(frames):
        Image.fromarray(picture(frame)).save(path / f"{frame}.png")
    return path


def video(
    path: Path,
    frames: int = FRAMES,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    codec: str = "libx264",
    pixels: str = "yuv420p",
    seconds: Sequence[float] | None = None,
    turned: int | None = None,
) -> Path:
    import av

    tick = Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=RATE)
        stream.width, stream.height = size
        stream.pix_fmt, stream.codec_context.time_base = pixels, tick
        if codec == "libx264":
            stream.options = {"crf": "12", "preset": "veryfast"}
        if turned is not None:
            stream.set_display_rotation(turned)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24")
            time = number / RATE if seconds is None else seconds[number]
            frame.pts, frame.time_base = round(time * 1000), tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def ppm(frames: int = FRAMES) -> bytes:
    head = f"P6\n# a comment\n{WIDTH} {HEIGHT}\n255\n".encode()
    return b"".join(head + picture(frame).tobytes() for frame in range(frames))
