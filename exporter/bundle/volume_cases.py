"""One volume with clicks, from its voxels to its masks, as `goldens.npz` keeps it. numpy only.

The counterpart of `exporter.bundle.end_to_end` for volumes, with the same keys: `picture` is the
volume (X, Y, Z) of int16, longer than the cube along one axis and shorter along another; `image` is
every `STEP`-th voxel of the cube that the host makes of it. A case has clicks and torch's answer;
`after_CASE` has the answer to that case's stored outputs of the decoder, without any graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.bundle.agreement import END_TO_END
from exporter.bundle.end_to_end import AFTER, ANSWERING
from exporter.bundle.goldens import Goldens
from exporter.bundle.manifest import Manifest
from exporter.bundle.preprocess import Bools, Floats
from exporter.bundle.voxels import Clicks, Cube, VolumeMasks, volume_masks
from exporter.errors import BundleError

Array = npt.NDArray[Any]
STEP = 4
DECODER = "mask_decoder"
REPLAYED = ("click_a", "full")
"""Golden cases of the decoder whose outputs go through the host's rules alone."""
_AGAIN = "copy or export the bundle again"


@dataclass(frozen=True)
class VolumeAsk:
    """Clicks in the volume.

    Attributes:
        refines: the case whose `low_res_masks` is fed back; empty for none.
    """

    clicks: Clicks
    multimask: bool = False
    refines: str = ""

    def arrays(self) -> dict[str, Array]:
        """As goldens keep it."""
        rows = [(*at, label) for at, label in zip(self.clicks.points, self.clicks.labels)]  # noqa: B905
        return {
            "points": np.array(rows, np.float64).reshape(-1, 4),
            "multimask": np.array([self.multimask], np.uint8),
            "refines": np.frombuffer(self.refines.encode(), np.uint8),
        }

    @classmethod
    def of(cls, goldens: Goldens, case: str) -> VolumeAsk:
        """Read a case's. BundleError if it is none."""
        points, multimask, refines = (
            goldens.array(END_TO_END, case, name) for name in ("points", "multimask", "refines")
        )
        try:
            clicks = Clicks(
                tuple((float(x), float(y), float(z)) for x, y, z, _ in points),
                tuple(int(label) for *_, label in points),
            )
            return cls(clicks, bool(multimask.any()), refines.tobytes().decode("ascii"))
        except (ValueError, TypeError, OverflowError):
            raise BundleError(
                f"{goldens.place}: {END_TO_END}/{case} holds no clicks; {_AGAIN}"
            ) from None


def answer_arrays(found: VolumeMasks) -> dict[str, Array]:
    """An answer as goldens keep it."""
    return {
        "masks": np.packbits(found.masks.reshape(len(found.masks), -1), axis=1),
        "scores": np.asarray(found.iou_predictions, np.float32),
    }


def read_answer(goldens: Goldens, case: str, shape: tuple[int, int, int]) -> tuple[Bools, Floats]:
    """Read a case's masks (K, X, Y, Z) and scores (K,). BundleError if they are of another size."""
    packed, scores = (goldens.array(END_TO_END, case, name) for name in ("masks", "scores"))
    voxels = int(np.prod(shape))
    if packed.dtype != np.uint8 or packed.shape != (scores.size, -(-voxels // 8)):
        raise BundleError(
            f"{goldens.place}: {END_TO_END}/{case} holds no masks of {shape}; {_AGAIN}"
        )
    bits = np.unpackbits(packed, axis=1, count=voxels).astype(np.bool_)
    return bits.reshape(-1, *shape), np.asarray(scores, np.float32)


def sampled_cube(volume: Floats) -> Floats:
    """(1, S, S, S) -> every `STEP`-th voxel."""
    return np.ascontiguousarray(volume[:, ::STEP, ::STEP, ::STEP])


def masks_of_outputs(
    manifest: Manifest, outputs: Mapping[str, Array], cube: Cube, *, multimask: bool
) -> VolumeMasks:
    """Apply the rules to the decoder's outputs (1, M, ...)."""
    logits, iou = (np.asarray(outputs[name][0], np.float32) for name in ANSWERING)
    return volume_masks(logits, iou, cube, manifest.mask, multimask=multimask)


def volume_replays(
    manifest: Manifest, goldens: Goldens, cube: Cube
) -> Iterator[tuple[str, VolumeMasks]]:
    """Apply the rules to stored outputs, as if they were for the volume: `after_` names, masks."""
    spec = manifest.graph(DECODER).spec
    for case in REPLAYED:
        outputs = {t.name: goldens.expected(spec, case, t.name) for t in spec.outputs}
        found = masks_of_outputs(manifest, outputs, cube, multimask=case != REPLAYED[0])
        yield f"{AFTER}{case}", found
