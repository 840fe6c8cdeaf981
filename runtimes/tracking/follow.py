"""One object's frames: prompted, tracked, corrected, remembered. numpy only."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from exporter.bundle.layouts import Array
from exporter.bundle.preprocess import Bools, Floats, Frame
from exporter.bundle.prompts import Prompts, pack
from exporter.bundle.rules import LABELS, PromptRule
from exporter.errors import BundleError, PromptError
from exporter.printable import quote
from runtimes.tracking.bank import Bank, View
from runtimes.tracking.decide import Found, Rules, decide
from runtimes.tracking.drawn import in_square, low_res_logits
from runtimes.tracking.graphs import HostData, VideoGraphs

_LOGIT_LIMIT = 32.0
"""Of an earlier mask that is given back to the decoder, as the published predictor limits it."""


@dataclass(frozen=True)
class Scene:
    """The frame that is current, as every object sees it.

    Attributes:
        view: its number and the direction of the frames.
        encoded: the encoder's outputs.
        frame: where the picture lies in the input.
    """

    view: View
    encoded: dict[str, Array]
    frame: Frame


@dataclass(frozen=True)
class Network:
    """A bundle's graphs with the rules and numbers that go with them."""

    graphs: VideoGraphs
    slots: PromptRule
    rules: Rules
    host: HostData


@dataclass
class Followed:
    """One object.

    Attributes:
        name: for messages.
        bank: what is kept of its frames.
        latest: what was found on the current frame; None if it was not looked for there.
    """

    name: str
    network: Network
    bank: Bank
    latest: Found | None = None
    _embeddings: Floats | None = None
    _prompts: Prompts = field(default_factory=Prompts)
    _as_prompt: bool = False

    def prompt(self, scene: Scene, prompts: Prompts) -> Found:
        """Find the object by prompts alone, without memory: the frame becomes a prompted one."""
        self._embeddings = np.asarray(scene.encoded["image_embeddings"], np.float32)
        self._prompts, self._as_prompt = Prompts(), True
        return self._click(scene, prompts, None)

    def draw(self, scene: Scene, mask: Bools) -> Found:
        """Take a mask as the object: nothing is predicted but the pointer."""
        rule = self.network.rules.video
        self._embeddings = np.asarray(scene.encoded["image_embeddings"], np.float32)
        self._prompts, self._as_prompt = Prompts(), True
        square = in_square(mask, scene.frame)
        present = bool(square.any())
        score = rule.mask_prompt_logit if present else -rule.mask_prompt_logit
        logits = low_res_logits(square, 4 * rule.grid, rule.mask_prompt_logit)
        pointer = self._drawn_pointer(scene, square)
        pointer = pointer if present else self.network.host.no_pointer
        return self._settle_on(scene, Found(logits, pointer, score, 1.0, present, prompted=True))

    def track(self, scene: Scene) -> Found:
        """Find the object by what is remembered of it.

        Raises:
            BundleError: what is remembered is not finite.
        """
        memories, pointers = self.bank.memories(scene.view), self.bank.pointers(scene.view)
        graphs = self.network.graphs
        self._embeddings = graphs.attend(scene.encoded, memories, pointers)
        self._prompts, self._as_prompt = Prompts(), False
        decoded = graphs.decode(scene.encoded, self._embeddings, self._padding())
        found = decide(decoded, 0, self.network.rules, prompted=False)
        return self._settle_on(scene, found)

    def correct(self, scene: Scene, prompts: Prompts) -> Found:
        """Add clicks, or a box, to what was found on this frame; all clicks on it count again.

        Raises:
            PromptError: nothing was found on it yet, or the slots cannot take the prompts.
        """
        if self.latest is None or self._embeddings is None:
            raise PromptError(f"object {quote(self.name)} has no mask on this frame to correct")
        limit = self.network.rules.mask.logit_limit or _LOGIT_LIMIT
        return self._click(scene, prompts, np.clip(self.latest.logits, -limit, limit))

    def leave(self, scene: Scene) -> None:
        """Remember the current frame, for nothing more is said about it.

        Raises:
            BundleError: the memory is not finite.
        """
        if self.latest is None:
            return
        found, self.latest = self.latest, None
        memory = self.network.graphs.remember(
            scene.encoded, found.logits, prompted=found.prompted, present=found.present
        )
        self._require_finite(scene, "memory", memory)
        self.bank.keep(scene.view.frame, memory, found.pointer, prompted=self._as_prompt)

    def _click(self, scene: Scene, prompts: Prompts, earlier: Floats | None) -> Found:
        together = _joined(self._prompts, prompts, self.name)
        slots = pack(together, scene.frame, self.network.slots)
        if self._embeddings is None:
            raise PromptError(f"object {quote(self.name)} has no frame")
        decoded = self.network.graphs.decode(scene.encoded, self._embeddings, slots, earlier)
        points = len(together.points) + (2 if together.box is not None else 0)
        found = decide(decoded, points, self.network.rules, prompted=True)
        self._prompts = together
        return self._settle_on(scene, found)

    def _drawn_pointer(self, scene: Scene, square: Floats) -> Floats:
        """Ask the decoder for the pointer of a drawn mask, on features without `no_memory`."""
        host, rules = self.network.host, self.network.rules
        bare = scene.encoded["image_embeddings"] - host.no_memory[None, :, None, None]
        drawn = host.mask_downsample(square, 4 * rules.video.grid)
        decoded = self.network.graphs.decode(scene.encoded, bare, self._padding(), drawn)
        if decoded.score <= rules.video.min_object_score:
            return host.no_pointer
        pointer: Floats = decoded.pointers[max(0, rules.mask.single)]
        return pointer

    def _padding(self) -> tuple[Floats, Floats]:
        """Fill the slots of a frame that has no prompt."""
        rule, slots = self.network.rules.video, self.network.slots.slots
        labels = np.full((1, slots), LABELS["empty"], np.float32)
        labels[:, : rule.padding_points] = LABELS["not_a_point"]
        return np.zeros((1, slots, 2), np.float32), labels

    def _settle_on(self, scene: Scene, found: Found) -> Found:
        self._require_finite(scene, "object_score_logits", np.float32(found.score))
        self._require_finite(scene, "low_res_masks", found.logits)
        self._require_finite(scene, "object_pointers", found.pointer)
        self.latest = found
        return found

    def _require_finite(self, scene: Scene, what: str, values: Floats | np.float32) -> None:
        """Check what later frames will see: one NaN would make all of them NaN."""
        if not np.isfinite(values).all():
            raise BundleError(
                f"{what} of object {quote(self.name)} on frame {scene.view.frame} is not finite, "
                "and so would be every frame after it; see whether fp32 is finite: if so, the "
                "precision is the cause"
            )


def _joined(before: Prompts, more: Prompts, name: str) -> Prompts:
    if before.box is not None and more.box is not None:
        raise PromptError(
            f"object {quote(name)} has a box on this frame already: correct it by points"
        )
    return Prompts(
        before.points + more.points,
        before.labels + more.labels,
        more.box if before.box is None else before.box,
    )
