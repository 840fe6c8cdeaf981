"""One object, clicked on a video's first frame and followed through it: the host's rules, in numpy.

What a bundle of frames is checked against: `exporter.bundle.video` says the rules. It knows no
corrections and no second prompt; whoever has the bundle follows with `runtimes.tracker`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.bundle.masks import choose_tokens
from exporter.bundle.preprocess import Floats, Frame, image_input, resized_size
from exporter.bundle.prompts import Prompts, pack
from exporter.bundle.rules import LABELS, MaskRule, Preprocess, PromptRule
from exporter.bundle.video import FIRST_ATTENTION, LOST, MEMORY_ATTENTION, Pruning, VideoRule

Arrays = dict[str, Floats]
Run = Callable[[str, Mapping[str, Floats]], Mapping[str, Floats]]
"""Graph's name, inputs -> outputs; it takes the inputs that the graph has."""


@dataclass(frozen=True)
class Rules:
    """What a bundle's host goes by."""

    preprocess: Preprocess
    prompts: PromptRule
    mask: MaskRule
    video: VideoRule
    no_pointer: Floats


@dataclass(frozen=True)
class Step:
    """One frame.

    Attributes:
        encoded: by the image encoder, and the query if the frame looked back.
        bank: what attention took; empty for the first frame.
        attention: name of the graph that took it; empty for the first frame.
        prompts: the decoder's other inputs.
        embeddings: `image_embeddings` of the decoder.
        decoded: the decoder's outputs.
        logits: (h, w) of the mask.
        pointer: (C,).
        score: a logit.
        remembered: what the memory encoder took besides the features.
        memory: (T, C).
    """

    encoded: Arrays
    bank: Arrays
    attention: str
    prompts: Arrays
    embeddings: Floats
    decoded: Arrays
    logits: Floats
    pointer: Floats
    score: float
    remembered: Arrays
    memory: Floats


@dataclass(frozen=True)
class Kept:
    """A frame that is remembered."""

    frame: int
    memory: Floats
    pointer: Floats


def follow(
    run: Run,
    rules: Rules,
    pictures: Sequence[npt.NDArray[np.uint8]],
    click: tuple[float, float],
    lost: frozenset[int] = frozenset(),
) -> Iterator[Step]:
    """Follow the object under a click on the first picture through the others.

    Args:
        run: the graphs.
        rules: the bundle's.
        pictures: (H, W, 3) each, RGB.
        click: x, y in pixels of the picture.
        lost: frames on which the object is not seen, whatever the network says.
    """
    kept: list[Kept] = []
    for at, picture in enumerate(pictures):
        image, frame = image_input(picture, rules.preprocess)
        given = {"image": image, "resized_size": resized_size(frame)}
        encoded = dict(run("image_encoder", given))
        bank, attention = bank_of(kept, at, len(pictures), rules.video) if at else ({}, "")
        embeddings = encoded["image_embeddings"]
        if at:
            encoded |= run("memory_query", encoded)
            embeddings = run(attention, encoded | bank)["conditioned_embeddings"]
        prompts = _slots(None if at else Prompts((click,), (1,)), frame, rules) | _no_mask(rules)
        given = encoded | prompts | {"image_embeddings": embeddings}
        decoded = dict(run("mask_decoder", given))
        if at in lost:
            decoded["object_score_logits"] = decoded["object_score_logits"] - LOST
        logits, pointer, score = _choose(decoded, rules)
        remembered = {
            "mask_logits": logits[None, None],
            "from_prompt": np.full(1, at == 0, np.float32),
            "object_present": np.full(1, score > rules.video.min_object_score, np.float32),
        }
        memory = run("memory_encoder", encoded | remembered)["memory"][0]
        stored = np.dtype(rules.video.stored)
        held = memory.astype(stored).astype(np.float32), pointer.astype(stored).astype(np.float32)
        kept.append(Kept(at, *held))
        yield Step(
            encoded, bank, attention, prompts, embeddings, decoded, logits, pointer, score,
            remembered, memory,
        )  # fmt: skip


def bank_of(kept: Sequence[Kept], now: int, frames: int, rule: VideoRule) -> tuple[Arrays, str]:
    """Fill the slots of a bank, and choose the graph for it.

    Args:
        kept: the frames before, of which the first alone was prompted.
        now: number of the frame that looks back.
        frames: in the whole video.
        rule: the bundle's.
    """
    first, later = kept[0], [each for each in kept[1:] if now - each.frame <= rule.memory_frames]
    listed = [first, *later]
    if rule.pruning is not None:
        listed = prune(listed, rule.pruning)
    name = FIRST_ATTENTION if rule.pooled and len(listed) == 1 else MEMORY_ATTENTION
    slots = 1 if name == FIRST_ATTENTION else rule.memory_slots
    memories = np.zeros((1, slots, rule.memory_tokens, rule.memory_width), np.float32)
    memory_age = np.full((1, slots), -1, np.float32)
    for slot, each in enumerate(listed):
        memories[0, slot] = each.memory
        memory_age[0, slot] = 0 if each is first else now - each.frame
    pointers = np.zeros((1, rule.pointer_slots, rule.pointer_width), np.float32)
    pointer_age = np.full((1, rule.pointer_slots), -1, np.float32)
    reach = min(rule.pointer_frames, frames - 1)
    near = [each for each in reversed(kept[1:]) if now - each.frame <= reach]
    for slot, each in enumerate([first, *near]):
        pointers[0, slot] = each.pointer
        pointer_age[0, slot] = (now - each.frame) / min(frames - 1, rule.pointer_scale)
    return {
        "memories": memories,
        "memory_age": memory_age,
        "object_pointers": pointers,
        "pointer_age": pointer_age,
    }, name


def prune(listed: Sequence[Kept], rule: Pruning) -> list[Kept]:
    """Leave out the memories most like the last, as `Pruning` says."""
    if len(listed) < rule.listed:
        return list(listed)
    units = [each.memory / np.linalg.norm(each.memory, axis=1, keepdims=True) for each in listed]
    alike = {at: float((units[at] * units[-1]).sum()) for at in range(1, len(listed) - 1)}
    dropped = sorted(alike, key=alike.__getitem__, reverse=True)[: rule.dropped]
    return [each for at, each in enumerate(listed) if at not in dropped]


def _slots(prompts: Prompts | None, frame: Frame, rules: Rules) -> Arrays:
    if prompts is not None:
        coords, labels = pack(prompts, frame, rules.prompts)
        return {"point_coords": coords, "point_labels": labels}
    count = rules.prompts.slots
    labels = np.full((1, count), LABELS["empty"], np.float32)
    labels[:, : rules.video.padding_points] = LABELS["not_a_point"]
    return {"point_coords": np.zeros((1, count, 2), np.float32), "point_labels": labels}


def _no_mask(rules: Rules) -> Arrays:
    side = rules.mask.low_res_size
    return {
        "mask_input": np.zeros((1, 1, side, side), np.float32),
        "has_mask_input": np.zeros(1, np.float32),
    }


def _choose(decoded: Mapping[str, Floats], rules: Rules) -> tuple[Floats, Floats, float]:
    """Choose a mask and its pointer, for one click or none; and the object's score."""
    logits, iou = decoded["low_res_masks"][0], decoded["iou_predictions"][0]
    score = float(decoded["object_score_logits"][0, 0])
    several = rules.video.several_up_to >= 1
    token = max(choose_tokens(rules.mask, logits, iou, multimask=several), key=lambda t: iou[t])
    if score > rules.video.min_object_score:
        return logits[token], decoded["object_pointers"][0, token], score
    return np.full_like(logits[token], rules.video.absent_logit), rules.no_pointer, score
