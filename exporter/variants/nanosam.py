"""NanoSAM (NVIDIA 2023): MobileSAM's encoder distilled into a ResNet-18, with MobileSAM's decoder.

The encoder is published as an ONNX file, and its training code writes `checkpoint.pth`; both are
read. The decoder's weights are MobileSAM's own: `mobile_sam.pt`, or that file's decoder alone.
(NanoSAM also publishes them as `mobile_sam_mask_decoder.onnx`; that graph has them folded and
transposed, and is not read.)

What is known of the ONNX file: its published exporter is torch's TorchScript one at opset 16, which
folds the batch norms and numbers the folded tensors (`onnx::Conv_248` ...); `exporter.onnx_file`
names those by their place in the graph. Which place is which layer is derived from running that
exporter on this network, and not verified against the published file, whose address asks for a
permission.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from exporter.variants import (
    DECODER_PARTS,
    ENCODER_PARTS,
    Layout,
    Published,
    SecondFile,
    Variant,
    mobile_sam,
)
from exporter.variants.sam import APACHE, MASK, PREPROCESS, published_names

if TYPE_CHECKING:
    from exporter.models.sam import Sam

_STAGES = (2, 2, 2, 2)


def _folded_layers() -> Iterator[str]:
    """The backbone's convolutions in the order in which they run."""
    yield "conv1"
    for stage, depth in enumerate(_STAGES, start=1):
        for block in range(depth):
            yield f"layer{stage}.{block}.conv1"
            yield f"layer{stage}.{block}.conv2"
            if stage > 1 and block == 0:
                yield f"layer{stage}.{block}.downsample.0"


_FOLDED = {
    f"Conv.{place}.{slot}": f"backbone.{layer}.{leaf}"
    for place, layer in enumerate(_folded_layers())
    for slot, leaf in ((1, "weight"), (2, "bias"))
}


def training_names(name: str) -> str:
    """The training code saves the encoder alone."""
    return ENCODER_PARTS[0] + name


def onnx_names(name: str) -> str:
    """The encoder alone, with numbered tensors named by their place (`exporter.onnx_file`)."""
    return ENCODER_PARTS[0] + _FOLDED.get(name, name)


def _build(*, folded: bool) -> Sam:
    from exporter.models.mask_decoder import DecoderSize
    from exporter.models.resnet import NanoSamEncoder, ResNetSize
    from exporter.models.sam import Geometry, Sam

    size = ResNetSize(folded=folded)
    return Sam(NanoSamEncoder(size), Geometry(size.image_size, size.grid), DecoderSize()).eval()


def build() -> Sam:
    """An untrained NanoSAM."""
    return _build(folded=False)


def build_folded() -> Sam:
    """The same with biases in the place of batch norms."""
    return _build(folded=True)


VARIANTS = (
    Variant(
        name="nanosam_resnet18",
        family="nanosam",
        summary="NanoSAM: ResNet-18 distilled from MobileSAM, whose decoder it keeps",
        parameters=19_895_664,
        embedding=(1, 256, 64, 64),
        preprocess=dataclasses.replace(
            PREPROCESS,
            interpolation="pillow_bicubic",
            rounding="truncate",
            prompt_scale="longest_side",
        ),
        mask=dataclasses.replace(MASK, upscale="crop_bilinear"),
        mask_tokens=4,
        licence=APACHE,
        repository="https://github.com/NVIDIA-AI-IOT/nanosam",
        paper="",
        published=Published(
            "resnet18_image_encoder.onnx",
            "https://drive.google.com/file/d/14-SsvoaTl-esC3JOzomHDnI9OGgdO2OR/view",
            by_hand=True,
        ),
        layouts=(
            Layout("nanosam", training_names, build, parts=ENCODER_PARTS),
            Layout("onnx", onnx_names, build_folded, parts=ENCODER_PARTS),
        ),
        decoder=SecondFile(
            mobile_sam.VARIANTS[0].published,
            (
                *mobile_sam.LAYOUTS,
                Layout("mobile-sam-decoder", published_names, build, parts=DECODER_PARTS),
            ),
        ),
        pad_without_box=False,
    ),
)
