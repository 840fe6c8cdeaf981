"""An image encoder, SAM's prompt encoder and SAM's mask decoder, under their published names."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from exporter.models.mask_decoder import DecoderSize, MaskDecoder
from exporter.models.prompt_encoder import PromptEncoder


@dataclass(frozen=True)
class Geometry:
    """Sides of the square input image (pixels) and of the embedding (cells).

    Attributes:
        frame_size: side of the square in which the published code encodes positions, if that is
            not the input image; see `exporter.bundle.rules.Preprocess`.
    """

    image_size: int = 1024
    grid: int = 64
    frame_size: int | None = None


SAM_GEOMETRY = Geometry()
STRIDE = 16
"""Pixels of the input for one cell of the embedding, in every family that follows SAM."""


def geometry(image_size: int) -> Geometry:
    """Make SAM's geometry for an input of another size."""
    return Geometry(image_size, image_size // STRIDE)


SAM_DECODER = DecoderSize()


class Sam(nn.Module):
    """The three published parts. `exporter.graphs` splits it into the two static graphs."""

    def __init__(
        self,
        encoder: nn.Module,
        geometry: Geometry = SAM_GEOMETRY,
        decoder: DecoderSize = SAM_DECODER,
        mask_channels: int = 16,
    ) -> None:
        super().__init__()
        self.geometry = geometry
        self.image_encoder = encoder
        frame = geometry.frame_size or geometry.image_size
        self.prompt_encoder = PromptEncoder(
            decoder.width, geometry.grid, frame, mask_channels, scale=frame / geometry.image_size
        )
        self.mask_decoder = MaskDecoder(decoder, geometry.grid)

    def forward(self, image: Tensor) -> Tensor:
        """Normalised (1, 3, S, S) -> image embedding (1, C, h, w)."""
        embedding: Tensor = self.image_encoder(image)
        return embedding
