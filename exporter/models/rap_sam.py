"""RAP-SAM (Xu et al. 2024, arXiv 2401.10228; ICLR 2025 as RMP-SAM): one encoder, two heads.

Reference: xushilin1/RAP-SAM at 2e7bf1c, `seg/models/necks/ramsam_neck.py` over mmdet's ResNet-50.
Every level of the backbone is brought to stride 4 and summed; `exporter.models.rap_sam_head` makes
masks of that one map. The network is built for one height and width, multiples of 32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models.deformable import DeformableConv
from exporter.models.rap_sam_head import PanopticHead, RapSamHead
from exporter.models.resnet import fuse

STRIDE = 4
STEP = 32


@dataclass(frozen=True)
class RapSamSize:
    """Sizes of a network; the defaults are the published ResNet-50's at its landscape size.

    Attributes:
        input_size: height and width of the padded input.
        widths: of the backbone's stages; its bottlenecks are four times narrower.
        depths: bottlenecks of each stage.
        stem: width before the first stage.
        fusion: width at which the levels are summed.
        width: of the feature map, kernels and queries.
        queries: panoptic kernels.
        classifier: width of a class's text embedding.
    """

    input_size: tuple[int, int] = (800, 1344)
    widths: tuple[int, int, int, int] = (256, 512, 1024, 2048)
    depths: tuple[int, int, int, int] = (3, 4, 6, 3)
    stem: int = 64
    fusion: int = 128
    width: int = 256
    queries: int = 100
    classifier: int = 768

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the feature map, at stride 4."""
        return self.input_size[0] // STRIDE, self.input_size[1] // STRIDE


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 with the stride, 1 x 1, and a shortcut, projected if width or size change."""

    def __init__(self, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        inner = cout // 4
        self.conv1 = nn.Conv2d(cin, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, cout, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(cout)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or cin != cout:
            projection = nn.Conv2d(cin, cout, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(cout))

    def freeze_tables(self) -> None:
        """Fold every batch norm."""
        for index in "123":
            fuse(self, f"conv{index}", f"bn{index}")
        if self.downsample is not None:
            fuse(self.downsample, "0", "1")

    def forward(self, x: Tensor) -> Tensor:
        """(1, Cin, H, W) -> (1, Cout, H / stride, W / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(y + shortcut)


class Backbone(nn.Module):
    """Normalised image -> the maps of the four stages, strides 4 to 32."""

    def __init__(self, size: RapSamSize) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, size.stem, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(size.stem)
        width = size.stem
        for index, (cout, depth) in enumerate(zip(size.widths, size.depths, strict=True)):
            strides = (1 if index == 0 else 2, *(1,) * (depth - 1))
            blocks = [
                Bottleneck(width if at == 0 else cout, cout, stride)
                for at, stride in enumerate(strides)
            ]
            self.add_module(f"layer{index + 1}", nn.Sequential(*blocks))
            width = cout

    def freeze_tables(self) -> None:
        """Fold the first batch norm."""
        fuse(self, "conv1", "bn1")

    def forward(self, x: Tensor) -> list[Tensor]:
        """(1, 3, H, W) -> maps of strides 4, 8, 16, 32."""
        x = F.relu(self.bn1(self.conv1(x)))
        # As `exporter.models.resnet.ResNet.forward` pads it, and why.
        x = F.max_pool2d(F.pad(x, (1, 0, 1, 0)), 3, 2)
        maps = []
        for index in range(1, 5):
            x = self.get_submodule(f"layer{index}")(x)
            maps.append(x)
        return maps


class Upsampling(nn.Module):
    """A deformable convolution that halves the width, and a transposed one that doubles the size.

    The transposed convolution, 4 x 4 with stride 2 and padding 1, is the unpadded one without its
    border: TFLite's converter takes no padding of it.
    """

    def __init__(self, cin: int, cout: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.deformable = DeformableConv(cin, cout, size)
        self.up_sample = nn.ConvTranspose2d(cout, cout, 4, stride=2, bias=False)
        self.up_bn = nn.BatchNorm2d(cout)

    def freeze_tables(self) -> None:
        """Fold the second batch norm."""
        if isinstance(self.up_bn, nn.BatchNorm2d):
            layers = self.up_sample.eval(), self.up_bn.eval()
            self.up_sample = nn.utils.fuse_conv_bn_eval(*layers, transpose=True)
            self.up_bn = nn.Identity()  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        """(1, Cin, H, W) -> (1, Cout, 2H, 2W)."""
        whole = self.up_bn(self.up_sample(self.deformable(x)))
        return F.relu(whole[:, :, 1:-1, 1:-1])


class Fusion(nn.Module):
    """The backbone's four maps -> one at stride 4, with its coordinates."""

    def __init__(self, size: RapSamSize) -> None:
        super().__init__()
        self.grid = size.grid
        wide = tuple(size.fusion * 2**level for level in (3, 2, 1, 0))
        for at, (width, cin) in enumerate(zip(wide, reversed(size.widths), strict=True)):
            self.add_module(f"lateral_conv{at}", nn.Conv2d(cin, width, 1))
            name = f"conv_a{5 - at}"
            self.add_module(name, nn.Conv2d(width, size.fusion, 1, bias=False))
        for at in (1, 2, 3):
            stride = 2 ** (6 - at)
            sides = size.input_size[0] // stride, size.input_size[1] // stride
            self.add_module(f"up{at}", Upsampling(wide[at - 1], wide[at], sides))
        self.bias = nn.Parameter(torch.zeros(1, size.fusion, 1, 1))
        self.output_conv = nn.Conv2d(size.fusion, size.fusion, 3, padding=1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps of strides 4 to 32 -> (1, C, h, w)."""
        levels = [self.get_submodule("lateral_conv0")(maps[3])]
        for at in (1, 2, 3):
            lateral = self.get_submodule(f"lateral_conv{at}")(maps[3 - at])
            levels.append(self.get_submodule(f"up{at}")(levels[-1]) + lateral)
        total = self.bias + self.get_submodule("conv_a2")(levels[3])
        for at, level in enumerate(levels[:3]):
            narrow = self.get_submodule(f"conv_a{5 - at}")(level)
            whole = F.interpolate(narrow, size=self.grid, mode="bilinear", align_corners=False)
            total = total + whole
        out: Tensor = self.output_conv(total)
        return out


class RapSamEncoder(nn.Module):
    """Normalised image -> the feature map that every prompt and every query shares."""

    def __init__(self, size: RapSamSize) -> None:
        super().__init__()
        self.backbone = Backbone(size)
        self.fusion = Fusion(size)
        self.loc_conv = nn.Conv2d(size.fusion + 2, size.width, 1)
        height, width = size.grid
        across = torch.linspace(-1, 1, width).expand(1, 1, height, width)
        down = torch.linspace(-1, 1, height).reshape(1, 1, height, 1).expand(1, 1, height, width)
        # x then y, over the map with its padding.
        places = torch.cat([across, down], dim=1)
        self.register_buffer("places", places.contiguous(), persistent=False)
        self.places: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """(1, 3, H, W) -> (1, C, H / 4, W / 4)."""
        fused = self.fusion(self.backbone(x))
        out: Tensor = self.loc_conv(torch.cat([fused, self.places], dim=1))
        return out


class RapSam(nn.Module):
    """The whole network. `mask_decoder` answers prompts; `panoptic` finds everything with them."""

    def __init__(self, size: RapSamSize = RapSamSize()) -> None:
        super().__init__()
        self.size = size
        self.image_encoder = RapSamEncoder(size)
        self.mask_decoder = RapSamHead(size.width)
        self.panoptic = PanopticHead(size.width, size.queries, size.classifier)
