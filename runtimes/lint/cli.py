"""`sam-export check`: known wrong forms in bundles' graphs; it prints, never computes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from exporter import child, command
from exporter.arguments import Parser, unicode_path
from exporter.bundle.folder import open_bundle
from exporter.errors import RequestError
from exporter.printable import one_line, plain
from exporter.progress import on_stderr, silent
from runtimes.lint import Finding, Rule
from runtimes.lint.checking import check_bundle
from runtimes.lint.rules import EVERY

PROGRAM = "sam-export check"
EXAMPLES = """\
examples:
  sam-export check bundles/demo-coreml-fp16
  sam-export check bundles/* --static                 read the files, run nothing
  sam-export check --rules                            what is looked for, and who reported it

A finding says that a form which went wrong on somebody's phone is in this graph; no phone is asked
here. `sam-run --check` compares the numbers.
exit status: 0 nothing found, 1 something found, 2 a wrong request, 130 interrupted (Ctrl-C),
143 terminated (SIGTERM)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `sam-export check`; returns the exit status."""
    return command.run(PROGRAM, lambda: _parser().parse_args(argv), _work)


def _work(arguments: argparse.Namespace) -> int:
    if arguments.rules:
        others = sorted(arguments.given - {"--rules", "--json", "--debug"})
        if others or arguments.bundles:
            raise RequestError("--rules takes no bundle and no other option: it reads none")
        print(plain(_rules(as_json=arguments.json)))
        return 0
    if not arguments.bundles:
        raise RequestError("give a BUNDLE, or --rules")
    child.require_folder()
    report = silent if arguments.quiet else on_stderr()
    bundles = [open_bundle(path) for path in arguments.bundles]
    found = {
        str(each.path): check_bundle(each, report, static=arguments.static) for each in bundles
    }
    if arguments.json:
        rows = {path: [_row(each) for each in findings] for path, findings in found.items()}
        print(json.dumps(rows, indent=2))
    else:
        print(plain("\n".join(_said(found))))
    return 1 if any(found.values()) else 0


def _said(found: dict[str, tuple[Finding, ...]]) -> list[str]:
    """Say what was found: a line a finding, then once a rule what to do."""
    lines = []
    for path, findings in found.items():
        lines.append(one_line(f"{path}: {len(findings) or 'nothing'} found"))
        for each in findings:
            near = f", near {each.module}" if each.module else ""
            place = f"{each.graph}: {each.operation} {each.shown}{near}"
            lines.append(f"  {each.rule}: {one_line(place)}")
    named = {each.rule for findings in found.values() for each in findings}
    lines += [_rule(rule) for rule in EVERY if rule.name in named]
    return lines


def _row(finding: Finding) -> dict[str, object]:
    """Make a finding's JSON: with what its rule says to do."""
    (rule,) = (each for each in EVERY if each.name == finding.rule)
    said = {"effect": rule.effect, "advice": rule.advice, "sources": rule.sources}
    return asdict(finding) | said


def _rule(rule: Rule) -> str:
    advice = rule.advice[0].upper() + rule.advice[1:]
    return f"{rule.name}: {rule.effect}. {advice}. {' '.join(rule.sources)}"


def _rules(*, as_json: bool) -> str:
    if not as_json:
        return "\n".join(map(_rule, EVERY))
    kept = ("name", "effect", "advice", "sources", "apple")
    return json.dumps([{key: getattr(rule, key) for key in kept} for rule in EVERY], indent=2)


def _parser() -> Parser:
    parser = Parser(
        PROGRAM,
        description="Look for forms in a bundle's graphs that are known to go wrong on phones.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("bundles", metavar="BUNDLE", nargs="*", type=unicode_path)
    parser.add_argument("--static", action="store_true", help="read the files, run no golden")
    parser.add_argument("--rules", action="store_true", help="print what is looked for, and stop")
    parser.add_argument("--json", action="store_true", help="print findings, or rules, as JSON")
    parser.add_argument("--quiet", action="store_true", help="print no progress")
    parser.add_argument("--debug", action="store_true", help="print tracebacks")
    return parser
