"""The loop over a clip's frames: prompt, track, correct; both ways if asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from exporter.bundle.prompts import Prompts
from exporter.errors import ImageError, PromptError
from runtimes.clips import Clip, ClipFrame
from runtimes.tracker import Tracker
from runtimes.tracking.result import ObjectPrompt, Tracked
from runtimes.video import Result
from runtimes.video.asked import Plan


@dataclass(frozen=True)
class Course:
    """Which frames are looked at.

    Attributes:
        plan: the prompts.
        every: of the frames without a prompt, each how manyth.
        both_ways: whether frames before an object's first prompt are tracked too, backward.
    """

    plan: Plan
    every: int = 1
    both_ways: bool = False

    def takes(self, number: int) -> bool:
        """Tell whether a frame is looked at."""
        return number % self.every == 0 or number in self.plan.prompts

    def count(self, frames: int | None) -> int | None:
        """Count the frames that are looked at; None if only the end will tell."""
        return None if frames is None else sum(map(self.takes, range(frames)))


def follow(tracker: Tracker, clip: Clip, course: Course) -> Iterator[Result]:
    """Track a clip's objects; gives each frame that is looked at, in the clip's order.

    Raises:
        SamExportError: as the tracker and the clip raise them, or a prompt's frame never came.
    """
    earlier: dict[int, dict[str, Tracked]] = {}
    if course.both_ways:
        earlier = _track_back(tracker, clip, course)
    number = -1
    for frame in clip.forward():
        number = frame.number
        if course.takes(number):
            yield _look(tracker, clip, course, frame, earlier)
    late = [frame for frame in course.plan.prompts if frame > number]
    if late:
        raise PromptError(
            f"a prompt is on frame {late[0]}, and the video ended with frame {number}"
        )


def _look(
    tracker: Tracker,
    clip: Clip,
    course: Course,
    frame: ClipFrame,
    earlier: Mapping[int, dict[str, Tracked]],
) -> Result:
    """Find the objects on one frame; what was found going backward is taken from `earlier`."""
    number, plan = frame.number, course.plan
    asked = plan.prompts.get(number, {})
    before = earlier.get(number, {})
    follows = [name for name, start in plan.starts.items() if start < number]
    if course.both_ways and not follows:
        found, ms = dict(before), dict[str, float]()
    else:
        if course.both_ways:
            asked = {name: prompt for name, prompt in asked.items() if name not in before}
        found = _step(tracker, clip, frame, asked, follows)
        found, ms = {**before, **found}, tracker.ms
    shown = {name: prompt.prompts for name, prompt in plan.prompts.get(number, {}).items()}
    ordered = {name: found[name] for name in plan.objects if name in found}
    return Result(number, frame.seconds, frame.rgb, ordered, _clicked(shown), ms)


def _clicked(shown: Mapping[str, Prompts]) -> dict[str, Prompts]:
    return {name: prompts for name, prompts in shown.items() if prompts != Prompts()}


def _step(
    tracker: Tracker,
    clip: Clip,
    frame: ClipFrame,
    asked: Mapping[str, ObjectPrompt],
    follows: list[str],
) -> dict[str, Tracked]:
    """Move on to a frame. Points of a known object correct it; a box or a mask shows it anew."""
    clicks = {name: p for name, p in asked.items() if name in follows and _is_clicks(p)}
    anew = {name: prompt for name, prompt in asked.items() if name not in clicks}
    if tracker.frame is None:
        tracker.start(frame.rgb, frame.number, clip.frames)
        found = {name: tracker.show(name, prompt) for name, prompt in anew.items()}
    else:
        found = tracker.track(frame.rgb, frame.number, anew, objects=follows)
    for name, prompt in clicks.items():
        prompts = prompt.prompts
        found[name] = tracker.correct(name, prompts.points, prompts.labels)
    return found


def _is_clicks(prompt: ObjectPrompt) -> bool:
    return prompt.mask is None and prompt.prompts.box is None


def _track_back(tracker: Tracker, clip: Clip, course: Course) -> dict[int, dict[str, Tracked]]:
    """Track every object from its first prompt to the start; gives frame -> object -> found."""
    starts = course.plan.starts
    found: dict[int, dict[str, Tracked]] = {}
    last = max(starts.values())
    if clip.frames is not None and last >= clip.frames:
        raise ImageError(f"the video has {clip.frames} frames, and a prompt is on frame {last}")
    for frame in clip.backward(last):
        if not course.takes(frame.number):
            continue
        shown = course.plan.prompts.get(frame.number, {})
        asked = {name: p for name, p in shown.items() if starts[name] == frame.number}
        follows = [name for name, start in starts.items() if start > frame.number]
        if asked or follows:
            found[frame.number] = _step(tracker, clip, frame, asked, follows)
    return found
