"""An export as a command: arguments -> Job -> export(job). It prints and never computes."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence

from exporter import child, targets
from exporter.closest import unknown
from exporter.printable import one_line
from exporter.progress import Progress, on_stderr, silent
from exporter.summary import as_data, found, summary
from exporter.targets import Options


def run_export(arguments: argparse.Namespace) -> int:
    """Do what the arguments of `exporter.export_arguments` ask for; returns the exit status."""
    # Imported here, after the parser: --help need not wait for them.
    from exporter.budget import trade_off, trials_of
    from exporter.job import Job, Place
    from exporter.pipeline import export

    child.require_folder()
    start = time.perf_counter()
    report = silent if arguments.quiet else on_stderr()
    job = Job(
        targets=_targets(arguments.target or ["coreml"], arguments.precision, report),
        precision=arguments.precision,
        variant=arguments.variant,
        checkpoint=arguments.checkpoint,
        decoder_checkpoint=arguments.decoder_checkpoint,
        encoder_checkpoint=arguments.encoder_checkpoint,
        tensors=arguments.tensors or "",
        ignore=tuple(arguments.ignore or ()),
        preprocess=arguments.preprocess or "",
        lora=arguments.lora,
        lora_alpha=arguments.lora_alpha,
        lora_blocks=arguments.lora_blocks,
        batch=arguments.batch,
        slots=arguments.max_points,
        input_size=arguments.input_size,
        video=arguments.video,
        memory_slots=arguments.memory_slots,
        pointer_slots=arguments.pointer_slots,
        classifier=arguments.classifier,
        score=arguments.score,
        options=_options(arguments),
        keep_float=tuple(arguments.keep_float or ()),
        quantize_decoder=arguments.quantize_decoder,
        min_iou=arguments.min_iou,
        recipe=arguments.recipe,
        calibration=arguments.calibration,
        calibration_pictures=arguments.calibration_pictures,
        ranges=arguments.ranges,
        evaluate=arguments.evaluate,
        everything=arguments.everything,
    )
    place = Place(
        arguments.output,
        arguments.force,
        arguments.sign,
        allow_degraded=arguments.allow_degraded,
        glue=not arguments.no_glue,
        parity=arguments.parity,
    )
    bundles = export(job, place, report)
    seconds = time.perf_counter() - start
    if arguments.json:
        made = [as_data(bundle, trials_of(bundle)) for bundle in bundles]
        print(json.dumps({"bundles": made, "seconds": seconds}, indent=2))
        return 0
    for bundle in bundles:
        print(one_line(summary(bundle) + (f"; {seconds:.0f} s" if len(bundles) == 1 else "")))
        for line in (*trade_off(trials_of(bundle)), *found(bundle.manifest.evaluation)):
            print(one_line(line))
    report(f"done: {len(bundles)} of {len(job.targets)} bundles in {seconds:.0f} s")
    return 0


def _options(arguments: argparse.Namespace) -> Options:
    return Options(
        arguments.minimum_ios,
        arguments.image_input,
        arguments.opset,
        arguments.palette,
        arguments.block,
    )


def _targets(given: Sequence[str], precision: str, report: Progress) -> tuple[str, ...]:
    """Targets asked for, each once: `--target coreml,onnx` and `--target coreml --target onnx`.

    A word for several targets leaves out those that do not have the precision.
    """
    names = [name.strip() for each in given for name in each.split(",")]
    groups = targets.groups()
    for name in names:
        if name not in (*targets.names(), *groups):
            raise unknown("target", name, (*targets.names(), *groups), aliases=targets.ALIASES)
    able = {
        word: tuple(one for one in members if precision in targets.load_target(one).lowers)
        for word, members in groups.items()
    }
    for name in targets.names() if "all" in names else ():
        if reason := targets.load_target(name).unavailable():
            report(f"--target all leaves out {name}: {reason}")
    # If none has it, it may be no precision at all, which is refused with those there are.
    found = (able.get(name) or groups.get(name, (name,)) for name in names)
    return tuple(dict.fromkeys(one for several in found for one in several))
