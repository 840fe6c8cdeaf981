"""Whether a manifest's parts agree: shapes with rules, graphs with each other, names with files.

Ranges and words are checked before, field by field; here are the sums over several fields. All of
it is arithmetic on the manifest: no file is opened, and nothing of a claimed size is made.
"""

from __future__ import annotations

import datetime
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from exporter.bundle.flow import feeds, order_graphs
from exporter.bundle.ranges import MOST_ELEMENTS
from exporter.bundle.rules import (
    LABELS,
    DetectionRule,
    DrawnPrompts,
    MaskRule,
    Preprocess,
    PromptRule,
)
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.bundle.video import disagreements, host_shapes, read_shapes
from exporter.bundle.volume import volume_disagreements
from exporter.errors import BundleError
from exporter.printable import printable

if TYPE_CHECKING:
    from exporter.bundle.manifest import GraphFile, Manifest

END_TO_END = "end_to_end"
"""Stands for all graphs and the host's work around them, where a graph's name may stand."""
VIDEO = "video"
"""The same for the frames of a video."""
POINT_SCORES = "point_scores"
"""Of a graph of the image: how good a click on each cell of the input is, in 0..1."""
Shapes = dict[str, tuple[int, ...]]


def check_agreement(manifest: Manifest) -> None:
    """Check everything. BundleError names the first parts that disagree."""
    for name in (*manifest.files, *(graph.file for graph in manifest.graphs)):
        safe_path(name)
    for problem in _problems(manifest):
        raise BundleError(f"manifest: {printable(problem, 400)}; export the bundle again")


def _problems(manifest: Manifest) -> Iterator[str]:
    if not _is_moment(manifest.created):
        yield f"created {manifest.created!r} is no time"
    if str(manifest.mask.threshold) == "-0.0":
        yield "mask.threshold is -0.0"
    yield from volume_disagreements(manifest)
    yield from _names(manifest)
    yield from _sizes(manifest)
    yield from _flow(manifest)
    yield from _outputs(manifest)
    yield from _preprocess(manifest.preprocess)
    yield from _mask(manifest.mask, manifest)
    if manifest.prompts is not None:
        yield from _slots(manifest.prompts)
    if manifest.detections is not None:
        yield from _detections(manifest.detections, manifest.preprocess)
    if manifest.drawn_prompts is not None:
        yield from _drawn(manifest.drawn_prompts, manifest.preprocess)
    if manifest.video is not None:
        yield from disagreements(manifest.video, manifest)
    if manifest.panoptic is not None:
        yield from _panoptic(manifest)
    yield from _parity(manifest)


def safe_path(name: str) -> PurePosixPath:
    """Parse a manifest's file name. BundleError if it is not plainly inside the bundle."""
    path = PurePosixPath(name)
    plain = name == path.as_posix() and not set(name) & {"\\", "\0", ":"}  # C:file on Windows
    if not plain or path.is_absolute() or not path.parts or ".." in path.parts:
        raise BundleError(
            f"manifest.json names {printable(name)!r}, which is not a path inside the bundle"
        )
    return path


def _is_moment(text: str) -> bool:
    """Tell whether a text is a time with its zone, as `2026-11-22T12:00:00+00:00`."""
    try:
        return "T" in text and datetime.datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _names(manifest: Manifest) -> Iterator[str]:
    specs = [graph.spec for graph in manifest.graphs]
    for what, names in (
        ("graphs are called", (spec.name for spec in specs)),
        ("graphs have the file", (_place(graph) for graph in manifest.graphs)),
        *((f"inputs of {s.name} are called", (t.name for t in s.inputs)) for s in specs),
        *((f"outputs of {s.name} are called", (t.name for t in s.outputs)) for s in specs),
    ):
        for name in _repeated(names):
            yield f"two {what} {name!r}"
    if any(spec.name in (END_TO_END, VIDEO) or "/" in spec.name for spec in specs):
        yield f"no graph may be called {END_TO_END!r} or {VIDEO!r} or have a slash in its name"
    if manifest.files:
        yield from _files(manifest)


def _place(graph: GraphFile) -> str:
    """Say where a graph is: its file, and what to call there. Only a named one shares a file."""
    return f"{graph.file} {graph.signature}" if graph.signature else graph.file


def _files(manifest: Manifest) -> Iterator[str]:
    for graph in manifest.graphs:
        if not graph_files(manifest, graph):
            yield f"it holds no file of graph {graph.spec.name!r} ({graph.file})"


def graph_files(manifest: Manifest, graph: GraphFile) -> list[str]:
    """List the files of a graph: its own, those of its folder, or an ONNX file's weights."""
    file, folder, weights = graph.file, f"{graph.file}/", f"{graph.file}.data"
    return [n for n in manifest.files if n in (file, weights) or n.startswith(folder)]


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, times in Counter(names).items() if times > 1]


def _tensors(manifest: Manifest) -> Iterator[tuple[GraphSpec, TensorSpec]]:
    for graph in manifest.graphs:
        for tensor in (*graph.spec.inputs, *graph.spec.outputs):
            yield graph.spec, tensor


def _sizes(manifest: Manifest) -> Iterator[str]:
    for spec, tensor in _tensors(manifest):
        where = f"{spec.name} {tensor.name} {tensor.shape}"
        if math.prod(tensor.shape) > MOST_ELEMENTS:
            yield f"{where} has more than {MOST_ELEMENTS} numbers"
        if tensor.layout in ("NCHW", "NHWC", "RGB image") and len(tensor.shape) != 4:
            yield f"{where} is no {tensor.layout}"
        if (tensor.dtype == "uint8") != (tensor.layout == "RGB image") and tensor.name == "image":
            yield f"{where} is {tensor.dtype} and {tensor.layout}"
        if tensor.dtype == "uint8" and tensor.name != "image":
            yield f"{where} is uint8; only image may be"


def low_res_shape(manifest: Manifest) -> tuple[int, int]:
    """The last two sides of `low_res_masks`: of a volume, the first holds two axes."""
    low = manifest.mask.low_res_size
    if manifest.volume is not None:
        return low * low, low
    return low_res_sides(manifest.preprocess, manifest.mask)


def low_res_sides(rule: Preprocess, mask: MaskRule) -> tuple[int, int]:
    """Height and width of `low_res_masks`, of an input that is no square too."""
    height, width = (side * mask.low_res_size // rule.size for side in rule.shape)
    return height, width


def _host_inputs(manifest: Manifest) -> Shapes:
    """Map the inputs that the host makes to their shapes."""
    sides, low = manifest.preprocess.shape, low_res_shape(manifest)
    shapes: Shapes = {"image": (1, 3, *sides)}
    prompts, axes = manifest.prompts, 2
    if manifest.volume is not None:
        shapes, axes = {"volume": (1, *[manifest.preprocess.size] * 3)}, 3
    if manifest.preprocess.padded_by == "graph" or (prompts and prompts.point_or_box):
        shapes["resized_size"] = (1, 2)
    if prompts is not None:
        batch, slots = prompts.batch, prompts.slots
        shapes |= {
            "point_coords": (batch, slots, axes),
            "point_labels": (batch, slots),
            "mask_input": (batch, 1, *low),
            "has_mask_input": (batch,),
        }
    if manifest.drawn_prompts is not None:
        shapes["prompt_masks"] = (1, 2, *sides)
    return shapes


def _frame_inputs(manifest: Manifest, spec: GraphSpec) -> Shapes:
    """Map what the host keeps of earlier frames, for a graph of frames, to its shapes."""
    if manifest.video is None or spec.runs != "frame":
        return {}
    return host_shapes(manifest.video, spec.name)


def _flow(manifest: Manifest) -> Iterator[str]:
    """Check that every input is given, by the host or an earlier graph, in the shape it takes."""
    host, ordered = _host_inputs(manifest), order_graphs(manifest.graphs)
    taken: set[str] = set()
    for at, graph in enumerate(ordered):
        fed = feeds(graph, ordered[:at])
        bank = _frame_inputs(manifest, graph.spec)
        for tensor in graph.spec.inputs:
            place = f"{graph.spec.name} {tensor.name}"
            given = fed[tensor.name].output.canonical_shape if tensor.name in fed else None
            given = given or host.get(tensor.name) or bank.get(tensor.name)
            if given is None and not (manifest.video is None and graph.spec.runs == "frame"):
                yield f"nothing gives {place}"
            if given is not None and given != tensor.canonical_shape:
                yield f"{place} is {tensor.shape}, and what gives it says {given}"
            taken.add(tensor.name)
    for name in ("image", "volume", "resized_size"):
        if name in host and name not in taken:
            yield f"no graph takes {name}"
    if ("mask_input" in taken) != ("has_mask_input" in taken):
        yield "mask_input and has_mask_input are taken together or not at all"


def _outputs(manifest: Manifest) -> Iterator[str]:
    """Check the outputs that the host reads."""
    made = {
        tensor.name: tensor.canonical_shape
        for graph in manifest.graphs
        for tensor in graph.spec.outputs
    }
    for name, shape in _read(manifest).items():
        if name not in made:
            yield f"no graph gives {name}"
        elif len(made[name]) != len(shape) or any(
            want not in (0, have) for want, have in zip(shape, made[name], strict=True)
        ):
            wanted = ", ".join(str(side) if side else "any" for side in shape)
            yield f"{name} is {made[name]}, and the rules say ({wanted})"
    tokens = [made[name][1] for name in ("low_res_masks", "iou_predictions") if name in made]
    if len(set(tokens)) > 1:
        yield "low_res_masks and iou_predictions differ in their number of masks"
    used = (*manifest.mask.multi, manifest.mask.single)
    if tokens and max(used) >= tokens[0]:
        yield f"mask uses token {max(used)}, and there are {tokens[0]}"


def _read(manifest: Manifest) -> Shapes:
    """Map the outputs that the host reads to their shapes; 0 is any number."""
    low, rule = manifest.mask.low_res_size, manifest.detections
    if rule is None:
        batch, sides = manifest.prompts.batch if manifest.prompts else 1, low_res_shape(manifest)
        more = {} if manifest.video is None else read_shapes(manifest.video)
        if manifest.panoptic is not None:
            more["panoptic_masks"] = (1, 0, *sides)
            more["panoptic_scores"] = (1, 0, len(manifest.panoptic.classes) + 1)
        made = {t.name for graph in manifest.graphs for t in graph.spec.outputs}
        if POINT_SCORES in made:
            more[POINT_SCORES] = (1, 1, 0, 0)
        return {"low_res_masks": (batch, 0, *sides), "iou_predictions": (batch, 0)} | more
    cells = sum((manifest.preprocess.size // stride) ** 2 for stride in rule.strides)
    return {
        "boxes": (1, cells, 4),
        "scores": (1, cells),
        "coefficients": (1, cells, rule.prototypes),
        "prototypes": (1, rule.prototypes, low, low),
    }


def _preprocess(rule: Preprocess) -> Iterator[str]:
    one_way = rule.resize in ("longest_side", "within") and rule.pad_value == rule.mean
    if rule.padded_by == "graph" and not one_way:
        yield "preprocess.padded_by is graph, which pads with the mean, right and below"
    if rule.padded_by == "graph" and rule.scale != "fixed":
        yield "preprocess.padded_by is graph, of a picture that is not scaled by its own range"
    yield from _sides(rule)


def _sides(rule: Preprocess) -> Iterator[str]:
    if (rule.resize == "within") != (rule.limits is not None):
        yield "preprocess.limits are of resize within, and that has them"
    if rule.limits is not None and rule.limits[0] < rule.limits[1]:
        yield "preprocess.limits are the longer side's and then the shorter side's"
    if rule.sides is None:
        return
    if rule.resize != "within" or rule.frame_size is not None:
        yield "preprocess.sides are of resize within, with no frame_size"
    if max(rule.sides) != rule.size:
        yield f"preprocess.size is {rule.size}, and the longer of sides is {max(rule.sides)}"


def _mask(rule: MaskRule, manifest: Manifest) -> Iterator[str]:
    resize = manifest.preprocess.resize
    fits = {
        "bilinear": resize != "letterbox",
        "bilinear_once": resize == "stretch",
        "sigmoid_bilinear_once": resize == "stretch" and rule.threshold == 0,
        "bicubic_once": resize == "stretch",
        "crop_bilinear": resize == "longest_side",
        "letterbox_bilinear": resize == "letterbox",
        "trilinear": resize == "crop",
    }
    if not fits[rule.upscale]:
        yield f"mask.upscale {rule.upscale} does not fit preprocess.resize {resize}"
    if (rule.upscale == "letterbox_bilinear") != (manifest.detections is not None):
        yield f"mask.upscale {rule.upscale} does not fit a bundle of {manifest.kind}"
    if manifest.preprocess.frame_size is not None and rule.upscale != "bilinear":
        yield f"preprocess.frame_size and mask.upscale {rule.upscale} do not fit"
    for token in _repeated(map(str, rule.multi)):
        yield f"mask.multi has {token} twice"
    if manifest.detections is None and not rule.multi:
        yield "mask.multi is empty"
    if rule.low_res_size > manifest.preprocess.size:
        yield "mask.low_res_size is larger than the input"


def _slots(rule: PromptRule) -> Iterator[str]:
    if rule.labels != LABELS:
        yield f"prompts.labels has to be {LABELS}"
    if rule.slots < 2:
        yield "prompts.slots has to be 2 at least: a box takes two"
    if rule.point_or_box and rule.slots != 2:
        yield "prompts.slots has to be 2 if a set is a point or a box"
    if rule.most_slots is not None and rule.slots > rule.most_slots:
        yield f"prompts.slots is {rule.slots}, and the network has {rule.most_slots} at most"


def _detections(rule: DetectionRule, preprocess: Preprocess) -> Iterator[str]:
    for stride in rule.strides:
        if preprocess.size % stride:
            yield f"detections.strides has {stride}, which does not divide {preprocess.size}"
    if rule.border > preprocess.size:
        yield "detections.border is larger than the input"


def _drawn(rule: DrawnPrompts, preprocess: Preprocess) -> Iterator[str]:
    if rule.box_channel == rule.point_channel:
        yield "drawn_prompts draws boxes and points into one channel"
    if rule.radius > preprocess.size:
        yield "drawn_prompts.radius is larger than the input"


def _panoptic(manifest: Manifest) -> Iterator[str]:
    rule = manifest.panoptic
    if rule is not None and rule.things > len(rule.classes):
        yield f"panoptic.things is {rule.things}, and there are {len(rule.classes)} classes"
    if manifest.prompts is None or manifest.mask.upscale != "bilinear":
        yield "panoptic is of a bundle with an encoder of its own, and mask.upscale bilinear"


def _parity(manifest: Manifest) -> Iterator[str]:
    names = {graph.spec.name for graph in manifest.graphs} | {END_TO_END, VIDEO}
    for figure in manifest.parity:
        for name in figure.graph.split("+"):
            if name not in names:
                yield f"parity has a figure of {name!r}, which is no graph"
