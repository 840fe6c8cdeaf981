"""A video bundle's graphs, loaded, and the arrays that they take. numpy and the bundle's engine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from exporter.bundle.folder import Bundle
from exporter.bundle.layouts import Array
from exporter.bundle.npz import list_arrays, read_array
from exporter.bundle.preprocess import Floats
from exporter.bundle.tensors import GraphSpec
from exporter.bundle.video import FIRST_ATTENTION, MEMORY_ATTENTION, VideoRule
from exporter.errors import BundleError
from runtimes.engines import Load, LoadedGraph, loader, run_canonical
from runtimes.tracking.bank import Seen
from runtimes.tracking.decide import Decoded
from runtimes.tracking.drawn import MaskDownsample

ENCODER, DECODER = "image_encoder", "mask_decoder"
MEMORY_ENCODER, MEMORY_QUERY = "memory_encoder", "memory_query"
EMPTY = -1.0
"""Age of a slot that holds nothing."""


@dataclass(frozen=True)
class HostData:
    """Numbers of the network that only the host uses; see `exporter.bundle.video.VideoRule`.

    Attributes:
        no_pointer: (W,) of an object that is not there.
        no_memory: (C,) what `image_embeddings` contains as long as there is no memory.
        mask_downsample: of a mask given as the prompt.
    """

    no_pointer: Floats
    no_memory: Floats
    mask_downsample: MaskDownsample


def video_rule(bundle: Bundle) -> VideoRule:
    """Return how a bundle tracks. BundleError if it has no memory."""
    rule = bundle.manifest.video
    if rule is None:
        raise BundleError(
            f"{bundle.path} segments pictures and has no memory of earlier frames: export it with "
            "--video to track"
        )
    return rule


def read_host_data(bundle: Bundle) -> HostData:
    """Read a bundle's `video.npz`. BundleError if it is not as the rule says."""
    rule = video_rule(bundle)
    path = bundle.path / rule.host_data
    channels = _channels(bundle)
    shapes = {
        "no_object_pointer": (rule.pointer_width,),
        "no_memory_embedding": (channels,),
        "mask_downsample_weight": (1, 1, 4, 4),
        "mask_downsample_bias": (1,),
    }
    bytes_of = {name: 4 * int(np.prod(shape)) for name, shape in shapes.items()}
    entries = list_arrays(path, lambda name: bytes_of.get(name, 0), sum(bytes_of.values()) + 2**16)
    found: dict[str, Floats] = {}
    for name, shape in shapes.items():
        if name not in entries:
            raise BundleError(f"{path} has no {name}; export the bundle again")
        array = read_array(path, entries[name])
        if array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
            raise BundleError(f"{path}: {name} is not finite float32 of {shape}; export it again")
        found[name] = array
    down = MaskDownsample(
        found["mask_downsample_weight"][0, 0], float(found["mask_downsample_bias"][0])
    )
    return HostData(found["no_object_pointer"], found["no_memory_embedding"], down)


def _channels(bundle: Bundle) -> int:
    outputs = bundle.manifest.graph(ENCODER).spec.outputs
    return next(t.canonical_shape[1] for t in outputs if t.name == "image_embeddings")


@dataclass
class VideoGraphs:
    """The graphs of one bundle.

    Attributes:
        ms: milliseconds spent in each graph since the dictionary was last emptied.
    """

    specs: Mapping[str, GraphSpec]
    loaded: Mapping[str, LoadedGraph]
    rule: VideoRule
    ms: dict[str, float] = field(default_factory=dict)

    @classmethod
    def open(
        cls, bundle: Bundle, engine: str | None = None, threads: int = 2, load: Load | None = None
    ) -> VideoGraphs:
        """Load every graph. Errors are those of `runtimes.engines.load_graph`."""
        load = load or loader(bundle, engine, threads)
        specs = {graph.spec.name: graph.spec for graph in bundle.manifest.graphs}
        return cls(specs, {name: load(name) for name in specs}, video_rule(bundle))

    def __post_init__(self) -> None:
        rule = self.rule
        # Empty slots may hold anything finite: objects share the room, and it is cleared once.
        self._memories = np.zeros(
            (1, rule.memory_slots, rule.memory_tokens, rule.memory_width), np.float32
        )
        self._pointers = np.zeros((1, rule.pointer_slots, rule.pointer_width), np.float32)

    def encode(self, image: Floats, resized_size: Floats) -> dict[str, Array]:
        """Encode a frame, once for all of its objects.

        Args:
            image: (1, 3, S, S), as `exporter.bundle.preprocess.image_input` gives it.
            resized_size: (1, 2), for an encoder that writes the padding.
        """
        encoded = self._run(ENCODER, {"image": image, "resized_size": resized_size})
        return encoded

    def attend(
        self, encoded: dict[str, Array], memories: Sequence[Seen], pointers: Sequence[Seen]
    ) -> Floats:
        """Look at a frame in the light of earlier ones: `conditioned_embeddings` (1, C, g, g).

        `encoded` gains what the first object's call makes for all of them.
        """
        self._prepare_query(encoded)
        name = FIRST_ATTENTION if self.rule.pooled and len(memories) == 1 else MEMORY_ATTENTION
        slots = 1 if name == FIRST_ATTENTION else self.rule.memory_slots
        ages = np.full((1, slots), EMPTY, np.float32)
        pointer_ages = np.full((1, self.rule.pointer_slots), EMPTY, np.float32)
        for i, seen in enumerate(memories):
            self._memories[0, i], ages[0, i] = seen.value, seen.age
        for i, seen in enumerate(pointers):
            self._pointers[0, i], pointer_ages[0, i] = seen.value, seen.age
        given = {
            "memories": self._memories[:, :slots],
            "memory_age": ages,
            "object_pointers": self._pointers,
            "pointer_age": pointer_ages,
        }
        return self._run(name, {**encoded, **given})["conditioned_embeddings"]

    def _prepare_query(self, encoded: dict[str, Array]) -> None:
        if MEMORY_QUERY in self.specs and "query" not in encoded:
            encoded |= self._run(MEMORY_QUERY, encoded)

    def decode(
        self,
        encoded: Mapping[str, Array],
        embeddings: Floats,
        slots: tuple[Floats, Floats],
        mask_input: Floats | None = None,
    ) -> Decoded:
        """Run the decoder for one object.

        Args:
            encoded: the frame's.
            embeddings: (1, C, g, g), the frame's own or those of `attend`.
            slots: `point_coords` (1, N, 2) and `point_labels` (1, N).
            mask_input: (h, w) earlier logits, or None.
        """
        side = 4 * self.rule.grid
        earlier = np.zeros((side, side), np.float32) if mask_input is None else mask_input
        given = {
            **encoded,
            "image_embeddings": embeddings,
            "point_coords": slots[0],
            "point_labels": slots[1],
            "mask_input": earlier[None, None].astype(np.float32),
            "has_mask_input": np.full(1, mask_input is not None, np.float32),
        }
        out = self._run(DECODER, given)
        return Decoded(
            out["low_res_masks"][0],
            out["iou_predictions"][0],
            out["object_pointers"][0],
            float(out["object_score_logits"].ravel()[0]),
        )

    def remember(
        self, encoded: Mapping[str, Array], logits: Floats, *, prompted: bool, present: bool
    ) -> Floats:
        """Make the memory (T, C) of a frame's mask (h, w)."""
        given = {
            **encoded,
            "mask_logits": np.ascontiguousarray(logits, np.float32)[None, None],
            "from_prompt": np.full(1, prompted, np.float32),
            "object_present": np.full(1, present, np.float32),
        }
        memory: Floats = self._run(MEMORY_ENCODER, given)["memory"][0]
        return memory

    def _run(self, name: str, given: Mapping[str, Array]) -> dict[str, Array]:
        spec = self.specs[name]
        taken = {tensor.name: given[tensor.name] for tensor in spec.inputs}
        start = time.perf_counter()
        outputs = run_canonical(self.loaded[name], spec, taken)
        spent = (time.perf_counter() - start) * 1000
        self.ms[name] = self.ms.get(name, 0.0) + spent
        return outputs
