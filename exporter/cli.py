"""`sam-export`: arguments -> Job -> export(job); it prints and never computes."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable, Sequence, Set

from exporter import child, command, targets
from exporter.closest import unknown
from exporter.errors import RequestError
from exporter.export_arguments import parser
from exporter.listing import listing
from exporter.printable import one_line, plain
from exporter.progress import Progress, on_stderr, silent
from exporter.summary import as_data, found, summary
from exporter.targets import Options

WORDS = {
    "inspect": "exporter.inspection.cli",
    "compare": "profiles.accuracy.cli",
    "check": "runtimes.lint.cli",
}
"""First word -> its own command, by name: bundles are run there, and imports flow to here."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `sam-export` and return its exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given and given[0] in WORDS:
        other: Callable[[Sequence[str]], int] = importlib.import_module(WORDS[given[0]]).main
        return other(given[1:])
    return command.run(
        "sam-export",
        lambda: parser().parse_args(given),
        _work,
        stopped=lambda word, arguments: f"error: {word}; no unfinished bundle is left",
    )


def _work(arguments: argparse.Namespace) -> int:
    if arguments.list or arguments.manifest_schema:
        _require_alone(arguments.given)
        print(plain(_known(arguments)))
        return 0
    return _export(arguments)


def _require_alone(given: Set[str]) -> None:
    """RequestError for an option of an export beside one that exports nothing."""
    asked = "--list" if "--list" in given else "--manifest-schema"
    others = sorted(given - {asked, "--json", "--quiet", "--debug"})
    if others:
        raise RequestError(f"{asked} takes no {' and no '.join(others)}: it exports nothing")


def _known(arguments: argparse.Namespace) -> str:
    """What needs no export: the variants, or the manifest's schema."""
    if arguments.list:
        return listing(as_json=arguments.json)
    from exporter.bundle.schema import manifest_schema

    return manifest_schema().rstrip()


def _export(arguments: argparse.Namespace) -> int:
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


if __name__ == "__main__":
    sys.exit(main())
