"""Hash everything a row of the matrix depends on; a row with another hash is stale.

The hash covers the modules that decide the numbers, with all that they import of ours, and the
toolkits' versions. It leaves out comments, docstrings and layout, and the code's location: a
module's name and its import lines. So a moved file leaves every row valid.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
from collections.abc import Iterable, Iterator
from pathlib import Path

from exporter import catalog
from exporter.precision import load_precision
from exporter.targets import load_target
from exporter.variants import load_variant
from profiles.lab.matrix.jobs import MatrixJob

ROOT = Path(__file__).resolve().parents[3]
EVERYWHERE = (
    "exporter.graphs",
    "exporter.goldens",
    "exporter.models.layers",
    "profiles.lab.bench.operations",
    "profiles.lab.matrix.facts",
    "profiles.lab.matrix.fill",
    "runtimes.measures",
    "runtimes.parity",
)
ENGINES = {
    "coreai": ("runtimes.engines.coreai", "runtimes.engines.aimodel"),
    "coreml": ("runtimes.engines.mil_cpu", "runtimes.engines.mil"),
    "tflite": ("runtimes.engines.litert",),
    "onnx": ("runtimes.engines.ort",),
}
JUDGED = ("exporter.samples", "profiles.lab.matrix.recordings", "runtimes.gate")
"""What also decides the numbers of a precision that is judged by its masks."""
LOADED_BY_NAME = ("exporter.graphs", "exporter.targets.", "runtimes.engines.")
"""Packages that load their other files by name, so that these count too."""
CARRIERS = frozenset(
    f"exporter{name}"
    for name in (
        "",
        ".bundle",
        ".bundle.agreement",
        ".bundle.flow",
        ".bundle.folder",
        ".bundle.goldens",
        ".bundle.manifest",
        ".bundle.ranges",
        ".bundle.reading",
        ".bundle.rules",
        ".bundle.tensors",
        ".catalog",
        ".child",
        ".errors",
        ".progress",
        ".variants",
    )
)
"""Modules that carry figures and do not make them; what they import does not count either."""


def key(job: MatrixJob, weights: str, more: Iterable[str] = ()) -> str:
    """Hash everything the export's row depends on.

    Args:
        job: the export.
        weights: identifies its weights; empty for filled ones.
        more: modules that decide about the row beside those of every export.
    """
    family, target = load_variant(job.variant).family, load_target(job.target)
    roots = [
        *EVERYWHERE,
        f"exporter.variants.{family}",
        f"exporter.targets.{job.target}",
        f"exporter.precision.{catalog.entry_name(job.precision)}",
        *ENGINES.get(job.target, ()),
        *(JUDGED if load_precision(job.precision).judged else ()),
        *more,
    ]
    digest = hashlib.sha256(f"{job.name} {weights}".encode())
    digest.update(_meanings(tuple(roots)).encode())
    for package in target.packages:
        digest.update(f"{package} {_version(package)}".encode())
    return digest.hexdigest()[:16]


@functools.cache
def _meanings(roots: tuple[str, ...]) -> str:
    """Join the hashes of all modules: many rows share the same ones."""
    return "".join(sorted(map(_meaning, closure(roots))))


def closure(roots: Iterable[str]) -> set[str]:
    """Collect the modules and all that they import of ours, carriers left out."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        module = waiting.pop()
        if module in found or module in CARRIERS or _file(module) is None:
            continue
        found.add(module)
        waiting += _imports(module)
    return found


_version = functools.cache(importlib.metadata.version)


@functools.cache
def _imports(module: str) -> tuple[str, ...]:
    tree = _tree(module)
    names = [] if tree is None else list(_imported_names(tree))
    file = _file(module)
    if file is not None and file.name == "__init__.py" and module.startswith(LOADED_BY_NAME):
        names += [f"{module}.{path.stem}" for path in file.parent.glob("*.py")]
    return tuple(name for name in names if name.startswith(("exporter", "runtimes")))


def _imported_names(node: ast.AST) -> Iterator[str]:
    """List imported modules, except imports for type checking."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield child.module
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        else:
            yield from _imported_names(child)


@functools.cache
def _meaning(module: str) -> str:
    """Hash the module's code as a tree, without comments, docstrings, imports and line breaks."""
    tree = _tree(module)
    if tree is None:
        return ""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [item for item in body if not _says_nothing(item)]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _says_nothing(node: ast.AST) -> bool:
    """Tell whether a statement cannot affect the numbers: an import, a text that nobody reads."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return True
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _tree(module: str) -> ast.Module | None:
    file = _file(module)
    return ast.parse(file.read_text(encoding="utf-8")) if file else None


@functools.cache
def _file(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None
