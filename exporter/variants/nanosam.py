"""NanoSAM (NVIDIA 2023): MobileSAM's encoder distilled into a ResNet-18, with MobileSAM's decoder.

The encoder is published as an ONNX file, and its training code writes `checkpoint.pth`; both are
read. The decoder's weights are MobileSAM's own: `mobile_sam.pt`, that file's decoder alone, or
`mobile_sam_mask_decoder.onnx`, which NanoSAM publishes beside its encoder.

The published exporter of the ONNX files is torch's TorchScript one at opset 16. It folds batch
norms, transposes the weights of linear layers, reshapes and joins tensors, and numbers every tensor
that it changed (`onnx::Conv_248` ...); `exporter.checkpoints.onnx_file` names these by their place
in the graph. The layer at each place is derived by running that exporter on the published
arithmetic; it is not verified against the published files, whose addresses ask for permission.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from exporter.variants import (
    DECODER_PARTS,
    ENCODER_PARTS,
    Layout,
    Published,
    SecondFile,
    Slots,
    Variant,
    mobile_sam,
)
from exporter.variants.sam import APACHE, MASK, PREPROCESS, published_names

if TYPE_CHECKING:
    from torch import Tensor

    from exporter.models.sam import Sam

_STAGES = (2, 2, 2, 2)


def _folded_layers() -> Iterator[str]:
    """List the backbone's convolutions in the order they run."""
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


def _linear_layers() -> Iterator[str]:
    """List the transformer's linear layers in the order they run."""
    attention = ("q_proj", "k_proj", "v_proj", "out_proj")
    for block in ("layers.0", "layers.1"):
        yield from (f"{block}.self_attn.{layer}" for layer in attention)
        yield from (f"{block}.cross_attn_token_to_image.{layer}" for layer in attention)
        yield from (f"{block}.mlp.{layer}" for layer in ("lin1", "lin2"))
        yield from (f"{block}.cross_attn_image_to_token.{layer}" for layer in attention)
    yield from (f"final_attn_token_to_image.{layer}" for layer in attention)


_TRANSPOSED = {
    f"MatMul.{place}.1": f"mask_decoder.transformer.{layer}.weight"
    for place, layer in enumerate(_linear_layers())
}
_RESHAPED = {
    "Mul.0.0": ("prompt_encoder.mask_downscaling.1.weight", (-1,)),
    "Add.0.1": ("prompt_encoder.mask_downscaling.1.bias", (-1,)),
    "Mul.1.0": ("prompt_encoder.mask_downscaling.4.weight", (-1,)),
    "Add.1.1": ("prompt_encoder.mask_downscaling.4.bias", (-1,)),
    "Mul.2.1": ("prompt_encoder.no_mask_embed.weight", (1, -1)),
    "Mul.3.0": ("mask_decoder.output_upscaling.1.weight", (-1,)),
    "Add.2.1": ("mask_decoder.output_upscaling.1.bias", (-1,)),
}
_OUTPUT_TOKENS = "Expand.0.0"


def restore_shapes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put linear weights, channel vectors and tokens of the decoder's ONNX file in torch's form."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name in _TRANSPOSED and tensor.ndim == 2:
            found[_TRANSPOSED[name]] = tensor.T.contiguous()
        elif name in _RESHAPED:
            ours, shape = _RESHAPED[name]
            found[ours] = tensor.reshape(shape)
        elif name == _OUTPUT_TOKENS and tensor.ndim == 3 and len(tensor) == 1:
            found["mask_decoder.iou_token.weight"] = tensor[0, :1]
            found["mask_decoder.mask_tokens.weight"] = tensor[0, 1:]
        else:
            found[name] = tensor
    return found


def decoder_names(name: str) -> str:
    """Strip prefixes: the exported module holds the SAM as `model`, and its mask decoder again."""
    return name.removeprefix("model.")


def training_names(name: str) -> str:
    """Prefix the names of a training checkpoint, which holds the encoder alone."""
    return ENCODER_PARTS[0] + name


def onnx_names(name: str) -> str:
    """Translate the encoder's names; see `exporter.checkpoints.onnx_file` for numbered tensors."""
    return ENCODER_PARTS[0] + _FOLDED.get(name, name)


def _build(*, folded: bool) -> Sam:
    from exporter.models.resnet import NanoSamEncoder, ResNetSize
    from exporter.models.sam import Sam

    return Sam(NanoSamEncoder(ResNetSize(folded=folded))).eval()


def build() -> Sam:
    """Build an untrained NanoSAM."""
    return _build(folded=False)


def build_folded() -> Sam:
    """Build an untrained NanoSAM with biases instead of batch norms."""
    return _build(folded=True)


VARIANTS = (
    Variant(
        name="nanosam_resnet18",
        family="nanosam",
        summary="NanoSAM: ResNet-18 distilled from MobileSAM, whose decoder it keeps",
        parameters=19_895_664,
        preprocess=dataclasses.replace(
            PREPROCESS,
            interpolation="pillow_bicubic",
            rounding="truncate",
            prompt_scale="longest_side",
        ),
        mask=dataclasses.replace(MASK, upscale="crop_bilinear"),
        prompting=Slots(pad_without_box=False),
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
                Layout(
                    "mobile-sam-decoder-onnx",
                    decoder_names,
                    build,
                    parts=DECODER_PARTS,
                    restore=restore_shapes,
                ),
            ),
        ),
    ),
)
