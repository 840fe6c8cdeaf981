"""What a job asks to stay float in a precision of few bits, checked before any work."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.bundle.manifest import FewBits
from exporter.bundle.recipe import Recipe, read_recipe
from exporter.errors import RequestError
from exporter.precision import Precision, load_precision, names
from exporter.targets import Options

if TYPE_CHECKING:
    from exporter.job import Job


def few_bits_of(job: Job, precision: Precision) -> tuple[FewBits | None, Recipe | None]:
    """Say what the job asks to stay float; None for the defaults.

    Raises:
        RequestError: the precision is not of few bits, a recipe settles it already, or it cannot be
            read.
    """
    options = {
        "--keep-float": bool(job.keep_float),
        "--quantize-decoder": job.quantize_decoder,
        "--min-iou": job.min_iou is not None,
    }
    given = [name for name, wanted in options.items() if wanted]
    everything = [*given, *(["--recipe"] if job.recipe is not None else [])]
    if everything and not precision.judged:
        few = ", ".join(name for name in names() if load_precision(name).judged)
        raise RequestError(
            f"{everything[0]} is for --precision {few}: {precision.name} keeps every part as it is"
        )
    if job.recipe is None:
        asked = FewBits(job.quantize_decoder, job.keep_float, job.min_iou)
        return (asked if given else None), None
    if given:
        raise RequestError(f"--recipe settles what stays float: leave out {', '.join(given)}")
    recipe = read_recipe(Path(job.recipe))
    return FewBits(recipe_sha256=recipe.sha256), recipe


def with_storage(options: Options, recipe: Recipe) -> Options:
    """Store weights as the recipe says.

    Raises:
        RequestError: the options say otherwise, or there is no such storage.
    """
    own = options.storage(("palette", "block"))
    if own and own != recipe.storage:
        stored = recipe.storage or "the usual storage"
        raise RequestError(
            f"--recipe is of weights with {stored}, not {own}: leave out --palette and --block"
        )
    match = re.fullmatch(r"(palette|block)(\d+)", recipe.storage)
    if match is None:
        return options
    if match[1] == "palette":
        return dataclasses.replace(options, palette=int(match[2]))
    return dataclasses.replace(options, block=int(match[2]))
