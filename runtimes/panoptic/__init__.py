"""Everything in a picture with its class, by a bundle that has the graph for it."""

from __future__ import annotations

from exporter.bundle.folder import Bundle
from exporter.bundle.manifest import Manifest
from exporter.bundle.panoptic import Segments, find_segments
from exporter.bundle.preprocess import Floats, Frame, image_input, resized_size
from exporter.bundle.rules import PanopticRule
from exporter.errors import RequestError
from runtimes.engines import Load, loader, run_canonical
from runtimes.pictures import Picture

GRAPHS = ("image_encoder", "panoptic")


def panoptic_rule(manifest: Manifest) -> PanopticRule:
    """Return how a bundle finds everything. RequestError if it cannot."""
    if manifest.panoptic is None:
        raise RequestError(
            f"this bundle of {manifest.variant} has no panoptic graph: leave out --panoptic, or "
            "export rap_sam_r50 with --classifier FILE"
        )
    return manifest.panoptic


class PanopticSegmenter:
    """The graphs, loaded; the encoder is the one that prompts use.

    Args:
        bundle: opened.
        engine: a name, or None for the first that can run here.
        threads: for engines that take a number.
        load: what loads a graph, instead of an engine.

    Raises:
        RequestError: the bundle has no panoptic graph, or no engine here can run it.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: str | None = None,
        threads: int = 2,
        load: Load | None = None,
    ) -> None:
        self.rule = panoptic_rule(bundle.manifest)
        self.manifest = bundle.manifest
        load = load or loader(bundle, engine, threads)
        self._loaded = {name: load(name) for name in GRAPHS}

    def find(self, picture: Picture) -> Segments:
        """Find everything in a picture."""
        masks, scores, frame = self.answer(picture)
        return find_segments(masks, scores, self.rule, self.manifest.mask, frame)

    def answer(self, picture: Picture) -> tuple[Floats, Floats, Frame]:
        """Run the graphs: logits (Q, h, w), class scores (Q, K + 1), and where the picture lies."""
        manifest = self.manifest
        image, frame = image_input(picture.rgb, manifest.preprocess, picture.size)
        given = {"image": image, "resized_size": resized_size(frame)}
        for name in GRAPHS:
            spec = manifest.graph(name).spec
            taken = {tensor.name: given[tensor.name] for tensor in spec.inputs}
            given |= run_canonical(self._loaded[name], spec, taken)
        return given["panoptic_masks"][0], given["panoptic_scores"][0], frame
