"""A conformance case: what a checkpoint looks like and what the published code computed with it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from exporter.checkpoints.reading import Checkpoint
from tests.conformance import fill

CASES = Path(__file__).parent / "cases"
VARIANT_OF = {
    "sam_hf_vit_b": "sam_vit_b",
    "slimsam_50_hf": "slimsam_50",
    "slimsam_77_hf": "slimsam_77",
}
"""Cases of another published layout -> the variant."""


@dataclass(frozen=True)
class PublishedCase:
    """NAME.json and NAME.npz."""

    name: str
    facts: dict[str, Any]
    outputs: dict[str, npt.NDArray[np.generic]]

    def checkpoint(self, *, gain: bool = False) -> Checkpoint:
        """The published checkpoint with the case's values, as if read from a file.

        Args:
            gain: with the case's factor on weights: the values behind its arrays `gain.*`.
        """
        return self._filled("checkpoint", self.facts["fill"]["gain"]["factor"] if gain else 1.0)

    def decoder_checkpoint(self) -> Checkpoint | None:
        """The same of the decoder's own file; None where there is none."""
        return self._filled("decoder_checkpoint") if "decoder_checkpoint" in self.facts else None

    def _filled(self, file: str, gain: float = 1.0) -> Checkpoint:
        salt = self.facts["fill"]["salt"]
        tensors = {
            name: torch.from_numpy(self.outputs[f"tensor.{name}"])
            if name in self.facts["fill"].get("stored", ())
            else torch.from_numpy(fill.tensor(name, tuple(shape), salt, gain))
            if fill.is_filled(name, dtype)
            else torch.zeros(shape, dtype=torch.int64)
            for name, (shape, dtype) in self.facts[file]["tensors"].items()
        }
        return Checkpoint(Path(f"{self.name}.pt"), "0" * 64, tensors)

    def classifier(self) -> torch.Tensor:
        """The text embeddings of the case's classes, each of length 1."""
        shape = tuple(self.facts["classifier"]["shape"])
        texts = torch.from_numpy(fill.tensor("classifier", shape, self.facts["fill"]["salt"]))
        return texts / texts.norm(dim=-1, keepdim=True)

    def picture(self) -> npt.NDArray[np.uint8]:
        """The case's image."""
        return fill.picture(**self.facts["image"])

    def volume(self) -> npt.NDArray[np.int16]:
        """The case's volume (X, Y, Z): three pictures, each along two axes."""
        facts = self.facts["image"]
        x, y, z = facts["volume"]
        a, b, c = (
            fill.picture(facts["seed"] + at, *sides)[..., at].astype(np.int16)
            for at, sides in enumerate(((x, y), (y, z), (x, z)))
        )
        return a[:, :, None] + b[None] + c[:, None] + np.int16(facts["offset"])

    def stored(self, name: str, full: npt.NDArray[Any]) -> tuple[Any, Any, float]:
        """An output: the stored part, the same part of ours, its absolute maximum."""
        facts = self.facts["outputs"][name]
        assert list(full.shape) == facts["shape"], name
        part = full[_slices(facts["slice"])]
        return self.outputs[name], part, float(facts["absmax"])


def load(name: str) -> PublishedCase:
    with np.load(CASES / f"{name}.npz") as stored:
        return PublishedCase(name, facts(name), {key: stored[key] for key in stored.files})


def names() -> list[str]:
    """The cases of an image encoder and a mask decoder."""
    return [
        name
        for name in _all_names()
        if "image_embeddings" in facts(name)["outputs"]
        and "classifier" not in facts(name)
        and name not in volume_names()
    ]


def volume_names() -> list[str]:
    """The cases of a network that takes volumes."""
    return [name for name in _all_names() if "volume" in facts(name).get("image", {})]


def detector_names() -> list[str]:
    """The cases of a network that finds everything by itself."""
    return [name for name in _all_names() if "prototypes" in facts(name)["arch"]]


def panoptic_names() -> list[str]:
    """The cases of an encoder whose prompts are a point or a box, with panoptic masks."""
    return [name for name in _all_names() if "classifier" in facts(name)]


def facts(name: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((CASES / f"{name}.json").read_text())
    return facts


def _all_names() -> list[str]:
    return sorted(path.stem for path in CASES.glob("*.json"))


def _slices(text: str) -> tuple[Any, ...]:
    """`[..., ::8, ::8]` -> the index it stands for."""
    parts: list[Any] = []
    for part in text.strip("[]").split(","):
        part = part.strip()
        if part == "...":
            parts.append(Ellipsis)
        elif re.fullmatch(r"-?\d*(:-?\d*){1,2}", part):
            parts.append(slice(*(int(n) if n else None for n in part.split(":"))))
        else:
            parts.append(int(part))
    return tuple(parts)
