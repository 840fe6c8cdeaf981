"""What an app adds to its project: the source that runs a bundle, and a page that says how.

It stands beside the bundle's own files and is none of them: the manifest lists neither, and an app
may leave them out. `app.PACKAGE.md` in a target's folder names a package, a folder of `runtimes/`,
and says how an app uses the target's bundles with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.bundle.folder import PAGE
from exporter.errors import LoweringError

if TYPE_CHECKING:
    from exporter.bundle.manifest import Manifest

HERE = Path(__file__).parent
RUNTIMES = HERE.parents[1] / "runtimes"
"""Their sources are copied, never imported."""
TARGETS = HERE.parent / "targets"


@dataclass(frozen=True)
class Package:
    """A language's package, as an app takes it.

    Attributes:
        sources: what is copied, as patterns below its folder in `runtimes/`.
        project: its project file here, which names what is copied and nothing else.
    """

    sources: tuple[str, ...]
    project: str


PACKAGES = {
    "swift": Package(
        ("Sources/SegmentAnythingCore/*.swift", "Sources/SegmentAnything/*.swift"),
        "Package.swift",
    ),
    "kotlin": Package(
        (
            "build.gradle.kts",
            *("core/build.gradle.kts", "core/src/main/**/*"),
            *("android/build.gradle.kts", "android/src/main/**/*"),
        ),
        "settings.gradle.kts",
    ),
}
"""By the names of `exporter.bundle.folder.APP_CODE`."""

_VIDEO = (
    "**It follows objects through videos**, here with `sam-run` and `sam_export.open_tracker`. "
    "{app} What a tracker of your own does between the graphs is in `manifest.json` (`video`) and "
    "`video.npz`.\n\n"
)
_VIDEO_APPS = {
    "swift": "In an app `Tracker(bundle: url)` opens it, not `SegmentAnything`: `start(frame)`, "
    '`addObject("dog", points: [tap], labels: [1])`, then `track(frame)["dog"]` for every frame.',
    "kotlin": "In an app `Tracker(bundle, engine)` opens it, not `SegmentAnything`: "
    '`start(frame)`, `addObject("dog", listOf(tap), listOf(1))`, then `track(frame)["dog"]` for '
    "every frame.",
}
"""Package -> what an app does with a bundle that follows objects."""
_EVERYTHING = (
    "**It is made for finding every object of a picture**: `everything` in the app's source below, "
    "`sam-run --everything` here. Single clicks work as well.\n\n"
)


def put_app_code(folder: Path, manifest: Manifest, bundle: str) -> None:
    """Write the app's source and the page beside a bundle's files, if its target has any.

    Args:
        folder: the bundle's, or what becomes one.
        manifest: with its graphs and figures.
        bundle: name of its final folder.

    Raises:
        LoweringError: the source is missing from the installation.
    """
    pages = pages_of(manifest.target)
    for package in pages:
        _copy(package, folder / package)
    if pages:
        (folder / PAGE).write_bytes(page(manifest, bundle).encode())


def pages_of(target: str) -> dict[str, str]:
    """Read how an app uses a target's bundles: package -> Markdown; empty if it does not say."""
    files = sorted((TARGETS / target).glob("app.*.md"))
    return {file.name.split(".")[1]: file.read_text(encoding="utf-8").strip() for file in files}


def _copy(package: str, out: Path) -> None:
    names = [*app_sources(package)]
    if not names:
        raise LoweringError(
            f"runtimes/{package} is missing from this installation: install sam-export again, or "
            "give --no-glue"
        )
    for name in names:
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((RUNTIMES / package / name).read_bytes())
    project = PACKAGES[package].project
    (out / project).write_bytes((HERE / project).read_bytes())


def app_sources(package: str) -> Iterator[str]:
    """List a package's files that an app needs, posix, below its folder in `runtimes/`."""
    root, patterns = RUNTIMES / package, PACKAGES[package].sources
    found = {path for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    return (path.relative_to(root).as_posix() for path in sorted(found))


def is_halved(manifest: Manifest) -> bool:
    """Tell whether the decoder rates masks in one graph and makes them in another."""
    return any(graph.spec.name == "token_decoder" for graph in manifest.graphs)


def page(manifest: Manifest, bundle: str) -> str:
    """Write the bundle's README: what it is, how an app uses it, its licence and sizes.

    Args:
        manifest: with its graphs.
        bundle: name of its folder.
    """
    licence, source = manifest.licence, manifest.source
    use = "" if licence.commercial_use else " **No commercial use.**"
    pages = pages_of(manifest.target)
    sources = " and ".join(f"`{package}/`" for package in pages)
    side = manifest.preprocess.size
    departure = (
        f"**Its input is {side} pixels a side; the published network's is "
        f"{manifest.published_size}.**\n\n"
    )
    files = [f"| `{g.file}` | {g.spec.name} | {g.bytes / 1e6:.2f} MB |" for g in manifest.graphs]
    warning = "**Degraded: its masks miss their floors (`manifest.json`, `parity`).**\n\n"
    return "\n".join(
        [
            f"# {manifest.variant}, {manifest.target}, {manifest.precision}",
            "",
            f"{warning if manifest.degraded else ''}"
            f"{departure if manifest.published_size else ''}"
            f"{_video(pages) if manifest.video is not None else ''}"
            f"{_EVERYTHING if is_halved(manifest) else ''}"
            f"A Segment Anything bundle for {manifest.platform}. `manifest.json` is the contract: "
            "tensors, preprocessing, prompts, mask rule, parity with the published network.",
            "",
            "| file | graph | size |",
            "| --- | --- | --- |",
            *files,
            "",
            "\n\n".join(pages.values()).replace("BUNDLE", bundle),
            "",
            "## Licence of the weights",
            "",
            f"[{licence.name}]({licence.url}).{use} {source.repository}",
            "",
            "## Check",
            "",
            f"`sam-run --check {bundle}` verifies every file, and runs the graphs against the "
            f"published network's outputs. {sources} and this page are not part of what is "
            "verified: leave them out of what the app ships, if you like.",
            "",
        ]
    )


def _video(packages: Iterable[str]) -> str:
    return _VIDEO.format(app=" ".join(_VIDEO_APPS[package] for package in packages))
