"""A volume encoder once a cube of voxels, a mask decoder once a prompt set."""

from __future__ import annotations

from typing import Never, NoReturn

import numpy as np
import numpy.typing as npt

from exporter.bundle.folder import Bundle
from exporter.bundle.layouts import Array
from exporter.bundle.manifest import Manifest
from exporter.bundle.masks import Masks
from exporter.bundle.preprocess import Floats, Frame
from exporter.bundle.prompts import Prompts
from exporter.bundle.volume_cases import DECODER, masks_of_outputs
from exporter.bundle.voxels import (
    Clicks,
    Cube,
    VolumeMasks,
    decoder_inputs,
    place_cube,
    volume_input,
    volume_rule,
)
from exporter.errors import ImageError, RequestError
from runtimes.engines import Load, loader, run_canonical
from runtimes.mask_prompts import MaskPrompt
from runtimes.pictures import Picture
from runtimes.pictures.arrays import Given
from runtimes.segmenters import Request, Segmenter

ENCODER = "volume_encoder"


class VolumeSegmenter(Segmenter):
    """Takes volumes by `set_volume`; it refuses pictures and their prompts by name."""

    def __init__(
        self,
        bundle: Bundle,
        engine: str | None = None,
        threads: int = 2,
        load: Load | None = None,
    ) -> None:
        self.manifest = bundle.manifest
        self.rule, self.prompts = volume_rule(bundle.manifest)
        load = load or loader(bundle, engine, threads)
        self._encoder, self._decoder = load(ENCODER), load(DECODER)
        self._set: tuple[Cube, dict[str, Array]] | None = None

    def set_volume(self, values: npt.NDArray[np.generic], cube: Cube | None = None) -> None:
        """Cut out the cube, normalise it and run the encoder.

        Args:
            values: (X, Y, Z) numbers, in the orientation of the rule if they have one.
            cube: where the network looks; `exporter.bundle.voxels.place_cube` puts it around
                points. None for a volume that it holds whole.

        Raises:
            RequestError: the volume is longer than the cube, and no cube is given.
            ImageError: it has not three axes, nothing above 0, or a number that is not finite.
        """
        values = np.asarray(values)
        if values.ndim != 3 or 0 in values.shape or values.dtype.kind not in "buif":
            raise ImageError(
                f"set_volume takes an array of three axes of numbers, not {values.dtype} of "
                f"{values.shape}"
            )
        cube = cube or self._whole(values.shape)
        spec = self.manifest.graph(ENCODER).spec
        volume = volume_input(values, cube)
        self._set = cube, run_canonical(self._encoder, spec, {"volume": volume})

    def predict_clicks(
        self,
        clicks: Clicks,
        earlier: Floats | None = None,
        *,
        multimask: bool = False,
        no_mask: bool = False,
    ) -> VolumeMasks:
        """Predict the masks of one prompt set in the volume that was set.

        Args:
            clicks: in voxels of the volume.
            earlier: (L, L, L) logits to refine; None to begin.
            multimask: every mask of the rule's `multi` instead of one.
            no_mask: see `exporter.bundle.voxels.decoder_inputs`.

        Raises:
            RequestError: no volume was set.
            PromptError: points outside, or more than the slots take.
        """
        if self._set is None:
            raise RequestError("no volume: call set_volume before predict_clicks")
        cube, embedded = self._set
        low = self.rule.low_res_size
        given = embedded | decoder_inputs(clicks, cube, self.prompts, low, earlier, no_mask=no_mask)
        outputs = run_canonical(self._decoder, self.manifest.graph(DECODER).spec, given)
        return masks_of_outputs(self.manifest, outputs, cube, multimask=multimask)

    def refine(self, clicks: Clicks, earlier: Floats | None = None) -> VolumeMasks:
        """Give one click after another, each with the logits before it, as published."""
        found = self.predict_clicks(clicks.alone(0), earlier)
        for index in range(1, len(clicks.points)):
            found = self.predict_clicks(clicks.alone(index), found.low_res_masks[0])
        return found

    def _whole(self, shape: tuple[int, ...]) -> Cube:
        size = self.rule.size
        if max(shape) > size:
            sides = " x ".join(map(str, shape))
            raise RequestError(
                f"the volume has {sides} voxels, and the network sees {size} a side: give "
                f"set_volume the cube too, place_cube(values.shape, points, {size})"
            )
        x, y, z = shape
        return place_cube((x, y, z), [(0.0, 0.0, 0.0)], size)

    def set_image(self, image: Given) -> tuple[str, ...]:
        """See the class. RequestError."""
        del image
        _refuse(self.manifest)

    def predict(
        self,
        points: npt.ArrayLike | None = None,
        labels: npt.ArrayLike | None = None,
        box: npt.ArrayLike | None = None,
        mask_input: Floats | None = None,
        *,
        multimask: bool = False,
        **others: Never,
    ) -> Masks:
        """See the class. RequestError."""
        del points, labels, box, mask_input, multimask, others
        _refuse(self.manifest)

    def set_picture(self, picture: Picture) -> None:
        """See the class. RequestError."""
        del picture
        _refuse(self.manifest)

    def predict_prompts(
        self, prompts: Prompts, mask_input: Floats | None = None, *, multimask: bool = False
    ) -> Masks:
        """See the class. RequestError."""
        del prompts, mask_input, multimask
        _refuse(self.manifest)

    @staticmethod
    def validate(manifest: Manifest, request: Request, frame: Frame) -> MaskPrompt | None:
        """See the class. RequestError."""
        del request, frame
        _refuse(manifest)


def _refuse(manifest: Manifest) -> NoReturn:
    raise RequestError(
        f"{manifest.variant} segments volumes, not pictures: give set_volume an array of three "
        "axes and predict_clicks the Clicks, or sam-run a .nii, .nii.gz or .npy file"
    )


SEGMENTER = VolumeSegmenter
