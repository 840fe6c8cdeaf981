"""Options of a command line -> the prompts of each frame and object.

--point 480,360                 on frame 0, of the only object
--point 480,360,0@12            on frame 12
--object dog --box 9,8,42,36@3  of an object with a name; it holds for what follows
--point 480,360@dog@12          the same for one prompt
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from exporter.bundle.preprocess import Bools, Frame
from exporter.bundle.prompts import Prompts, check
from exporter.bundle.rules import MaskRule, PromptRule
from exporter.errors import PromptError
from exporter.printable import some
from runtimes.mask_prompts import read_drawn
from runtimes.objects import Box, MaskFile, Point, require_flat
from runtimes.prompt_options import mark
from runtimes.tracking.result import ObjectPrompt

ONLY = "1"
"""Name of the object if none was given."""


@dataclass(frozen=True)
class Plan:
    """What is asked of a video.

    Attributes:
        objects: names, in the order in which they were given.
        prompts: frame -> object -> where it is.
    """

    objects: tuple[str, ...]
    prompts: Mapping[int, Mapping[str, ObjectPrompt]]

    def first(self, name: str) -> int:
        """Find the frame on which an object is shown first."""
        return min(frame for frame, shown in self.prompts.items() if name in shown)

    @property
    def starts(self) -> dict[str, int]:
        """Map each object to its first frame."""
        return {name: self.first(name) for name in self.objects}


@dataclass
class _Given:
    """One prompt with its frame and the name that it was given; None if it was given none."""

    frame: int
    name: str
    what: Point | Box | Path


def plan(prompts: Iterable[Point | Box | MaskFile]) -> Plan:
    """Sort prompts, as they were given, by frame and object; `with_masks` reads the masks later.

    Several boxes without a name on one frame are objects 1, 2, ..., as of a picture.

    Raises:
        PromptError: there is none; it is not clear whose one is; an object has two boxes, or a mask
            and more, on one frame; an object is first shown by what is not it.
    """
    given = [_given(prompt) for prompt in prompts]
    if not given:
        raise PromptError("no prompt: say where an object is on a frame, as --point X,Y@0")
    _name_boxes(given)
    names = list(dict.fromkeys(each.name for each in given if each.name))
    if names and any(not each.name for each in given) and names != [ONLY]:
        raise PromptError(
            f"whose is a prompt without a name? The objects are {some(names)}: put --object NAME "
            "before it"
        )
    for each in given:
        each.name = each.name or ONLY
    objects = tuple(dict.fromkeys(each.name for each in given))
    frames = sorted({each.frame for each in given})
    return _checked(
        Plan(
            objects,
            {
                frame: {
                    name: _prompt(name, frame, [e.what for e in given if (e.frame, e.name) == key])
                    for name in objects
                    if (key := (frame, name)) in {(e.frame, e.name) for e in given}
                }
                for frame in frames
            },
        )
    )


def _given(given: Point | Box | MaskFile) -> _Given:
    """Find frame and name. `@NAME@FRAME` is taken off a path, unless a file is called so."""
    if isinstance(given, Point):
        require_flat(given)
    if not isinstance(given, MaskFile):
        return _Given(*_place(given.name, given.frame, given.owner), given)
    path, name, frame = given.path, "", None
    if not path.exists() and "@" in path.name:
        stem, _, rest = path.name.partition("@")
        path = path.with_name(stem or path.name)
        _, name, frame = mark(f"@{rest}")
    return _Given(*_place(name, frame, given.owner), path)


def _place(name: str, frame: int | None, owner: str) -> tuple[int, str]:
    """Find frame and name: one mark that is a number is a frame."""
    if frame is None and name.isascii() and name.isdecimal():
        name, frame = "", int(name)
    return frame or 0, name or owner


def _name_boxes(given: Iterable[_Given]) -> None:
    """Number the boxes without a name if several of them are on one frame."""
    unnamed = [each for each in given if isinstance(each.what, Box) and not each.name]
    if max(Counter(each.frame for each in unnamed).values(), default=0) > 1:
        for number, each in enumerate(unnamed, 1):
            each.name = str(number)


def _prompt(name: str, frame: int, parts: Sequence[Point | Box | Path]) -> ObjectPrompt:
    points = [part for part in parts if isinstance(part, Point)]
    boxes = [part for part in parts if isinstance(part, Box)]
    paths = [part for part in parts if isinstance(part, Path)]
    if len(boxes) > 1 or len(paths) > 1:
        raise PromptError(f"object {name!r} has two boxes or masks on frame {frame}: give it one")
    if paths and (points or boxes):
        raise PromptError(
            f"object {name!r} has a mask on frame {frame}, which is a whole prompt: leave out its "
            "points and box there"
        )
    prompts = Prompts(
        tuple((point.x, point.y) for point in points),
        tuple(point.label for point in points),
        boxes[0][:4] if boxes else None,
    )
    return ObjectPrompt(prompts, path=paths[0] if paths else None)


def _checked(made: Plan) -> Plan:
    for name, frame in made.starts.items():
        prompt = made.prompts[frame][name]
        shown = prompt.path is not None or prompt.prompts.box or 1 in prompt.prompts.labels
        if not shown:
            raise PromptError(
                f"object {name!r} begins on frame {frame} with background alone: give it a point "
                "of the foreground, a box or a mask there"
            )
    return made


def check_plan(made: Plan, frames: int | None, where: Frame, rule: PromptRule) -> None:
    """PromptError, before a model is loaded, if the video or the bundle cannot take a prompt.

    Args:
        made: the prompts.
        frames: of the video; None if only the end will tell.
        where: a frame's place in the input.
        rule: the bundle's.
    """
    for frame, shown in made.prompts.items():
        if frames is not None and frame >= frames:
            many = "1 frame, number 0" if frames == 1 else f"{frames} frames, 0 to {frames - 1}"
            raise PromptError(f"a prompt is on frame {frame}, and the video has {many}")
        for prompt in shown.values():
            if prompt.path is None:
                check(prompt.prompts, where, rule)


def with_masks(made: Plan, rule: MaskRule) -> Plan:
    """Read the masks that are files. PromptError or ImageError if one is none."""

    def read(prompt: ObjectPrompt) -> ObjectPrompt:
        if prompt.path is None:
            return prompt
        mask: Bools = read_drawn(prompt.path, rule)
        return replace(prompt, mask=mask)

    return replace(
        made,
        prompts={
            frame: {name: read(prompt) for name, prompt in shown.items()}
            for frame, shown in made.prompts.items()
        },
    )
