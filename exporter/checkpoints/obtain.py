"""Load a variant's network from the files given, or from the published ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.bundle.manifest import Source, Taken
from exporter.checkpoints.lora_options import LoraOptions
from exporter.errors import RequestError
from exporter.printable import printable
from exporter.progress import Progress
from exporter.variants import Published, Slots, Variant

if TYPE_CHECKING:
    from torch import Tensor, nn

    from exporter.checkpoints.reading import Checkpoint
    from exporter.checkpoints.wanted import Wanted

CHECKPOINT, DECODER = "--checkpoint", "--decoder-checkpoint"
ENCODER = "--encoder-checkpoint"


@dataclass(frozen=True)
class _File:
    """A file to read, and first digits of the hash that was checked already; empty for none."""

    path: Path
    sha256: str = ""


@dataclass(frozen=True)
class Given:
    """The files that were given for a network; None for the published ones.

    Attributes:
        checkpoint: already read, a file or a folder.
        decoder: the mask decoder's own: the second file of a variant published in two, or one that
            replaces the decoder of `checkpoint`, and may be read already too.
        encoder: the image encoder's own, which replaces that of `checkpoint`.
        wanted: what to take of the files: of `decoder` and `encoder` if one is given.
        prepared: whether the user says how pictures were prepared.
    """

    checkpoint: Checkpoint | Path | None = None
    decoder: Checkpoint | Path | None = None
    encoder: Path | None = None
    wanted: Wanted | None = None
    prepared: bool = False

    @property
    def of_checkpoint(self) -> Wanted | None:
        """What to take of `checkpoint`."""
        return None if self.decoder or self.encoder else self.wanted


def read_own(
    path: Path, known: Iterable[Variant], options: LoraOptions, given: Given, report: Progress
) -> tuple[Variant, Given]:
    """Read a checkpoint, once; recognise its variant, at the size of its tables, and adapt it.

    Returns the variant, and what was given with the files that were read.

    Args:
        path: the file or folder.
        known: the variants that it may be; one alone is taken, whether or not it fits.
        options: see `exporter.checkpoints.lora_options`.
        given: what else was given.
        report: called with each stage, and with what differs from the published network.

    Raises:
        CheckpointError: it cannot be read, is of no variant, or cannot be adapted.
    """
    from exporter.checkpoints.reading import Checkpoint, read_checkpoint

    report(f"reading {printable(path.name)}")
    checkpoint = read_checkpoint(path)

    # These bring torch, after the file is sound.
    from exporter.checkpoints.adapt import adapt
    from exporter.checkpoints.choose import choose
    from exporter.checkpoints.parts import is_in_parts
    from exporter.checkpoints.recognise import recognise
    from exporter.checkpoints.resized import as_in_file

    sized = {variant.name: variant for variant in as_in_file(checkpoint, known)}
    checkpoint = choose(checkpoint, sized.values(), given.of_checkpoint)
    if len(sized) == 1:
        (variant,) = sized.values()
    else:
        variant = sized[recognise(checkpoint, sized.values())]
        report(f"{variant.name} fits {path}")
    if variant.published_size is not None:
        report(f"its table of positions is for an input of {variant.preprocess.size} pixels")
    decoder = given.decoder
    if isinstance(decoder, Path) and is_in_parts(variant):
        decoder = read_checkpoint(decoder)
    part = decoder if isinstance(decoder, Checkpoint) else None
    variant, checkpoint = adapt(variant, checkpoint, options, report, part)
    return variant, dataclasses.replace(given, checkpoint=checkpoint, decoder=decoder)


def published_path(variant: Variant, report: Progress) -> Path:
    """Find the published checkpoint, or the embedded one. DownloadError if it cannot be fetched."""
    return _published_file(variant, report).path


def obtain(variant: Variant, given: Given, report: Progress) -> tuple[nn.Module, Source]:
    """Load the network, not frozen; returns it and the origin of its weights.

    Args:
        variant: what to build.
        given: the files.
        report: called with each stage of downloading and reading.

    Raises:
        RequestError: a part's file for a variant that takes none, or files of another variant.
        DownloadError: a published file cannot be fetched.
    """
    from exporter.checkpoints.reading import Checkpoint, read_checkpoint

    require_parts(variant, given)
    if not variant.licence.commercial_use:
        report(f"licence: {variant.licence.name}, no commercial use ({variant.licence.url})")
    first = given.checkpoint or _published_file(variant, report)
    own = given.decoder if isinstance(given.decoder, Path) else None
    second = _decoder_file(variant, own, report)
    if not isinstance(first, Checkpoint):
        file = _File(first) if isinstance(first, Path) else first
        report(f"{variant.name}: reading {file.path.name}")
        first = read_checkpoint(file.path, file.sha256)
    apart = read_checkpoint(second.path, second.sha256) if second is not None else None

    # All bring torch: a bad file is refused before.
    from exporter.checkpoints.choose import choose
    from exporter.checkpoints.constants import check_constants, require_known_preparation
    from exporter.checkpoints.fit import load_strict

    if not isinstance(given.checkpoint, Checkpoint):
        first = choose(first, [variant], given.of_checkpoint)
    apart = choose(apart, [variant]) if apart is not None else None
    for remark in (*first.remarks, *check_constants(first, variant)):
        report(f"{printable(first.path.name)}: {remark}")
    parts = _parts(variant, given, report)
    if not given.prepared:
        require_known_preparation([first, *(file for file, _state in parts.values())])
    replaced = {name: tensor for _file, state in parts.values() for name, tensor in state.items()}
    network, layout = load_strict(variant, first, apart, replaced)
    files: dict[str, Checkpoint | None] = {"checkpoint": first, "decoder_checkpoint": apart}
    files |= {name: file for name, (file, _state) in parts.items()}
    return network, _source(variant, layout.name, first, files)


def _source(
    variant: Variant, layout: str, first: Checkpoint, files: Mapping[str, Checkpoint | None]
) -> Source:
    names = {name: file.path.name for name, file in files.items() if file is not None}
    hashes = {name: file.sha256 for name, file in files.items() if file is not None}
    return Source(
        repository=variant.repository,
        paper=variant.paper,
        checkpoint=names["checkpoint"],
        sha256=hashes["checkpoint"],
        layout=layout,
        decoder_checkpoint=names.get("decoder_checkpoint", ""),
        decoder_sha256=hashes.get("decoder_checkpoint", ""),
        encoder_checkpoint=names.get("encoder_checkpoint", ""),
        encoder_sha256=hashes.get("encoder_checkpoint", ""),
        taken={n: file.taken for n, file in files.items() if file and file.taken != Taken()},
        adapter=first.adapter,
        adapter_sha256=first.adapter_sha256,
        changes=first.changes,
        trained_size=variant.preprocess.size if variant.sizes and variant.sizes.patch else None,
    )


def require_parts(variant: Variant, given: Given) -> None:
    """RequestError for a part's file that the variant cannot take."""
    from exporter.checkpoints.parts import is_in_parts

    if is_in_parts(variant):
        return
    whole = not isinstance(variant.prompting, Slots)
    why = "is one graph" if whole else "has a file for each part: --checkpoint is the encoder's"
    if given.encoder is not None:
        raise RequestError(f"{variant.name} {why}: leave out {ENCODER}")
    if given.decoder is not None and whole:
        raise RequestError(f"{variant.name} {why}: leave out {DECODER}")


def _parts(
    variant: Variant, given: Given, report: Progress
) -> dict[str, tuple[Checkpoint, dict[str, Tensor]]]:
    """Read the files that replace a part: field of `Source` -> the file, tensors by our names."""
    from exporter.checkpoints.choose import choose_by, either, whole_of
    from exporter.checkpoints.parts import Part, is_in_parts, part_of, part_state
    from exporter.checkpoints.reading import read_checkpoint

    found: dict[str, tuple[Checkpoint, dict[str, Tensor]]] = {}
    if not is_in_parts(variant):
        return found
    whole = whole_of([variant])
    rows: tuple[tuple[str, Part, Checkpoint | Path | None], ...] = (
        ("decoder_checkpoint", "mask decoder", given.decoder),
        ("encoder_checkpoint", "image encoder", given.encoder),
    )
    for field, part, held in rows:
        if held is None:
            continue
        if isinstance(held, Path):
            report(f"{variant.name}: reading {held.name}")
            held = read_checkpoint(held)
        path = held.path
        file = choose_by(held, either(part_of([variant], part), whole), given.wanted)
        for remark in file.remarks:
            report(f"{printable(path.name)}: {remark}")
        state = part_state(variant, part, file)
        report(f"{variant.name}: the {part} is {printable(path.name)}'s, {len(state)} tensors")
        found[field] = file, state
    return found


def _published_file(variant: Variant, report: Progress) -> _File:
    if not variant.published.url:
        from exporter.demo.network import WEIGHTS

        return _File(WEIGHTS)
    return _fetch(variant.name, variant.published, CHECKPOINT, report)


def _decoder_file(variant: Variant, given: Path | None, report: Progress) -> _File | None:
    """Find the second file of a variant published in two; None if the first holds the decoder."""
    if variant.decoder is None:
        return None
    if given is not None:
        return _File(given)
    if not variant.decoder.published.url:
        from exporter.demo.network import MEMORY

        return _File(MEMORY)
    return _fetch(variant.name, variant.decoder.published, DECODER, report)


def _fetch(variant: str, published: Published, option: str, report: Progress) -> _File:
    from exporter.checkpoints.download import fetch, known_digest

    name, shown = published.file, -1

    def progress(received: int, total: int | None) -> None:
        nonlocal shown
        step = 10 * received // total if total else received // 50_000_000
        if step != shown:
            shown = step
            of = f" of {total / 1e6:.0f}" if total else ""
            report(f"{variant}: downloading {name}: {received / 1e6:.0f}{of} MB")

    waiting: Progress = lambda line: report(f"{variant}: waiting: {line}")  # noqa: E731
    path = fetch(published, None, progress, option, waiting)
    return _File(path, known_digest(path, published))
