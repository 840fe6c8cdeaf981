"""Goldens and answers of a device -> the figures of `runtimes.parity`.

The device is made up: a graph answers a golden case with its stored outputs times its `gain`, and
the decoder's with that of the embeddings that it is given, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.random import PCG64, Generator

from exporter.bundle import travel
from exporter.bundle.folder import read_manifest, seal
from exporter.bundle.goldens import GOLDENS
from exporter.bundle.manifest import MANIFEST, Figure, Manifest
from exporter.bundle.preprocess import Floats
from runtimes.engines import LoadedGraph
from runtimes.golden_vectors.answers import LOW, TOKENS
from runtimes.golden_vectors.bundles import fill
from runtimes.golden_vectors.pixels import SIZE
from runtimes.golden_vectors.prompting import SAM as SLOTS
from runtimes.golden_vectors.store import Topic
from runtimes.parity import check_parity

BUNDLE = "checked"
ENCODER, DECODER = "image_encoder", "mask_decoder"
GAINS = {
    "exact": (1.0, 1.0),
    "nearly": (1.0005, 0.9995),
    "a decoder of half": (1.0, 0.5),
    "an encoder of half": (0.5, 1.0),
    "deaf": (1.0, 0.0),
    "turned": (1.0, -1.0),
}
"""Case -> the gains of the encoder and the decoder."""


def parity(folder: Path) -> Topic:
    """Write the bundle into `folder`, and figures of every device."""
    path = folder / BUNDLE
    path.mkdir(parents=True)
    manifest = replace(fill(path), precision="fp16")
    arrays = _arrays()
    np.savez(path / GOLDENS, allow_pickle=False, **arrays)
    written = _figures(path, manifest, arrays, GAINS["nearly"])
    (path / MANIFEST).unlink()
    seal(path, replace(manifest, parity=written))
    (path / travel.ATTRIBUTES).unlink()
    topic = Topic("parity")
    for name, gains in GAINS.items():
        rows = [asdict(figure) for figure in _figures(path, read_manifest(path), arrays, gains)]
        topic.add(
            name,
            bundle=BUNDLE,
            gains=dict(zip((ENCODER, DECODER), gains, strict=True)),
            figures=rows,
        )
    return topic


def _figures(
    path: Path, manifest: Manifest, arrays: dict[str, Floats], gains: tuple[float, float]
) -> tuple[Figure, ...]:
    """Measure a device, to the digits that every processor's order of a sum leaves alone."""
    figures = check_parity(path, manifest, load=_device(arrays, *gains))
    return tuple(replace(figure, value=float(f"{figure.value:.12g}")) for figure in figures)


def _arrays() -> dict[str, Floats]:
    rng = Generator(PCG64(20))

    def normal(*shape: int) -> Floats:
        return rng.standard_normal(shape, np.float32)

    arrays = {
        f"{ENCODER}/scene/image": np.floor(128 + 40 * normal(1, 3, SIZE, SIZE)).clip(0, 255),
        f"{ENCODER}/scene/image_embeddings": normal(1, 4, 5, 5),
        f"{DECODER}/*/mask_input": np.zeros((1, 1, LOW, LOW), np.float32),
        f"{DECODER}/*/has_mask_input": np.zeros(1, np.float32),
    }
    arrays[f"{DECODER}/*/image_embeddings"] = arrays[f"{ENCODER}/scene/image_embeddings"]
    for case in ("box", "click_a", "click_b"):
        own = {
            "point_coords": normal(1, SLOTS.slots, 2),
            "point_labels": np.ones((1, SLOTS.slots), np.float32),
            "low_res_masks": normal(1, TOKENS, LOW, LOW),
            "iou_predictions": normal(1, TOKENS),
        }
        arrays |= {f"{DECODER}/{case}/{name}": array for name, array in own.items()}
    return arrays


@dataclass(frozen=True)
class _Answering:
    """A loaded graph of the device."""

    answer: Callable[[Mapping[str, Floats]], dict[str, Floats]]

    def run(self, inputs: Mapping[str, Floats]) -> dict[str, Floats]:
        return self.answer(inputs)


def _device(
    arrays: dict[str, Floats], encoder: float, decoder: float
) -> Callable[[str], LoadedGraph]:
    embeddings = arrays[f"{ENCODER}/scene/image_embeddings"]

    def encode(inputs: Mapping[str, Floats]) -> dict[str, Floats]:
        del inputs
        return {"image_embeddings": embeddings * np.float32(encoder)}

    def decode(inputs: Mapping[str, Floats]) -> dict[str, Floats]:
        asked = inputs["point_coords"]
        keys = [key for key in arrays if key.endswith("/point_coords")]
        (key,) = (key for key in keys if np.array_equal(arrays[key], asked))
        case = key.rpartition("/")[0]
        gain = np.float32(decoder) * (inputs["image_embeddings"].flat[0] / embeddings.flat[0])
        return {n: arrays[f"{case}/{n}"] * gain for n in ("low_res_masks", "iou_predictions")}

    return {ENCODER: _Answering(encode), DECODER: _Answering(decode)}.__getitem__
