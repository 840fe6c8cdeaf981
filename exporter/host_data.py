"""Numbers of a network that only the host of a video uses, for the bundle's `video.npz`."""

from __future__ import annotations

from typing import cast

import numpy as np
from torch import Tensor, nn

from exporter.bundle.preprocess import Floats
from exporter.models.sam2_video import Remembering


def host_data(network: nn.Module) -> dict[str, Floats]:
    """Take them off a frozen network; names are in `exporter.bundle.video.VideoRule`."""
    sam = cast("Remembering", network)
    down = sam.mask_downsample
    found = {
        "no_object_pointer": sam.no_obj_ptr.flatten(),
        "no_memory_embedding": sam.no_memory,
        "mask_downsample_weight": down.weight,
        "mask_downsample_bias": cast("Tensor", down.bias),
    }
    return {name: np.asarray(tensor.detach().numpy(), np.float32) for name, tensor in found.items()}
