"""Pictures -> the `image` input in each layout; orientations of a camera."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
from PIL import Image

from exporter.bundle.layouts import to_layout
from exporter.bundle.preprocess import fit, image_input, resized_size
from exporter.bundle.rules import Interpolation, Preprocess
from exporter.bundle.tensors import Dtype, TensorSpec
from runtimes.golden_vectors.seeds import picture
from runtimes.golden_vectors.store import Topic
from runtimes.pictures.pixels import upright

SIZE = 32
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
LONGEST = Preprocess("longest_side", SIZE, "pillow_bilinear", MEAN, MEAN, STD)
STRETCH = Preprocess("stretch", SIZE, "float_bilinear", MEAN, MEAN, STD)
LETTERBOX = Preprocess(
    "letterbox", SIZE, "opencv_bilinear", (114.0, 114.0, 114.0), (0.0,) * 3, (255.0,) * 3
)
BLACK = (0.0, 0.0, 0.0)
TRUNCATED = replace(
    LONGEST,
    interpolation="pillow_bicubic",
    rounding="truncate",
    prompt_scale="longest_side",
    pad_value=BLACK,
)
FRAMED = replace(LONGEST, frame_size=64, pad_value=BLACK)
BY_GRAPH = replace(LONGEST, padded_by="graph")
RULES = {
    "longest_side": LONGEST,
    "stretch": STRETCH,
    "letterbox": LETTERBOX,
    "truncate": TRUNCATED,
    "framed": FRAMED,
    "plain": replace(STRETCH, interpolation="float_bilinear_plain"),
    "plain_rounded": replace(STRETCH, interpolation="bilinear_plain"),
    "spline": replace(STRETCH, interpolation="spline_cubic"),
    "medsam": replace(STRETCH, interpolation="spline_cubic", scale="picture"),
    "grey": replace(LONGEST, channels="grey", pad_value=BLACK),
}
SIZES = ((1, 1), (2, 1), (1, 70), (32, 32), (45, 31), (31, 45), (67, 100), (7, 5), (53, 128))
LARGE = (151, 101)
FEW = {"spline": ((1, 70), (45, 31)), "medsam": ((45, 31),), "grey": ((45, 31),)}
"""Rules that share their parts with others: the sizes they are tried with."""
ROUNDED: tuple[Interpolation, ...] = ("float_bilinear", "float_bilinear_plain")
"""Interpolations whose sums are not whole numbers."""
TOLERANCE = 1e-3
"""Of 0..255, for interpolations in floats: a processor may round a product and a sum at once."""


def preprocessing() -> Topic:
    """Every resize rule with pictures of odd sizes, and the layouts of the `image` input."""
    topic = Topic("preprocessing")
    for rule_name, rule in RULES.items():
        for at, (width, height) in enumerate((*SIZES, LARGE)):
            if (width, height) == LARGE and rule_name not in ("longest_side", "stretch"):
                continue
            if (width, height) not in FEW.get(rule_name, (*SIZES, LARGE)):
                continue
            name = f"{rule_name} {width}x{height}"
            _add(topic, name, rule, (width, height), 10 + at, "NCHW")
    for layout in ("NHWC", "RGB image"):
        _add(topic, f"longest_side {layout}", BY_GRAPH, (45, 31), 30, layout)
        _add(topic, f"stretch {layout}", STRETCH, (31, 45), 31, layout)
    return topic


def _add(
    topic: Topic, name: str, rule: Preprocess, size: tuple[int, int], seed: int, layout: str
) -> None:
    rgb = picture(seed, *size)
    image, frame = image_input(rgb, rule)
    shape = (1, SIZE, SIZE, 3) if layout == "NHWC" else (1, 3, SIZE, SIZE)
    dtype: Dtype = "uint8" if layout == "RGB image" else "float32"
    given = to_layout(image, TensorSpec("image", shape, dtype, layout))
    whole = (given == np.rint(given)).all()
    rounded = rule.interpolation in ROUNDED or rule.scale == "picture"
    topic.add(
        name,
        picture=rgb,
        preprocess=asdict(rule),
        layout=layout,
        dtype=dtype,
        resized=list(frame.resized),
        offset=list(frame.offset),
        resized_size=resized_size(frame)[0].tolist(),
        image=given.astype(np.uint8) if whole else given,
        tolerance=TOLERANCE if rounded and dtype == "float32" else 0.0,
    )


def orientations() -> Topic:
    """A small picture in the eight orientations of EXIF."""
    topic = Topic("orientations")
    rgb = picture(40, 3, 2)
    for held in range(1, 9):
        turned = np.asarray(upright(Image.fromarray(rgb), held))
        topic.add(f"orientation {held}", picture=rgb, orientation=held, upright=turned)
    return topic


def frame_of(rule: Preprocess, size: tuple[int, int]) -> dict[str, object]:
    """Describe where a picture lies, as cases do."""
    frame = fit(*size, rule)
    return {"preprocess": asdict(rule), "size": list(size), "resized": list(frame.resized)}
