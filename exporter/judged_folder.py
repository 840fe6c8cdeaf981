"""Find what a folder of pictures holds to judge bundles on; nothing is decoded here.

Pictures, and what says where their objects are, any of

- a picture of labels for each: `dog_mask.png` or `dog.mask.png` beside `dog.jpg`, or `dog.png` if
  the picture is no PNG; every value but 0 is an object;
- one file of COCO annotations, any other name that ends with `.json`;
- `prompts.json`, prompts of one's own, as for `--calibration`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from exporter.bundle.manifest import MOST_PICTURES
from exporter.errors import RequestError
from exporter.picture_folder import PROMPTS, hash_file, list_files, spread
from exporter.printable import printable

OPTION = "--evaluate"
_ENDINGS = ("_mask.png", "-mask.png", ".mask.png", "_label.png", "-label.png", ".label.png")


@dataclass(frozen=True)
class JudgedPictures:
    """Pictures of a folder, and the files that say what is on them.

    Attributes:
        folder: that holds them.
        pictures: names, sorted.
        labels: picture -> its picture of labels, for those that have one.
        coco: name of the COCO annotations; empty if there are none.
        prompts: whether there is a `prompts.json`.
        sha256: of the lines `sha256sum` prints for all these files, sorted by name.
    """

    folder: Path
    pictures: tuple[str, ...]
    labels: Mapping[str, str]
    coco: str
    prompts: bool
    sha256: str


def find_judged(folder: Path) -> JudgedPictures:
    """List a folder; of more pictures than MOST_PICTURES, that many evenly over the sorted names.

    Raises:
        RequestError: no folder, no picture in it, nothing that says what to ask for, or several
            files of annotations.
    """
    shown = printable(str(folder))
    names = sorted(list_files(folder, OPTION))
    notes = [name for name in names if name.casefold().endswith(".json") and name != PROMPTS]
    rest = [name for name in names if name not in notes and name != PROMPTS]
    labels = dict(_labels(rest))
    pictures = [name for name in rest if name not in labels.values()]
    alone = next((name for name in pictures if name.endswith(_ENDINGS)), None)
    if alone is not None:
        raise RequestError(f"{OPTION} {shown}: {printable(alone)} is the label of no picture there")
    if not pictures:
        raise RequestError(f"{OPTION} {shown} holds no picture (folders inside it are not read)")
    if len(notes) > 1:
        several = ", ".join(printable(name, 60) for name in notes[:3])
        raise RequestError(f"{OPTION} {shown} holds {several}: keep one file of COCO annotations")
    if not labels and not notes and PROMPTS not in names:
        raise RequestError(
            f"{OPTION} {shown} says of no picture what is on it: add NAME_mask.png beside a "
            f"picture, one file of COCO annotations, or {PROMPTS} with clicks and boxes"
        )
    taken = spread(pictures, min(len(pictures), MOST_PICTURES))
    kept = {name: labels[name] for name in taken if name in labels}
    read = sorted({*taken, *kept.values(), *notes, *({PROMPTS} & set(names))})
    lines = "".join(f"{hash_file(folder / name)}  {name}\n" for name in read)
    digest = hashlib.sha256(lines.encode()).hexdigest()
    coco = notes[0] if notes else ""
    return JudgedPictures(folder, tuple(taken), kept, coco, PROMPTS in names, digest)


def _labels(names: list[str]) -> Iterator[tuple[str, str]]:
    """Pair pictures with their pictures of labels."""
    known = set(names)
    marked = {name for name in names if name.endswith(_ENDINGS)}
    for name in names:
        if name in marked:
            continue
        stem = PurePath(name).stem
        own = [stem + ending for ending in _ENDINGS]
        if PurePath(name).suffix.casefold() != ".png":
            own.append(f"{stem}.png")
        found = next((each for each in own if each in known), None)
        if found is not None:
            yield name, found
