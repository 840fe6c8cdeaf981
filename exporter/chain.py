"""A short video in torch: what every frame's mask depends on of those before it.

Nine frames fill a bank of seven. On one of them the object is not seen, whatever the weights say:
its score is lowered after the decoder. At last the newest frame looks back again at the prompted
frame alone, to show that the bank matters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from exporter.bundle.agreement import VIDEO
from exporter.bundle.goldens import CHAIN, key
from exporter.bundle.manifest import Manifest
from exporter.bundle.preprocess import Floats
from exporter.bundle.video import CHAIN_STEP, alone
from exporter.errors import LoweringError
from exporter.following import Rules, Run, Step, follow
from exporter.goldens import SEED
from exporter.scenes.scene import point_inside, scene

Arrays = dict[str, npt.NDArray[np.generic]]
FRAMES = 10
LOST_FRAME = 5
HEIGHT, WIDTH = 180, 240
MOVE = (3, 5)
"""Rows and columns that the camera moves a frame."""


def record_chain(
    run: Run, manifest: Manifest, no_pointer: Floats
) -> dict[str, npt.NDArray[np.generic]]:
    """Follow an object of a scene that a camera moves across.

    Args:
        run: the graphs in torch.
        manifest: of the bundle.
        no_pointer: see `exporter.bundle.video.VideoRule`.

    Returns:
        Key -> array, as in `exporter.bundle.goldens`.
    """
    rule, prompts = manifest.video, manifest.prompts
    if rule is None or prompts is None:
        raise LoweringError(f"{manifest.variant} has no memory")
    rules = Rules(manifest.preprocess, prompts, manifest.mask, rule, no_pointer)
    pictures, click = _clip()
    steps = list(follow(run, rules, pictures, click, frozenset({LOST_FRAME})))
    arrays: Arrays = {
        "frames": np.stack(pictures),
        "click": np.asarray(click, np.float32),
        "lost": np.asarray([LOST_FRAME], np.int32),
        "low_res_masks": np.stack([step.logits[::CHAIN_STEP, ::CHAIN_STEP] for step in steps]),
        "object_score_logits": np.asarray([step.score for step in steps], np.float32),
        "seen": _again(run, steps[-1], steps[-1].bank),
        "forgotten": _again(run, steps[-1], alone(steps[-1].bank)),
    }
    return {key(VIDEO, CHAIN, name): array for name, array in arrays.items()}


def _clip() -> tuple[Sequence[npt.NDArray[np.uint8]], tuple[float, float]]:
    """The frames, and a click on an object of the first."""
    rows, columns = (step * (FRAMES - 1) for step in MOVE)
    shown = scene(SEED, HEIGHT + rows, WIDTH + columns)
    pictures = [
        shown.image[MOVE[0] * at : MOVE[0] * at + HEIGHT, MOVE[1] * at : MOVE[1] * at + WIDTH]
        for at in range(FRAMES)
    ]
    seen = shown.instances[:, rows:HEIGHT, columns:WIDTH]  # on every frame
    x, y = point_inside(max(seen, key=np.count_nonzero))
    return [np.ascontiguousarray(each) for each in pictures], (x + columns, y + rows)


def _again(run: Run, step: Step, bank: dict[str, Floats]) -> Floats:
    """Masks (M, h, w) of a frame that looks back at a bank."""
    found = run(step.attention, step.encoded | bank)["conditioned_embeddings"]
    given = step.encoded | step.prompts | {"image_embeddings": found}
    masks = run("mask_decoder", given)["low_res_masks"][0]
    return np.ascontiguousarray(masks[:, ::CHAIN_STEP, ::CHAIN_STEP])
