"""Load a variant's network from the files given, or from the published ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.bundle.manifest import Source
from exporter.errors import RequestError
from exporter.printable import printable
from exporter.progress import Progress
from exporter.variants import Published, Variant

if TYPE_CHECKING:
    from torch import nn

    from exporter.checkpoints.reading import Checkpoint

CHECKPOINT, DECODER = "--checkpoint", "--decoder-checkpoint"


@dataclass(frozen=True)
class _File:
    """A file to read, and first digits of the hash that was checked already; empty for none."""

    path: Path
    sha256: str = ""


def obtain(
    variant: Variant, checkpoint: Checkpoint | Path | None, decoder: Path | None, report: Progress
) -> tuple[nn.Module, Source]:
    """Load the network, not frozen; returns it and the origin of its weights.

    Args:
        variant: what to build.
        checkpoint: already read, a file or folder; None for the published or embedded one.
        decoder: the second file of a variant published in two; None for the published one.
        report: called with each stage of downloading and reading.

    Raises:
        RequestError: a second file for a variant that takes none, or files of another variant.
        DownloadError: a published file cannot be fetched.
    """
    from exporter.checkpoints.reading import Checkpoint, read_checkpoint

    first = checkpoint or _published_file(variant, report)
    second = _decoder_file(variant, decoder, report)
    if not isinstance(first, Checkpoint):
        file = _File(first) if isinstance(first, Path) else first
        report(f"{variant.name}: reading {file.path.name}")
        first = read_checkpoint(file.path, file.sha256)
    apart = read_checkpoint(second.path, second.sha256) if second is not None else None

    # Both bring torch: a bad file is refused before.
    from exporter.checkpoints.choose import check_constants, choose
    from exporter.checkpoints.fit import load_strict

    if not isinstance(checkpoint, Checkpoint):
        first = choose(first, [variant])
    for remark in (*first.remarks, *check_constants(first, variant)):
        report(f"{printable(first.path.name)}: {remark}")
    network, layout = load_strict(variant, first, apart)
    return network, Source(
        repository=variant.repository,
        paper=variant.paper,
        checkpoint=first.path.name,
        sha256=first.sha256,
        layout=layout.name,
        decoder_checkpoint=apart.path.name if apart is not None else "",
        decoder_sha256=apart.sha256 if apart is not None else "",
        trained_size=variant.preprocess.size if variant.sizes and variant.sizes.patch else None,
    )


def _published_file(variant: Variant, report: Progress) -> _File:
    if not variant.published.url:
        from exporter.demo.network import WEIGHTS

        return _File(WEIGHTS)
    return _fetch(variant.name, variant.published, CHECKPOINT, report)


def _decoder_file(variant: Variant, given: Path | None, report: Progress) -> _File | None:
    """Find the second file; None if the first holds the decoder too."""
    if variant.decoder is None:
        if given is not None:
            raise RequestError(f"{variant.name} is published in one file: leave out {DECODER}")
        return None
    if given is not None:
        return _File(given)
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
