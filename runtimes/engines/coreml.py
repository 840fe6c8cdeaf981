"""Core ML itself, on macOS."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from exporter.bundle.layouts import Array
from exporter.bundle.manifest import GraphFile
from exporter.bundle.tensors import GraphSpec
from exporter.closest import unknown
from exporter.errors import BundleError
from runtimes.engines import AGAIN, EngineKind

IMAGE_LAYOUT = "RGB image"
UNITS = "SAM_EXPORT_COMPUTE_UNITS"
"""Environment variable: where Core ML may run a graph; a key of NAMES, `all` if it is not set."""
NAMES = {
    "all": "ALL",
    "cpuAndNeuralEngine": "CPU_AND_NE",
    "cpuAndGPU": "CPU_AND_GPU",
    "cpuOnly": "CPU_ONLY",
}
"""Compute units as Apple's `MLComputeUnits` and as coremltools name them."""


@dataclass(frozen=True)
class _CoremlGraph:
    model: Any
    spec: GraphSpec

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `LoadedGraph`. An input declared as an image goes in as a picture, as on a phone."""
        given: dict[str, Any] = dict(inputs)
        for tensor in self.spec.inputs:
            if tensor.layout == IMAGE_LAYOUT:
                given[tensor.name] = picture(inputs[tensor.name])
        results = self.model.predict(given)
        return {
            t.name: np.asarray(results[t.name]).astype(t.dtype).reshape(t.shape)
            for t in self.spec.outputs
        }


def picture(image: Array) -> Image.Image:
    """Convert (1, 3, S, S) in 0..255, rounded to bytes, to coremltools' CVPixelBuffer input."""
    pixels = np.rint(image[0].transpose(1, 2, 0)).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels)


def _missing() -> str | None:
    if sys.platform != "darwin":
        return "needs macOS"
    if importlib.util.find_spec("coremltools") is None:
        return "pip install 'sam-export[run-coreml]'"
    return None


def _open(path: Path, graph: GraphFile, threads: int) -> _CoremlGraph:
    """Load a package; Core ML chooses its own threads, and compute units among those of UNITS."""
    import coremltools

    named = os.environ.get(UNITS, "all")
    if named not in NAMES:
        raise unknown("compute units", named, NAMES, where=UNITS)
    units = coremltools.ComputeUnit[NAMES[named]]
    try:
        model = coremltools.models.MLModel(str(path), compute_units=units)
    except (RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise BundleError(f"Core ML cannot load {path}: {reason}; {AGAIN}") from error
    return _CoremlGraph(model, graph.spec)


ENGINE = EngineKind(
    name="coreml", target="coreml", missing=_missing, open=_open, module="coremltools"
)
