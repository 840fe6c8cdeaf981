"""export(job): one checkpoint in, one verified bundle a target out."""

from __future__ import annotations

import dataclasses
import datetime
import platform
import traceback
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

import exporter
from exporter.app_code import put_app_code
from exporter.arithmetic import multiply_accumulates
from exporter.bundle.folder import LOG, Bundle, open_bundle, same_job, seal, sign
from exporter.bundle.manifest import (
    MANIFEST,
    SCHEMA_VERSION,
    Calibration,
    Evaluation,
    GraphFile,
    Manifest,
    Source,
)
from exporter.bundle.recipe import RECIPE
from exporter.bundle.signing import Signer
from exporter.bundle.staging import staging
from exporter.calibration import Pictures
from exporter.checkpoints.obtain import Given, obtain, published_path, read_own, require_parts
from exporter.checkpoints.wanted import Wanted
from exporter.checks import Check, OnMiss, refuse, require_checked, require_parity
from exporter.departure import as_ordered, resize_network
from exporter.errors import BundleError, LoweringError, RequestError, SamExportError
from exporter.holding import Held, hold
from exporter.host_rules import has_app_code
from exporter.job import Job, Order, Place, formats, require_job, require_judged, settle
from exporter.progress import Progress, quiet, silent
from exporter.recording import (
    asked_of,
    compensations_of,
    host_data_of,
    record_goldens,
    record_video,
    rule_of,
    samples_of,
    store_arrays,
    video_of,
    volume_of,
)
from exporter.signals import interruptible
from exporter.targets import Joining, Target
from exporter.targets._oldest import oldest_runtimes
from exporter.toolkits import load_toolkits
from exporter.variants import DEFAULT, Detections, Drawn, load_variant, variants
from exporter.variants._video import with_memory

if TYPE_CHECKING:
    from torch import nn

    from exporter.budget import Measured, Network
    from exporter.evaluation import Asked
    from exporter.goldens import Arrays
    from exporter.graphs import Graph


def export(
    job: Job, place: Place | None = None, report: Progress = silent, on_miss: OnMiss = refuse
) -> list[Bundle]:
    """Read, split, record goldens; then lower, check and write one bundle a target.

    Args:
        job: what to export.
        place: where to write; None for `bundles/` in the working folder.
        report: called with each stage.
        on_miss: called with the missed floors; raise to refuse the bundle.

    Raises:
        RequestError: the job cannot be done as asked, or is none; nothing was written.
        ExportError: lowering failed or a floor was missed; no bundle was written.
    """
    require_job(job, place)
    place, given = place or Place(), given_files(job)
    require_parity(place.parity, job.targets)
    if place.sign is not None:
        Signer.load(Path(place.sign))  # report a key that cannot be used before any work
    variant = load_variant(job.variant or DEFAULT)
    if given.checkpoint is not None or given.decoder is not None or job.lora is not None:
        settle(job, variant) if job.variant else formats(job)  # before a large file is read
        load_toolkits(job.targets)
        known = [variant] if job.variant or not job.checkpoint else variants().values()
        if len(known) == 1:
            require_parts(variant, given)  # before a file is fetched
        path = Path(job.checkpoint) if job.checkpoint else published_path(variant, report)
        variant, given = read_own(path, known, job.lora_options, given, report)
    if job.video:
        variant = with_memory(variant, job.memory_slots, job.pointer_slots)
    order = settle(job, variant)
    require_judged(place, order.precision)
    load_toolkits(job.targets)
    with hold(order, place) as held:
        if job.preprocess and order.options.image_input != job.options.image_input:
            report("coreml takes a float image: bytes cannot hold what --preprocess makes of one")
        network, source = obtain(as_ordered(variant, order), given, report)
        if {variant.published_size, order.variant.published_size} != {None}:
            network = resize_network(network, source.layout, variant, order, report)
        if order.classifier is not None:
            source = order.classifier.give(network, source)
        return export_network(order, network, source, held, report, on_miss)


def export_network(
    order: Order,
    network: nn.Module,
    source: Source,
    place: Place | None = None,
    report: Progress = silent,
    on_miss: OnMiss = refuse,
) -> list[Bundle]:
    """Export a network that has its weights, whatever their origin.

    Args:
        order: the settled job.
        network: the variant's, as its layout builds it; this function freezes it.
        source: for the manifest.
        place: see `export`.
        report: see `export`.
        on_miss: see `export`.
    """
    from exporter.budget import Network
    from exporter.graphs import graphs_of
    from exporter.keeping import settle_keeping
    from exporter.models.layers import freeze

    place = place or Place()
    signer = None if place.sign is None else Signer.load(Path(place.sign))
    graphs = graphs_of(freeze(network), order.variant, order.prompts)
    with hold(order, place) as held:
        works = [
            PendingBundle(
                order, target, draft(order, target, source), held, report, on_miss, signer
            )
            for target in order.targets
        ]
        finished = [work.finished() for work in works]
        if None not in finished:
            return [bundle for bundle in finished if bundle is not None]
        keeping = settle_keeping(order, graphs, works[0].draft, rule_of(order), report)
        asked_torch = asked_of(order, graphs, works[0].draft, report)
        with samples_of(order, graphs, report) as samples, asked_torch as asked:
            goldens = record_goldens(order, graphs, report)
            host = host_data_of(order, network)
            pairs = zip(works, finished, strict=True)
            compensations = compensations_of(order, graphs, samples)
            made = Network(graphs, goldens, samples, keeping, compensations, asked, host)
            return [bundle or work.write(made) for work, bundle in pairs]


def given_files(job: Job) -> Given:
    """Collect the job's files, and what it says of their tensors."""
    named = (job.checkpoint, job.decoder_checkpoint, job.encoder_checkpoint)
    checkpoint, decoder, encoder = (Path(each) if each else None for each in named)
    wanted = Wanted(job.tensors, job.ignore)
    return Given(checkpoint, decoder, encoder, wanted, prepared=bool(job.preprocess))


def draft(order: Order, target: Target, source: Source) -> Manifest:
    """Make the manifest before lowering: all that the order alone decides."""
    variant, prompting = order.variant, order.variant.prompting
    options = target.adapt(order.options, order.precision.name)
    versions = {
        "sam-export": exporter.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    return Manifest(
        schema_version=SCHEMA_VERSION,
        variant=variant.name,
        family=variant.family,
        target=target.name,
        precision=order.precision.name,
        platform=target.platform(options, order.precision.name),
        licence=variant.licence,
        source=source,
        graphs=(),
        preprocess=target.preprocess(variant.preprocess, options),
        prompts=order.prompts,
        mask=order.mask,
        parity=(),
        tools=versions | target.versions(),
        files={},
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        detections=prompting.rule if isinstance(prompting, Detections) else None,
        drawn_prompts=prompting.rule if isinstance(prompting, Drawn) else None,
        few_bits=order.few_bits,
        runs_in=oldest_runtimes(target.name, order.precision.name, variant.family, options),
        storage=order.options.storage(target.reads),
        calibration=_calibration(order, target),
        published_size=variant.published_size,
        evaluation=_evaluation(order),
        video=video_of(order),
        panoptic=variant.classes,
        volume=volume_of(order),
    )


def _calibration(order: Order, target: Target) -> Calibration | None:
    if not target.calibrates(order.precision, order.options):
        return None
    from exporter.samples import calibration_of

    return calibration_of(order.ranges, order.chosen, order.variant.preprocess.size)


def _evaluation(order: Order) -> Evaluation | None:
    judged = order.judged
    return None if judged is None else Evaluation(len(judged.pictures), judged.sha256)


@dataclass(frozen=True)
class PendingBundle:
    """One bundle to be made.

    Attributes:
        draft: its manifest before lowering.
    """

    order: Order
    target: Target
    draft: Manifest
    place: Held
    report: Progress
    on_miss: OnMiss
    signer: Signer | None = None

    @property
    def folder(self) -> Path:
        """The bundle's final folder."""
        return Path(self.place.output) / self.order.bundle_name(self.target)

    def finished(self) -> Bundle | None:
        """Open the finished bundle of the same job, or None.

        Raises:
            RequestError: something else is in the way.
        """
        folder = self.folder
        claimed = folder in self.place.claims
        if claimed and (self.place.force or not folder.exists()):
            return None
        if not (folder / MANIFEST).is_file():
            raise RequestError(f"{folder} exists and is not a bundle: move it, or change --output")
        try:
            bundle = open_bundle(folder)
        except BundleError as error:
            raise RequestError(f"{error}; or give --force to replace it") from None
        if not self._made(bundle.manifest):
            raise RequestError(
                f"{folder} holds a different bundle: give --force to replace it, or another "
                "--output"
            )
        require_checked(bundle, self.place.parity, allow_degraded=self.place.allow_degraded)
        if self.signer is not None:
            sign(folder, self.signer)
        return bundle

    def _made(self, manifest: Manifest) -> bool:
        """Whether a finished bundle is of the same job, down to its image input."""
        inputs = [tensor for graph in manifest.graphs for tensor in graph.spec.inputs]
        bytes_in = any(tensor.dtype == "uint8" for tensor in inputs)
        same = bytes_in == self.target.takes_bytes(self.order.options)
        return same and same_job(manifest, self.draft)

    def write(self, network: Network) -> Bundle:
        """Lower the graphs, check them and seal the bundle."""
        from exporter.budget import Searched, lower_within
        from exporter.graphs.image_encoder import as_padded

        final = self.folder
        padded = [as_padded(graph, self.draft.preprocess) for graph in network.graphs]
        made: dict[str, tuple[frozenset[str], GraphFile]] = {}
        with (
            staging(self.place.claims[final], force=self.place.force) as folder,
            interruptible(folder / LOG),
            self._parts(folder) as parts,
        ):

            def lower(kept: frozenset[str]) -> Manifest:
                for graph in padded:
                    few = self.order.precision_of(graph.spec) == self.order.precision
                    own = kept if few else frozenset()
                    if made.get(graph.spec.name, (None,))[0] != own:
                        file = self._lower(graph, parts, network, own, folder / LOG)
                        made[graph.spec.name] = own, file
                files = tuple(made[graph.spec.name][1] for graph in padded)
                if self.target.join is not None:
                    files = self.target.join(Joining(self.draft, files, parts, folder))
                unchecked = dataclasses.replace(self.draft, graphs=files)
                arrays = self._goldens(unchecked, padded, network)
                store_arrays(folder, arrays, network.host_data)
                (folder / MANIFEST).write_bytes(unchecked.to_json().encode())
                return unchecked

            unchecked, trials = lower_within(network, folder, lower, self.report)
            self._keep_recipe(folder, network, trials)
            checked = self._check(unchecked, folder, network)
            if self.place.glue and has_app_code(self.order.variant):
                put_app_code(folder, checked, final.name)
            seal(folder, checked, self.signer)
        if network.asked is not None:
            self.report(f"{final.name}: see {network.asked.show(final)}")
        bundle = open_bundle(final)
        return Searched(bundle.path, bundle.manifest, trials) if trials else bundle

    def _keep_recipe(self, folder: Path, network: Network, trials: Sequence[Measured]) -> None:
        """Write down what stayed float, if the precision is judged by its masks."""
        if self.order.precision.judged:
            recipe = network.keeping.recipe(self.draft.storage, [each.trial for each in trials])
            (folder / RECIPE).write_bytes(recipe.to_json().encode())

    @contextmanager
    def _parts(self, folder: Path) -> Iterator[Path]:
        """Where graphs are lowered to: the bundle itself, unless its target joins them."""
        if self.target.join is None:
            yield folder
            return
        with TemporaryDirectory(prefix="sam-export-") as parts:
            yield Path(parts)

    def _check(self, unchecked: Manifest, folder: Path, network: Network) -> Manifest:
        """Run the written graphs, and add their figures to the manifest."""
        self.report(f"{self.folder.name}: running the lowered graphs against torch")
        place = self.place
        check = Check(
            self.order.precision, place.allow_degraded, self.report, self.on_miss, place.parity
        )
        gate = network.samples.gate if network.samples else ()
        verdict = check.run(folder, self.folder.name, gate)
        checked = dataclasses.replace(unchecked, parity=verdict.figures, degraded=verdict.degraded)
        return self._judge(checked, folder, network.asked)

    def _judge(self, checked: Manifest, folder: Path, asked: Asked | None) -> Manifest:
        """Judge the written graphs on the user's pictures, and add the figures."""
        if asked is None or checked.evaluation is None:
            return checked
        self.report(f"{self.folder.name}: its masks on your pictures")
        figures = asked.judge(folder, self.folder.name)
        judged = dataclasses.replace(checked.evaluation, figures=figures)
        return dataclasses.replace(checked, evaluation=judged)

    def _goldens(self, manifest: Manifest, padded: Sequence[Graph], network: Network) -> Arrays:
        """Add the goldens that depend on the target to those that every target shares."""
        from exporter.end_to_end import record_end_to_end
        from exporter.goldens import record_padding, run
        from exporter.volume_end_to_end import record_volume_end_to_end as of_volume

        if manifest.preprocess.padded_by == "graph":
            self.report(f"{self.folder.name}: recording a padded golden in torch")
        arrays = network.goldens | record_padding(network.graphs, manifest.preprocess)
        by_name = {graph.spec.name: graph for graph in padded}
        shown, record = "picture", record_end_to_end
        if manifest.volume is not None:
            shown, record = "volume", of_volume
        self.report(f"{self.folder.name}: recording a {shown} with prompts in torch")
        arrays |= record_video(manifest, padded, network.host_data, self.report)
        return arrays | record(manifest, lambda name, given: run(by_name[name], given), arrays)

    def _lower(
        self, graph: Graph, folder: Path, network: Network, kept: frozenset[str], log: Path
    ) -> GraphFile:
        precision = self.order.precision_of(graph.spec)
        options = self.target.adapt(self.order.options, self.order.precision.name)
        pictures = network.samples.calibration if network.samples else Pictures()
        compensation, block = network.compensations.get(graph.spec.name), self.target.block(options)
        edited: AbstractContextManager[None] = nullcontext()
        words = f", ranges of {len(pictures.files)} pictures" if precision.has_ranges else ""
        if compensation and block:
            edited = compensation.within(kept, block)
            words = f", weights rounded on {len(pictures.files)} pictures"
        self.report(f"{self.folder.name}: lowering {graph.spec.name}{words}")
        try:
            with interruptible(log), quiet(log), edited:
                file = self.target.lower(graph, precision, folder, options, pictures, kept)
                return dataclasses.replace(file, multiply_accumulates=multiply_accumulates(graph))
        except (OSError, MemoryError, SamExportError):
            raise
        except Exception as error:
            first = (str(error).splitlines() or [""])[0][:200]
            with log.open("a", encoding="utf-8") as stream:
                traceback.print_exc(file=stream)
            raise LoweringError(
                f"{self.target.name} could not lower {graph.spec.name}: {type(error).__name__}: "
                f"{first}; the toolkit's log is {log}"
            ) from error
