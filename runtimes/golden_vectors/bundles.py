"""Small bundles: a good one, and others that every twin has to refuse.

Their graph files hold no graph: a twin that opens the good one has not loaded a model yet.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from exporter.bundle import travel
from exporter.bundle.folder import seal
from exporter.bundle.licence import Licence
from exporter.bundle.manifest import (
    HASH,
    MANIFEST,
    SCHEMA_VERSION,
    GraphFile,
    Manifest,
    Source,
    canonical,
    content_hash,
)
from exporter.bundle.rules import MaskRule, Preprocess, PromptRule
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.bundle.video import VideoRule
from exporter.bundle.volume import VolumeRule
from runtimes.golden_vectors.answers import LOW, SAM, TOKENS
from runtimes.golden_vectors.pixels import LONGEST, SIZE
from runtimes.golden_vectors.prompting import SAM as SLOTS

ENCODER, DECODER = "image_encoder.onnx", "mask_decoder.onnx"
DEEP = 20_000
"""Brackets that exhaust the stack of a parser that calls itself for each."""
VOLUME = VolumeRule(size=SIZE, low_res_size=LOW, spacing=1.5)
Edit = Callable[[Path], object]
_HERE = ("edit", "opens_here")
"""Fields of a refused bundle that are of no use to a twin."""


@dataclass(frozen=True)
class Refused:
    """A bundle that nobody may open.

    Attributes:
        edit: what is done to a copy of the good one.
        error: the type of the error.
        says: words of its message.
        target: what the engine runs that it is opened with.
        opens_here: whether this package opens it all the same: only the twins do less.
    """

    edit: Edit
    error: str
    says: tuple[str, ...]
    target: str = "onnx"
    opens_here: bool = False


def write_bundles(folder: Path) -> None:
    """Write `good` and every refused one."""
    good = folder / "good"
    good.mkdir(parents=True)
    fill(good)
    for name, refused in REFUSED.items():
        copy = folder / name
        shutil.copytree(good, copy)
        refused.edit(copy)


def fill(folder: Path) -> Manifest:
    """Write the good bundle; its manifest, unsealed."""
    (folder / ENCODER).write_bytes(b"an image encoder would stand here\n")
    (folder / DECODER).write_bytes(b"a mask decoder would stand here\n")
    manifest = _manifest(folder)
    seal(folder, manifest)
    # In this repository it would govern the files around it.
    (folder / travel.ATTRIBUTES).unlink()
    return manifest


def _tensor(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, shape, "float32", "NCHW"[: len(shape)])


def _manifest(folder: Path) -> Manifest:
    embeddings = _tensor("image_embeddings", 1, 4, 5, 5)
    prompts = (
        _tensor("point_coords", SLOTS.batch, SLOTS.slots, 2),
        _tensor("point_labels", SLOTS.batch, SLOTS.slots),
        _tensor("mask_input", SLOTS.batch, 1, LOW, LOW),
        _tensor("has_mask_input", SLOTS.batch),
    )
    answers = (_tensor("low_res_masks", 1, TOKENS, LOW, LOW), _tensor("iou_predictions", 1, TOKENS))
    image = _tensor("image", 1, 3, SIZE, SIZE)
    specs = (
        GraphSpec("image_encoder", (image,), (embeddings,), "image"),
        GraphSpec("mask_decoder", (embeddings, *prompts), answers, "prompt"),
    )
    files = zip(specs, (ENCODER, DECODER), strict=True)
    graphs = tuple(GraphFile(s, file, (folder / file).stat().st_size) for s, file in files)
    return bare(graphs, LONGEST, SLOTS, SAM)


def bare(
    graphs: tuple[GraphFile, ...],
    preprocess: Preprocess,
    prompts: PromptRule,
    mask: MaskRule,
    video: VideoRule | None = None,
) -> Manifest:
    """Make a manifest of graphs and rules, unsealed."""
    return Manifest(
        schema_version=SCHEMA_VERSION,
        variant="nothing",
        family="nothing",
        target="onnx",
        precision="fp32",
        platform="any",
        licence=Licence("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0", True),
        source=Source("https://example.org", "", "none", "", "none"),
        graphs=graphs,
        preprocess=preprocess,
        prompts=prompts,
        mask=mask,
        video=video,
        parity=(),
        tools={},
        files={},
        created="2026-01-01T00:00:00Z",
    )


def _data(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    return data


def _edit(change: Callable[[dict[str, Any]], object]) -> Edit:
    """Change a manifest's data, and hash it anew."""

    def edit(folder: Path) -> None:
        data = _data(folder)
        change(data)
        text = canonical(data | {HASH: content_hash(data)})
        (folder / MANIFEST).write_text(text, encoding="ascii", newline="\n")

    return edit


def _unhashed(folder: Path) -> None:
    data = _data(folder)
    data["mask"]["threshold"] = 0.25
    (folder / MANIFEST).write_text(canonical(data), encoding="ascii", newline="\n")


def _outside(data: dict[str, Any]) -> None:
    data["graphs"][0]["file"] = "../good/image_encoder.onnx"
    data["files"]["../good/image_encoder.onnx"] = data["files"].pop(ENCODER)


REFUSED: dict[str, Refused] = {
    "newer_schema": Refused(
        _edit(lambda data: data.update(schema_version=SCHEMA_VERSION + 1)),
        "BundleError",
        ("schema version", str(SCHEMA_VERSION + 1), str(SCHEMA_VERSION)),
    ),
    "unknown_field": Refused(
        _edit(lambda data: data["preprocess"].update(turn=90)),
        "BundleError",
        ("preprocess", "turn", "newer release"),
    ),
    "unknown_word": Refused(
        _edit(lambda data: data["preprocess"].update(interpolation="lanczos")),
        "BundleError",
        ("interpolation", "lanczos", "newer release"),
    ),
    "missing_field": Refused(
        _edit(lambda data: data["mask"].pop("upscale")), "BundleError", ("mask", "upscale")
    ),
    "wrong_type": Refused(
        _edit(lambda data: data["prompts"].update(slots="six")), "BundleError", ("prompts.slots",)
    ),
    "no_prompts": Refused(
        _edit(lambda data: data.update(prompts=None)),
        "BundleError",
        ("prompts", "detections", "drawn_prompts"),
    ),
    "of_a_volume": Refused(
        _edit(lambda data: data.update(volume=asdict(VOLUME))), "BundleError", ("volume",)
    ),
    "nested_too_deep": Refused(
        lambda folder: (folder / MANIFEST).write_text(f'{{"a":{"[" * DEEP}{"]" * DEEP}}}'),
        "BundleError",
        (MANIFEST, "is not JSON"),
    ),
    "edited_manifest": Refused(_unhashed, "BundleError", ("changed after the export",)),
    "no_square": Refused(
        _edit(lambda data: data["preprocess"].update(resize="within", limits=[SIZE, SIZE])),
        "BundleError",
        ("preprocess.resize", "within", "RAP-SAM", "sam-run"),
        opens_here=True,
    ),
    "outside": Refused(_edit(_outside), "BundleError", ("not a path inside the bundle",)),
    "missing_file": Refused(
        lambda folder: (folder / DECODER).unlink(), "BundleError", (DECODER, "missing")
    ),
    "changed_file": Refused(
        lambda folder: (folder / DECODER).write_bytes(b"a mask decoder would stand hero\n"),
        "BundleError",
        (DECODER, "changed after the export"),
    ),
    "no_manifest": Refused(
        lambda folder: (folder / MANIFEST).rename(folder / "manifest.txt"),
        "BundleError",
        (MANIFEST,),
    ),
    "other_target": Refused(
        _edit(lambda data: data.update(target="tflite")), "RequestError", ("onnx", "tflite")
    ),
}


def rows() -> list[dict[str, Any]]:
    """Describe every bundle, the good one first, as refusals.json does."""
    good: dict[str, Any] = {"name": "good", "kind": "bundle", "target": "onnx", "error": None}
    return [
        good,
        *(
            {"name": name, "kind": "bundle"}
            | {key: value for key, value in asdict(each).items() if key not in _HERE}
            for name, each in REFUSED.items()
        ),
    ]
