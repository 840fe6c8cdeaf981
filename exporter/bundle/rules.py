"""The host's work before, between and after the graphs, as data. Standard library and msgspec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from exporter.bundle.ranges import (
    Batch,
    Byte,
    Channel,
    Label,
    Name,
    NotNegative,
    Number,
    Positive,
    Share,
    Side,
    Slots,
    Token,
    TokenOrNone,
)

Resize = Literal["longest_side", "letterbox", "stretch", "within", "crop"]
Interpolation = Literal[
    "pillow_bilinear",
    "pillow_bicubic",
    "float_bilinear",
    "float_bilinear_plain",
    "bilinear_plain",
    "opencv_bilinear",
    "spline_cubic",
    "none",
]
Scale = Literal["fixed", "picture"]
Channels = Literal["rgb", "grey"]
Rounding = Literal["half_up", "truncate"]
PaddedBy = Literal["host", "graph"]
PromptScale = Literal["each_side", "longest_side"]
Upscale = Literal[
    "bilinear",
    "bilinear_once",
    "sigmoid_bilinear_once",
    "bicubic_once",
    "crop_bilinear",
    "letterbox_bilinear",
    "trilinear",
]
Score = Literal["iou_predictions", "stability"]
SlotOrder = Literal["points, then box corners (top left, bottom right)"]

LABELS = {
    "foreground": 1,
    "background": 0,
    "box_top_left": 2,
    "box_bottom_right": 3,
    "not_a_point": -1,
    "empty": -2,
}
"""Meaning -> label of a prompt slot; every bundle's."""

SLOTS = range(2, 65)
"""Slots of a prompt set that an export can be asked for; a variant may have fewer."""
BATCHES = range(1, 65)
"""Prompt sets in one decoder call that an export can be asked for."""
SIDES = range(32, 4097)
"""Sides of the input, in pixels, that an export can be asked for; a variant has some of them."""


@dataclass(frozen=True)
class Preprocess:
    """From an RGB uint8 image to the `image` input.

    Attributes:
        resize: `longest_side` (keep the aspect, pad right and bottom), `letterbox` (the same, but
            padded on both sides, the smaller half left and above; sides are rounded, a half to
            even), `stretch`, `within`: keep the aspect, each side int(side * f + 0.5), pad right
            and bottom. There f is the smaller of limits[0] / longer side and limits[1] / shorter
            side; if that result does not fit the input, the smaller of its sides over the
            picture's. Or of volumes `crop` (see `exporter.bundle.volume`; then only `size` means
            something here).
        size: side S of the square input, in pixels; of another, its longer side.
        interpolation: antialiased when they shrink: `pillow_bilinear` and `pillow_bicubic`
            (a = -0.5) on bytes, rounded to bytes after the rows and again after the columns;
            `float_bilinear` on floats, never rounded. Not
            antialiased, two neighbours each way with half-pixel centres: `float_bilinear_plain`,
            never rounded; `bilinear_plain`, rounded to whole numbers, a half to even;
            `opencv_bilinear`, in whole numbers of 2048ths, as `exporter.bundle.opencv_resize` says.
            `spline_cubic`: scikit-image's, smoothed if it shrinks, cut off to whole numbers, as
            `exporter.bundle.spline_resize` says. `none`: of volumes.
        pad_value: RGB of the padding, in 0..255: mostly zero after normalisation.
        mean: subtracted inside the graph; for information.
        std: divided by inside the graph; for information.
        frame_size: side F of the square that the published code fits the image to for prompts and
            masks, by the same resize rule; None if that is the input (F = S). `point_coords`
            are x, y in the F x F square times S / F: pixels of the input.
        rounding: of the shorter side of a `longest_side` resize. `half_up`: int(side * S / longest
            + 0.5). `truncate`: with r = width / height, int(S / r) if r >= 1, else int(S * r),
            in double precision and in this order.
        prompt_scale: from original pixels to the resized image. `each_side`: x by its width and y
            by its height. `longest_side`: both by S over the longer original side, so that rounding
            moves no prompt.
        padded_by: who writes the padding. `host`: it fills the padding with `pad_value`. `graph`:
            the graph does, exactly, and takes `resized_size`; the pixels that the host leaves
            there have no effect.
        scale: `fixed`, pixels as they are; `picture`: after resizing, v becomes
            (v - least) * 255 / (largest - least) over the picture's own pixels and channels,
            divided by 1e-8 at least; the padding is not.
        channels: `rgb`; `grey`: before resizing, all three become
            (19595 R + 38470 G + 7471 B + 32768) / 65536, cut off to a whole number.
        sides: height and width of the input; None if it is the square S x S. `low_res_masks` then
            have `MaskRule.low_res_size` times either over S rows and columns.
        limits: of `within`: the longest that the longer and the shorter side become; else None.
    """

    resize: Resize
    size: Side
    interpolation: Interpolation
    pad_value: tuple[Byte, Byte, Byte]
    mean: tuple[Number, Number, Number]
    std: tuple[Positive, Positive, Positive]
    frame_size: Side | None = None
    rounding: Rounding = "half_up"
    prompt_scale: PromptScale = "each_side"
    padded_by: PaddedBy = "host"
    scale: Scale = "fixed"
    channels: Channels = "rgb"
    sides: tuple[Side, Side] | None = None
    limits: tuple[Side, Side] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the input, in pixels."""
        return self.sides or (self.size, self.size)


@dataclass(frozen=True)
class PromptRule:
    """How prompts fill the decoder's static slots.

    Attributes:
        batch: prompt sets in one call (B).
        slots: slots of a prompt set (N), every kind of prompt together.
        labels: meaning -> label.
        pad_without_box: whether a set without a box ends with one "not a point" slot, as the
            published predictor does. It takes a slot. EfficientSAM's own padding is part of its
            graph: an empty slot stands for it.
        order: which comes first.
        pad_with_box: the same for a set with a box, as SAM 2's predictor does.
        most_slots: that the network can have, however it is exported; None for any number.
        point_or_box: whether a set is one foreground point or one box, and no more.
    """

    batch: Batch
    slots: Slots
    labels: Annotated[dict[Name, Label], Meta(max_length=16)]
    pad_without_box: bool
    order: SlotOrder = "points, then box corners (top left, bottom right)"
    pad_with_box: bool = False
    most_slots: Slots | None = None
    point_or_box: bool = False


@dataclass(frozen=True)
class Stability:
    """Whether a mask keeps its area when the threshold moves a little (SAM 2).

    Attributes:
        delta: the score is the number of low-res logits above `delta` over those above `-delta`;
            1 if there are none of the latter.
        least: a mask of a lower score is not stable.
    """

    delta: NotNegative
    least: Share


@dataclass(frozen=True)
class MaskRule:
    """From the decoder's outputs to a mask.

    Attributes:
        threshold: a pixel belongs to the mask if its upscaled logit is above this.
        single: mask token for `multimask` false; -1 if the variant has none: then the best of
            `multi` by `score`.
        multi: mask tokens for `multimask` true, as many masks in this order. Published decoders
            have four tokens: 0 for one mask, 1 to 3 for three. One of two tokens has the mask 1
            here; one of a single token has no other, which is then `single` and `multi` too.
        upscale: `bilinear` to F x F (S x S but for `Preprocess.frame_size`), crop the padding,
            `bilinear` to the original size, both with half-pixel centres. `bilinear_once`:
            straight to the original size, if the image was stretched. `sigmoid_bilinear_once`: the
            same of 2 / (1 + exp(-logit)) - 1, which is above 0 where the logit is. `bicubic_once`:
            the same by cubic convolution (a = -0.75, four neighbours each way, edges clamped): it
            is not antialiased either. `crop_bilinear`: crop the logits to int(low_res_size * side /
            longest) rows and columns of the original sides, then `bilinear` to the original size.
            `trilinear`: of volumes, as `exporter.bundle.volume` says.
        low_res_size: side of `low_res_masks`; the longer one, see `Preprocess.sides`.
        stability: when `single` gives way to the best of `multi`; None for never.
        logit_limit: a `low_res_masks` handed to the caller is clamped to -limit..limit, after the
            mask was made from it; None for as it is.
        score: ranks masks: `iou_predictions`, or `stability`: the number of low-res logits
            above `threshold + score_offset` over those above `threshold - score_offset`; 0 if
            there are none of the latter.
        score_offset: see `score`.
    """

    threshold: Number
    single: TokenOrNone
    multi: Annotated[tuple[Token, ...], Meta(max_length=256)]
    upscale: Upscale
    low_res_size: Side
    stability: Stability | None = None
    logit_limit: Positive | None = None
    score: Score = "iou_predictions"
    score_offset: Positive = 1.0


@dataclass(frozen=True)
class DetectionRule:
    """From the outputs of a graph that takes no prompt to the masks of everything in the image.

    `boxes` (1, N, 4) are x0, y0, x1, y1 in pixels of the input, `scores` (1, N) are in 0..1, and a
    detection's mask in the cells of `prototypes` (1, K, p, p) is the sum of the prototypes times
    its row of `coefficients` (1, N, K). In this order:

    1. keep the detections that score above `confidence` and whose box is finite, the highest first;
    2. drop every one whose box has an IoU above `nms_iou` with a kept one before it, and keep at
       most `max_detections`;
    3. move box edges nearer than `border` to the input's border onto it;
    4. a box that then has an IoU above `full_box_iou` with the whole input becomes the whole input;
    5. map the boxes to the original image and clip them to it: less p, over g; g is the smaller of
       S / width and S / height of the original, and p = round((S - side * g) / 2 - 0.1) on either
       axis;
    6. upscale each mask as `MaskRule.upscale` says; a pixel belongs to it where the logit is above
       `MaskRule.threshold` and x0 <= x < x1, y0 <= y < y1.

    Prompts choose among these masks: points, or one box. Points: from the largest mask to the
    smallest, one that holds a foreground point is added to the result, one that holds a background
    point is taken from it; of several points that a mask holds the last one given decides. A box,
    rounded to whole pixels: the mask of the highest IoU with it, none if none meets it.

    Attributes:
        confidence: the least score, itself left out.
        nms_iou: above this, two boxes are one object's.
        max_detections: the most masks of an image.
        border: in pixels of the input.
        full_box_iou: above this, a box is the whole input.
        strides: of the grids the rows come from, in this order; N is the sum of their cells.
        prototypes: how many there are, K.
    """

    confidence: Share
    nms_iou: Share
    max_detections: Annotated[int, Meta(ge=1, le=10_000)]
    border: NotNegative
    full_box_iou: Share
    strides: Annotated[tuple[Side, ...], Meta(min_length=1, max_length=16)]
    prototypes: Side


@dataclass(frozen=True)
class DrawnPrompts:
    """How prompts are drawn into `prompt_masks` (1, 2, S, S), for a graph that takes them so.

    Coordinates are in the S x S input: x times S over the original width, y likewise.

    Attributes:
        box_channel: 1 where x0 <= column <= x1 and y0 <= row <= y1, else 0; all 1 without a box.
        point_channel: 1 where a column and row are no farther than `radius` from a point, else 0.
        radius: in pixels of the input.
        background_points: whether a point may be background.
    """

    box_channel: Channel
    point_channel: Channel
    radius: NotNegative
    background_points: bool


@dataclass(frozen=True)
class PanopticRule:
    """From the outputs of a graph that finds everything to one segment for each pixel.

    `panoptic_masks` (1, Q, h, w) are logits, and `panoptic_scores` (1, Q, K + 1) the queries'
    classes before a softmax, the last of them none. In this order, as mmdet's
    `MaskFormerFusionHead`:

    1. keep the queries whose likeliest class is not the last and has a share above `least`;
    2. upscale their masks as `MaskRule.upscale` says, and take the sigmoid;
    3. a pixel is the query's whose share times sigmoid is the largest there, the first of equals;
    4. drop a query that has less than `overlap` of the pixels where its own sigmoid is 0.5 or more,
       or that has none; else its segment is its pixels where the sigmoid is 0.5 or more;
    5. segments of one class are one, unless it is a class of `things` that can be counted.

    Attributes:
        classes: names, in the order of the classifier's file; numbers if nothing names them.
        things: how many of the first classes can be counted.
        least: see above.
        overlap: see above.
    """

    classes: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=10_000)]
    things: Annotated[int, Meta(ge=0, le=10_000)]
    least: Share = 0.8
    overlap: Share = 0.8
