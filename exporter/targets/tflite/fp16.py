"""A float32 .tflite file to one whose large constants are float16.

AI Edge Quantizer's own float16 recipe halves the weights of convolutions and fully connected layers
alone; tables of positions and the constant sides of products would stay twice as large.
"""

from __future__ import annotations

import dataclasses

from exporter.bundle.manifest import GraphFile
from exporter.targets import Lowering
from exporter.targets.tflite._constants import half, store
from exporter.targets.tflite._file import tidy
from exporter.targets.tflite.fp32 import convert


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.tflite` with its large constants in float16."""
    file = convert(work)
    path = work.folder / file.file
    store(path, work.precision.keeps_float, half)
    tidy(path)
    return dataclasses.replace(file, bytes=path.stat().st_size)
