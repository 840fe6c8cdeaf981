"""Follow objects through a video, frame by frame, with a bundle exported with `--video`.

    tracker = open_tracker(open_bundle("bundles/edgetam-onnx-fp16"))
    tracker.start("0000.jpg")                               # a path, a PIL image or an RGB array
    tracker.add_object("dog", points=[(480, 360)], labels=[1])
    for picture in more:
        found = tracker.track(picture)["dog"]               # .mask, .score, .present
        if wrong(found):
            tracker.correct("dog", points=[(500, 300)], labels=[0])

Frames come one by one and nothing but a bounded bank is kept of them, so a camera may run for ever.
numpy, Pillow and the bundle's engine; no torch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt

from exporter.bundle.folder import Bundle
from exporter.bundle.preprocess import fit, image_input, resized_size
from exporter.bundle.prompts import Prompts, check
from exporter.errors import ImageError, PromptError, RequestError
from exporter.printable import quote, some
from runtimes.engines import Load
from runtimes.pictures import Picture
from runtimes.pictures.arrays import Given, as_picture
from runtimes.prompt_arrays import as_prompts
from runtimes.segmenters.slots import slot_rule
from runtimes.tracking.bank import Bank, View
from runtimes.tracking.decide import Found, Rules
from runtimes.tracking.follow import Followed, Network, Scene
from runtimes.tracking.graphs import VideoGraphs, read_host_data, video_rule
from runtimes.tracking.result import ObjectPrompt, Tracked, as_prompt

MAX_OBJECTS = 16


class Tracker:
    """A video bundle's graphs, loaded, and the objects that are followed.

    Args:
        bundle: opened.
        engine: a name, or None for the first that can run here.
        threads: for engines that take a number.
        load: what loads a graph, instead of an engine.
        turns: whether frames will be tracked both ways from the first prompt; costs memory.
        max_objects: more are refused: each has a bank of its own.

    Raises:
        RequestError: no engine here can run the bundle.
        BundleError: it has no memory, or the engine cannot load it.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: str | None = None,
        threads: int = 2,
        load: Load | None = None,
        *,
        turns: bool = False,
        max_objects: int = MAX_OBJECTS,
    ) -> None:
        rule = video_rule(bundle)
        self.manifest = bundle.manifest
        host = read_host_data(bundle)
        rules = Rules(bundle.manifest.mask, rule, host.no_pointer)
        graphs = VideoGraphs.open(bundle, engine, threads, load)
        self._network = Network(graphs, slot_rule(bundle.manifest), rules, host)
        self._turns, self._most = turns, max_objects
        self.reset()

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of the objects that are followed, in the order in which they came."""
        return tuple(self._objects)

    @property
    def frame(self) -> int | None:
        """Number of the current frame; None before `start`."""
        return None if self._view is None else self._view.frame

    @property
    def ms(self) -> dict[str, float]:
        """Milliseconds that each graph took since `track` was called, for the frame before too."""
        return dict(self._network.graphs.ms)

    @property
    def bank_bytes(self) -> int:
        """Bytes that one object's bank grows to with one prompted frame."""
        rule = self._network.rules.video
        memory = rule.memory_tokens * rule.memory_width
        kept = (rule.memory_frames + 2) * memory + (rule.pointer_frames + 2) * rule.pointer_width
        return kept * np.dtype(rule.stored).itemsize * (2 if self._turns else 1)

    def reset(self) -> None:
        """Forget every object and frame; the graphs stay loaded."""
        self._network.graphs.ms.clear()
        self._objects: dict[str, Followed] = {}
        self._view: View | None = None
        self._picture: Picture | None = None
        self._size: tuple[int, int] | None = None
        self._scene: Scene | None = None

    def start(self, frame: Given, number: int = 0, frames: int | None = None) -> None:
        """Begin a video: forget what was before, and make its first frame the current one.

        Args:
            frame: see `runtimes.segmenters.Segmenter.set_image`.
            number: of the frame; later ones count from it.
            frames: in the whole video, which some networks know the age of pointers by; None for
                a camera.

        Raises:
            RequestError: a number is none.
            ImageError: no picture, or one that cannot be read.
        """
        picture = as_picture(frame)
        if frames is not None and _whole(frames) < 1:
            raise RequestError(f"a video has a frame at least, not {frames}")
        self.reset()
        self._take(picture, View(_whole(number), 1, frames))

    def add_object(
        self,
        name: str,
        points: npt.ArrayLike | None = None,
        labels: npt.ArrayLike | None = None,
        box: npt.ArrayLike | None = None,
        mask: npt.ArrayLike | None = None,
    ) -> Tracked:
        """Show a new object on the current frame; the others are untouched.

        Args:
            name: for the results.
            points: (n, 2) x, y in pixels of the frame.
            labels: (n,) 1 foreground, 0 background.
            box: (4,) x0, y0, x1, y1 in pixels of the frame.
            mask: (H, W) that is above 0 inside, instead of points and a box.

        Raises:
            RequestError: before `start`.
            PromptError: the name is taken, there are too many objects, or the bundle cannot take
                the prompt.
        """
        return self.show(name, as_prompt(points, labels, box, mask))

    def show(self, name: str, prompt: ObjectPrompt) -> Tracked:
        """Do as `add_object`, for a prompt that is already a `ObjectPrompt`."""
        view = self._require_view()
        if name in self._objects:
            raise PromptError(
                f"object {quote(name)} is followed already: correct(...) changes its mask, "
                "remove(...) forgets it"
            )
        self._check({name: prompt})
        return self._show(name, self._prompted(name, prompt), view)

    def track(
        self,
        frame: Given,
        number: int | None = None,
        prompts: Mapping[str, ObjectPrompt] | None = None,
        objects: Collection[str] | None = None,
    ) -> dict[str, Tracked]:
        """Make a frame the current one and find every object on it.

        Args:
            frame: of the same size as the first.
            number: of the frame; by default the next one in the direction of the last step. Frames
                may be left out, and a lower number than the current one goes backward.
            prompts: objects, known or new, that are found by a prompt on this frame alone instead
                of by memory; later frames remember it as they do the first.
            objects: the known ones to find by memory; None for all. The others do not see this
                frame and will not remember it.

        Returns:
            Name -> what was found, in the order of `self.objects`.

        Raises:
            RequestError: before `start`, or the number is the current frame's.
            ImageError: no picture, or one of another size.
            PromptError: a prompt that the bundle cannot take, or too many objects.
            BundleError: a graph gave values that are not finite.
        """
        view = self._next_view(number)
        picture = as_picture(frame)
        prompts = prompts or {}
        self._require_size(picture, view)
        self._check(prompts)
        for name in objects or ():
            self._find(name)
        self._network.graphs.ms.clear()
        self._remember()
        self._take(picture, view)
        for name, one in self._objects.items():
            if name not in prompts and (objects is None or name in objects):
                one.track(self._encoded())
        for name, prompt in prompts.items():
            self._prompted(name, prompt)
        return {
            name: self._show(name, one.latest, view)
            for name, one in self._objects.items()
            if one.latest is not None
        }

    def correct(
        self,
        name: str,
        points: npt.ArrayLike | None = None,
        labels: npt.ArrayLike | None = None,
        box: npt.ArrayLike | None = None,
    ) -> Tracked:
        """Improve an object's mask on the current frame; earlier clicks on the frame count again.

        The arguments are those of `add_object`. A tracked frame stays a tracked one: it is
        remembered as corrected, and forgotten as it gets old.

        Raises:
            RequestError: before `start`.
            PromptError: no such object, or the bundle cannot take the prompts.
        """
        prompts = as_prompts(points, labels, box)
        view = self._require_view()
        one = self._find(name)
        return self._show(name, one.correct(self._encoded(), prompts), view)

    def remove(self, name: str) -> None:
        """Forget an object. PromptError if there is none of that name."""
        self._find(name)
        del self._objects[name]

    def _prompted(self, name: str, prompt: ObjectPrompt) -> Found:
        """Find an object by a prompt; it is not known as new until that worked."""
        one = self._objects.get(name) or Followed(name, self._network, self._bank())
        scene = self._encoded()
        if prompt.mask is not None:
            found = one.draw(scene, prompt.mask)
        else:
            found = one.prompt(scene, prompt.prompts)
        self._objects[name] = one
        return found

    def _bank(self) -> Bank:
        return Bank(self._network.rules.video, self._turns)

    def _remember(self) -> None:
        """Finish the current frame: its objects' memories are made once no more is said of them."""
        for one in self._objects.values():
            if one.latest is not None:
                one.leave(self._encoded())

    def _take(self, picture: Picture, view: View) -> None:
        self._picture, self._view, self._scene = picture, view, None
        self._size = self._size or picture.size

    def _encoded(self) -> Scene:
        """Encode the current frame when the first object asks for it."""
        if self._scene is None:
            if self._picture is None or self._view is None:
                raise RequestError("no frame: call start before")
            rgb, size = self._picture.rgb, self._picture.size
            image, where = image_input(rgb, self.manifest.preprocess, size)
            encoded = self._network.graphs.encode(image, resized_size(where))
            self._scene = Scene(self._view, encoded, where)
        return self._scene

    def _check(self, prompts: Mapping[str, ObjectPrompt]) -> None:
        """PromptError, before a graph runs, if a prompt cannot be taken."""
        for name in map(_any, prompts):
            if not isinstance(name, str) or not name:
                raise PromptError(f"an object's name is a text, not {quote(name)}")
        new = [name for name in prompts if name not in self._objects]
        if len(self._objects) + len(new) > self._most:
            each = self.bank_bytes / 2**20
            raise PromptError(
                f"{len(self._objects) + len(new)} objects, and at most {self._most} are followed: "
                f"each keeps {each:.1f} MB; raise max_objects (--max-objects) if there is room"
            )
        for prompt in prompts.values():
            if prompt.mask is None and self._picture is not None:
                self._check_slots(prompt.prompts)

    def _check_slots(self, prompts: Prompts) -> None:
        where = fit(*(self._size or (1, 1)), self.manifest.preprocess)
        check(prompts, where, self._network.slots)

    def _find(self, name: str) -> Followed:
        if name not in self._objects:
            known = f"there are {some(self._objects)}" if self._objects else "there is none yet"
            raise PromptError(f"no object {quote(name)} is followed: {known}")
        return self._objects[name]

    def _require_view(self) -> View:
        if self._view is None:
            raise RequestError("no frame: call start before")
        return self._view

    def _next_view(self, number: int | None) -> View:
        """Say how the next frame looks back. RequestError if it is the current one."""
        view = self._require_view()
        number = view.frame + view.step if number is None else _whole(number)
        if number == view.frame:
            raise RequestError(f"frame {number} is the current one: correct(...) changes its masks")
        return View(number, 1 if number > view.frame else -1, view.frames)

    def _require_size(self, picture: Picture, view: View) -> None:
        if self._size is not None and picture.size != self._size:
            (width, height), (first_width, first_height) = picture.size, self._size
            raise ImageError(
                f"frame {view.frame} is {width} x {height}, and the video began with "
                f"{first_width} x {first_height}: frames of one video have one size"
            )

    def _show(self, name: str, found: Found | None, view: View) -> Tracked:
        if found is None or self._size is None:
            raise RequestError(f"object {name!r} was not found on any frame yet")
        return Tracked(
            name, view.frame, found.logits, found.score, found.present, found.iou, found.prompted,
            self._encoded().frame, self.manifest.mask,
        )  # fmt: skip


def _any(given: object) -> object:
    return given


def _whole(number: object) -> int:
    if isinstance(number, bool) or not isinstance(number, int | np.integer):
        raise RequestError(f"frames are counted in whole numbers, not by {quote(number)}")
    return int(number)


def open_tracker(
    bundle: Bundle,
    engine: str | None = None,
    threads: int = 2,
    load: Load | None = None,
    *,
    turns: bool = False,
    max_objects: int = MAX_OBJECTS,
) -> Tracker:
    """Load a video bundle's graphs; the arguments are those of `Tracker`.

    Raises:
        RequestError: no engine here can run the bundle; or it is no bundle that was opened.
        BundleError: it has no memory, or its graphs cannot be loaded.
    """
    if not isinstance(bundle, Bundle):
        raise RequestError(
            f"open_tracker takes what open_bundle(PATH) returns, not {quote(bundle)}"
        )
    return Tracker(bundle, engine, threads, load, turns=turns, max_objects=max_objects)
