"""Compare the preparation of pictures that a file tells of with that of a variant's graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from exporter.errors import CheckpointError
from exporter.printable import printable

if TYPE_CHECKING:
    from exporter.checkpoints.reading import Checkpoint
    from exporter.variants import Variant


def check_constants(checkpoint: Checkpoint, variant: Variant) -> Iterator[str]:
    """Compare a file's own mean and deviation with those of the variant's graph.

    Yields:
        A warning for each that is all zeros or ones: something else normalised the pictures.

    Raises:
        CheckpointError: other numbers differ.
    """
    rule = variant.preprocess
    for name, tensor in checkpoint.constants.items():
        wanted, plain = (rule.mean, 0.0) if name.endswith("mean") else (rule.std, 1.0)
        held = [float(value) for value in tensor.flatten()[:4]]
        scales = (1.0, 255.0)
        if any(_close([value * scale for value in held], wanted) for scale in scales):
            continue
        if all(value == plain for value in held):
            yield (
                f"{printable(name, 80)} is {plain:.0f} in the file; {variant.name}'s own is in the "
                "graph: right only if pictures were normalised so before the network in training"
            )
        else:
            raise CheckpointError(
                f"{checkpoint.path} was trained with {printable(name, 80)} "
                f"{[round(value, 4) for value in held]}, and {variant.name} has "
                f"{[round(value, 4) for value in wanted]} in its graph: masks would be wrong"
            )


def require_known_preparation(files: Iterable[Checkpoint]) -> None:
    """CheckpointError for a file that says it is MedSAM's: its tensors do not tell, and are SAM's.

    MedSAM prepares pictures in another way (`exporter.preparation`). Its name is looked for in the
    name of the file and of its folder, and in the texts beside the tensors.
    """
    for file in files:
        path = file.path.absolute()
        texts = (path.name, path.parent.name, *file.taken.place.split("."), *file.texts)
        if any("medsam" in text.casefold().replace("-", "").replace("_", "") for text in texts):
            raise CheckpointError(
                f"{file.path} says that it is MedSAM's, which prepares pictures in another way "
                "than SAM: give --preprocess medsam, or --preprocess sam if it was trained with "
                "SAM's own"
            )


def _close(held: list[float], wanted: Iterable[float]) -> bool:
    return len(held) == 3 and all(
        abs(a - b) <= 0.01 * abs(b) for a, b in zip(held, wanted, strict=True)
    )
