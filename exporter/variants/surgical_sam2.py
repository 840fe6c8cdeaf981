"""Surgical SAM 2 (Liu et al. 2024, arXiv 2408.07931): SAM 2 Hiera-small trained on surgery.

Its novelty, leaving out memories that are alike, is for video, at an input of 512; for an image it
is SAM 2.0's network with other weights, so a file fits both. Its repository names no licence for
the weights and publishes them on a page that a program cannot download from: pass the file as
`--checkpoint`.
"""

from __future__ import annotations

import dataclasses

from exporter.bundle.licence import Licence
from exporter.bundle.video import Pruning
from exporter.variants import Published, sam2

REPOSITORY = "https://github.com/jinlab-imvr/Surgical-SAM-2"
UNSTATED = Licence("unstated", REPOSITORY, commercial_use=False)

_SMALL = next(variant for variant in sam2.VARIANTS if variant.name == "sam2_hiera_small")

VARIANTS = (
    dataclasses.replace(
        _SMALL,
        name="surgical_sam2",
        family="surgical_sam2",
        summary="Surgical SAM 2: SAM 2.0 Hiera-small trained on surgery (image path)",
        licence=UNSTATED,
        repository=REPOSITORY,
        paper="arXiv:2408.07931",
        published=Published(
            "sam2_hiera_s_endo18.pth",
            "https://drive.google.com/file/d/102AsbwpntPfUV96ANO2AWe7L6feskYnM/view",
            by_hand=True,
        ),
        memory=dataclasses.replace(
            sam2.memory(sam2.SMALL.size, "2.0"), pruning=Pruning(listed=7, dropped=2), size=512
        ),
    ),
)
