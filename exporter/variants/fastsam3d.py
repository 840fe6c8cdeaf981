"""FastSAM3D (Shen et al. 2024, arXiv 2403.09827): clicks in a volume, by a student of SAM-Med3D.

Two files: the student's encoder alone, and SAM-Med3D's whole model, of which the prompt encoder and
the mask decoder are used and the encoder is not. Both keep their tensors under `model_state_dict`.
The student's published file is of the class with dense attention; the repository's other classes
(sparse and flash attention) have no published weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.bundle.rules import MaskRule, Preprocess
from exporter.variants import (
    DECODER_PARTS,
    ENCODER_PARTS,
    Layout,
    Published,
    SecondFile,
    Variant,
    VolumeSlots,
)
from exporter.variants.sam import APACHE

if TYPE_CHECKING:
    from exporter.models.volume_decoder import VolumeSam

PROMPTING = VolumeSlots(embedding=(1, 384, 64, 8))


def student_names(name: str) -> str:
    """Prefix the names of the student's file, which holds the encoder alone."""
    return ENCODER_PARTS[0] + name


def teacher_names(name: str) -> str | None:
    """Keep SAM-Med3D's own names, without its encoder: the student takes its place."""
    return None if name.startswith(ENCODER_PARTS[0]) else name


def build() -> VolumeSam:
    """Build an untrained FastSAM3D."""
    from exporter.models.volume_decoder import VolumeSam
    from exporter.models.volume_encoder import VolumeViT

    return VolumeSam(VolumeViT()).eval()


VARIANTS = (
    Variant(
        name="fastsam3d",
        family="fastsam3d",
        summary="FastSAM3D: clicks in a volume of 128 voxels a side, decoded by SAM-Med3D",
        parameters=53_224_240,
        preprocess=Preprocess(
            resize="crop",
            size=PROMPTING.rule.size,
            interpolation="none",
            pad_value=(0.0, 0.0, 0.0),
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
        ),
        mask=MaskRule(
            threshold=0.0,
            single=0,
            multi=(1, 2, 3),
            upscale="trilinear",
            low_res_size=PROMPTING.rule.low_res_size,
        ),
        prompting=PROMPTING,
        licence=APACHE,
        repository="https://github.com/arcadelab/FastSAM3D",
        paper="arXiv:2403.09827",
        published=Published(
            "6layers6heads_student",
            "https://huggingface.co/techlove/FastSAM3D",
            by_hand=True,
        ),
        layouts=(Layout("fastsam3d", student_names, build, parts=ENCODER_PARTS),),
        decoder=SecondFile(
            Published(
                "sam_med3d_turbo.pth",
                "https://huggingface.co/blueyo0/SAM-Med3D/resolve/main/sam_med3d_turbo.pth",
            ),
            (Layout("sam-med3d", teacher_names, build, parts=DECODER_PARTS),),
        ),
    ),
)
