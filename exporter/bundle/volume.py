"""How a host segments a volume with a bundle's graphs, as data. Standard library and msgspec."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from exporter.bundle.ranges import Positive, Side

if TYPE_CHECKING:
    from exporter.bundle.manifest import Manifest

Orientation = Literal["RAS"]
VolumeNormalisation = Literal["positive_voxels"]
FirstMask = Literal["zeros"]
RULES_OF_VOLUMES = ("crop", "none", "trilinear")
"""Words of `Preprocess.resize`, `Preprocess.interpolation` and `MaskRule.upscale`."""


@dataclass(frozen=True)
class VolumeRule:
    """From a volume of voxels to the `volume` input (1, S, S, S), and from logits to its masks.

    Axes are array axes 0, 1, 2, in `point_coords` (B, N, 3) too: voxels of the cube of S a side. A
    tensor over the low-resolution cube of L a side has its first two axes as one: (L * L, L).

    1. A volume whose directions are known is turned, by whole axes, to `orientation`.
    2. The cube is cut out around the middle of the prompts, moved so that it reaches over an edge
       only where the volume is shorter than S; there zeros are added, of an odd number the larger
       half first.
    3. It is normalised: `positive_voxels` is (v - mean) / deviation for every voxel, both over
       those of the cube above 0, the deviation with one voxel less in its denominator.
    4. Points are packed as `PromptRule` says; there is no box.
    5. Without an earlier mask, `mask_input` is `first_mask` and `has_mask_input` 1, as published:
       that is another prompt than no mask (`has_mask_input` 0). Later clicks of the published flow
       come alone, with the logits of the click before.
    6. Logits are upscaled to S x S x S, trilinearly with half-voxel centres; a voxel belongs to the
       mask where they are above `MaskRule.threshold`, and nothing outside the cube does.

    Attributes:
        size: S, in voxels.
        low_res_size: L.
        spacing: millimetres of a voxel's side that the network was trained at.
    """

    size: Side
    low_res_size: Side
    spacing: Positive
    orientation: Orientation = "RAS"
    normalisation: VolumeNormalisation = "positive_voxels"
    first_mask: FirstMask = "zeros"


def volume_disagreements(manifest: Manifest) -> Iterator[str]:
    """Say what in a manifest does not go together with its being for volumes, or for pictures."""
    rule, preprocess, mask = manifest.volume, manifest.preprocess, manifest.mask
    words = (preprocess.resize, preprocess.interpolation, mask.upscale)
    if rule is None:
        for word in set(words) & set(RULES_OF_VOLUMES):
            yield f"{word} is of volumes, and it has no volume"
        return
    if words != RULES_OF_VOLUMES:
        yield f"volume has {', '.join(RULES_OF_VOLUMES)}, not {', '.join(words)}"
    if manifest.prompts is None or manifest.prompts.batch != 1:
        yield "volume has prompts, and one prompt set in a call"
    if manifest.video is not None:
        yield "volume and video do not go together"
    if (rule.size, rule.low_res_size) != (preprocess.size, mask.low_res_size):
        yield "volume.size and low_res_size differ from those of preprocess and mask"
