"""SAM's image encoder written plainly after its paper and published arithmetic, small and slow.

What training code puts into its blocks is put in here: `Fused` (SAMed's LoRA of queries and
values), `LowRank` (PEFT's of any linear layer), `Merged` (loralib's), and the adapters of Medical
SAM Adapter and SAM-Med2D. The names of all tensors are those of the published files.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

WIDTH, HEADS, GRID, WINDOW, DEPTH, GLOBAL = 24, 3, 8, 3, 3, (1,)
"""A grid that windows do not divide: two rows and columns are padding."""


def seed_all(module, seed=0):
    """Fill every parameter with numbers of a size that keeps the network alive."""
    numbers = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(module.named_parameters()):
        scale = 0.3 if parameter.ndim > 1 else 0.1
        start = 1.0 if name.endswith(("norm1.weight", "norm2.weight")) else 0.0
        parameter.data = start + scale * torch.randn(parameter.shape, generator=numbers)
    return module.eval().requires_grad_(False)


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        return self.lin2(F.gelu(self.lin1(x)))


class Attention(nn.Module):
    def __init__(self, side):
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        head = WIDTH // HEADS
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, head))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, head))

    def forward(self, x):
        batch, height, width, _ = x.shape
        q, k, v = (
            part.reshape(batch, height * width, HEADS, -1).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        logits = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
        for a in range(height * width):
            for b in range(height * width):
                row = self.rel_pos_h[a // width - b // width + height - 1]
                column = self.rel_pos_w[a % width - b % width + width - 1]
                logits[:, :, a, b] += (q[:, :, a] * (row + column)).sum(-1)
        mixed = (logits.softmax(-1) @ v).transpose(1, 2).reshape(batch, height, width, WIDTH)
        return self.proj(mixed)


class Block(nn.Module):
    """A block as published, or with an adapter's class: see `forward`."""

    def __init__(self, index, adapter=None):
        super().__init__()
        self.side = GRID if index in GLOBAL else WINDOW
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, eps=1e-6), nn.LayerNorm(WIDTH, eps=1e-6)
        self.attn, self.mlp = Attention(self.side), Mlp()
        self.form = adapter
        if adapter == "medical":
            self.Space_Adapter, self.MLP_Adapter = Bottleneck(skip=True), Bottleneck(skip=False)
            self.Depth_Adapter = Bottleneck(skip=False)
        elif adapter == "med2d":
            self.Adapter = Gated()

    def forward(self, x):
        if self.form == "medical":  # the window is cut first; what pads it goes through the norm
            y = self.windows(x, lambda part: self.Space_Adapter(self.attn(self.norm1(part))))
            x = x + y
            normed = self.norm2(x)
            return x + self.mlp(normed) + 0.5 * self.MLP_Adapter(normed)
        x = x + self.windows(self.norm1(x), self.attn)
        normed = self.norm2(x)
        more = self.Adapter(normed) if self.form == "med2d" else 0
        return x + self.mlp(normed) + more

    def windows(self, x, call):
        side, (_, height, width, _) = self.side, x.shape
        padded = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        out = torch.zeros_like(padded)
        for top in range(0, padded.shape[1], side):
            for left in range(0, padded.shape[2], side):
                part = (slice(None), slice(top, top + side), slice(left, left + side))
                out[part] = call(padded[part])
        return out[:, :height, :width]


class Bottleneck(nn.Module):
    """Medical SAM Adapter's: down to a quarter, GELU, up."""

    def __init__(self, *, skip):
        super().__init__()
        self.skip = skip
        self.D_fc1, self.D_fc2 = nn.Linear(WIDTH, WIDTH // 4), nn.Linear(WIDTH // 4, WIDTH)

    def forward(self, x):
        made = self.D_fc2(F.gelu(self.D_fc1(x)))
        return x + made if self.skip else made


class Gated(nn.Module):
    """SAM-Med2D's: a gate a channel, a convolution down and one up, the input, a norm."""

    def __init__(self):
        super().__init__()
        down, up = (
            nn.Linear(WIDTH, WIDTH // 4, bias=False),
            nn.Linear(WIDTH // 4, WIDTH, bias=False),
        )
        self.channel = nn.Sequential(down, nn.ReLU(), up, nn.Sigmoid())
        self.spatial = nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1, bias=False),
            nn.ReLU(),
            nn.ConvTranspose2d(WIDTH, WIDTH, 4, stride=2, padding=1, bias=False),
            nn.ReLU(),
        )
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x):
        picture = x.permute(0, 3, 1, 2)
        gate = self.channel(picture.mean(dim=(2, 3)))
        made = self.spatial(picture * gate[:, :, None, None]) + picture
        return self.norm(made.permute(0, 2, 3, 1))


class PlainViT(nn.Module):
    """Patches, positions, blocks, neck."""

    def __init__(self, adapter=None):
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, WIDTH, 16, stride=16)
        self.pos_embed = nn.Parameter(torch.zeros(1, GRID, GRID, WIDTH))
        self.blocks = nn.ModuleList(Block(index, adapter) for index in range(DEPTH))

    def forward(self, x):
        x = self.patch_embed.proj(x).permute(0, 2, 3, 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return x


class Fused(nn.Module):
    """SAMed's: the first and the last columns of a fused layer gain a low-rank part."""

    def __init__(self, qkv, rank=2):
        super().__init__()
        self.qkv, self.dim = qkv, qkv.in_features
        for part in "qv":
            setattr(self, f"linear_a_{part}", nn.Linear(self.dim, rank, bias=False))
            setattr(self, f"linear_b_{part}", nn.Linear(rank, self.dim, bias=False))

    def forward(self, x):
        y = self.qkv(x)
        y[..., : self.dim] += self.linear_b_q(self.linear_a_q(x))
        y[..., -self.dim :] += self.linear_b_v(self.linear_a_v(x))
        return y


class LowRank(nn.Module):
    """PEFT's, of a live model: the layer, and two more under an adapter's name."""

    def __init__(self, layer, rank=3, scale=1.0, name="default"):
        super().__init__()
        self.base_layer, self.scale, self.name = layer, scale, name
        self.lora_A = nn.ModuleDict({name: nn.Linear(layer.in_features, rank, bias=False)})
        self.lora_B = nn.ModuleDict({name: nn.Linear(rank, layer.out_features, bias=False)})

    def forward(self, x):
        return self.base_layer(x) + self.scale * self.lora_B[self.name](self.lora_A[self.name](x))


class Merged(nn.Module):
    """loralib's fused layer before it is merged, for queries and values: its parameters' names."""

    def __init__(self, layer, rank=2, scale=0.5):
        super().__init__()
        self.weight, self.bias, self.scale, self.rank = layer.weight, layer.bias, scale, rank
        self.lora_A = nn.Parameter(torch.zeros(2 * rank, layer.in_features))
        self.lora_B = nn.Parameter(torch.zeros(2 * layer.in_features, rank))

    def forward(self, x):
        y, width, rank = F.linear(x, self.weight, self.bias), x.shape[-1], self.rank
        inner = F.linear(x, self.lora_A)
        y[..., :width] += self.scale * F.linear(inner[..., :rank], self.lora_B[:width])
        y[..., -width:] += self.scale * F.linear(inner[..., rank:], self.lora_B[width:])
        return y
