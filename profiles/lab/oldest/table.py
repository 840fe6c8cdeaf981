"""Rows -> Markdown, and the oldest releases as data. Plain data only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from profiles.lab.bench.table import markdown

Data = Mapping[str, Any]
HEAD = ("family", "variant", "target", "precision", "opset", "oldest release that passes", "older")


def oldest(rows: Iterable[Data]) -> dict[str, Any]:
    """Sum the rows up: target -> precision -> family -> form -> package -> version."""
    found: dict[str, Any] = {}
    for row in rows:
        for run in row.get("runs", ()):
            if run["passed"]:
                place = found.setdefault(row["target"], {}).setdefault(row["precision"], {})
                form = place.setdefault(row["family"], {}).setdefault(run["form"], {})
                form[run["package"]] = run["version"]
    return found


def render(results: Data) -> str:
    """Render the whole page."""
    rows = results["rows"]
    body = [line for row in rows for line in _lines(row)]
    failed = [f"- {r['name']}: {r.get('error') or r['skipped']}" for r in rows if "runs" not in r]
    parts = [
        _heading(results),
        markdown(HEAD, body),
        "## Not run",
        "\n".join(failed) or "Every bundle that was made was run.",
    ]
    return "\n\n".join(parts) + "\n"


def _heading(results: Data) -> str:
    rows, machine = results["rows"], results["machine"]
    stale = sum(row["stale"] for row in rows)
    return "\n".join(
        [
            "# The oldest runtimes that bundles were run in",
            "",
            "The demo and the first variant of each family, exported here and run in releases that "
            "were installed from PyPI for this: encoder and decoder on every golden case, against "
            "the floors that an export has to reach. Releases are tried from the oldest that there "
            "is for Python 3.11 (ONNX Runtime 1.15, TensorFlow 2.12) until one passes; newer ones "
            "than that were not run here, but for the newest, in which every export is checked. "
            "Weights are filled, not trained, but for the demo.",
            "",
            "- opset: of the files; `17` alone is the same bundle by `--opset 17`",
            "- older: what the older releases say",
            "- Core ML packages cannot be run on this machine in Apple's runtime: their iOS is by "
            "the specification version that the package declares (7: iOS 16, 8: 17, 9: 18)",
            "",
            f"- {len(rows)} of {results['planned']} bundles were made; {stale} of them are stale: "
            "made before the last change of their sources or tools",
            f"- command of the last run: `{results['command']}`, {results['date']} (UTC)",
            f"- machine: {machine['cpu']}, {machine['cores']} cores, {machine['system']}",
            "- versions: "
            + ", ".join(f"{name} {version}" for name, version in results["versions"].items()),
        ]
    )


def _lines(row: Data) -> Iterable[list[str]]:
    runs = row.get("runs", ())
    for form in dict.fromkeys(run["form"] for run in runs):
        own = [run for run in runs if run["form"] == form]
        passed = [f"{run['package']} {run['version']}" for run in own if run["passed"]]
        failed = [f"{run['version']}: {_short(run)}" for run in own if not run["passed"]]
        opsets = row["opsets"].get(form) or {}
        yield [
            row["family"],
            row["variant"] + (" (stale)" if row["stale"] else ""),
            row["target"],
            row["precision"],
            form or ", ".join(str(v) for v in dict.fromkeys(opsets.values())),
            ", ".join(passed) or "none",
            "; ".join(failed),
        ]


def _short(run: Data) -> str:
    reason = str(run["reason"]).replace("|", "/")
    for mark in ("Opset ", "Unsupported model IR", "Didn't find op"):
        if mark in reason:
            return reason[reason.index(mark) :].split(". ")[0][:120]
    return re.sub(r"Load model from .* failed: ?|/onnxruntime_src/.*\) (?=ONNX)", "", reason)[:120]
