"""Names, shapes and kinds of the tensors of every layout, without building the networks.

Building all networks to compare a file with them takes seconds; `tensors.json.gz`, beside the
families, has their tables. `make counts` writes it again; a layout that is not in it (a new
variant's) is built, and a contract test compares what is in it with the networks.
"""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import exporter.variants
from exporter.variants import Layout, Variant, variants

Table = Mapping[str, tuple[tuple[int, ...], bool]]
"""Name -> shape, and whether the values are floats."""
STORED = Path(exporter.variants.__file__).with_name("tensors.json.gz")


class NoInitialisation(TorchFunctionMode):
    """Skip random initialisation; every parameter is assigned from the file.

    Unlike the meta device, this keeps the tables that a module computes when it is built.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init" or func in _RANDOM_FILLS:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


_RANDOM_FILLS = (Tensor.uniform_, Tensor.normal_)


def build_module(layout: Layout, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Build a layout's module for these tensors, untrained."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    with NoInitialisation():
        return layout.module(shapes)


def table_of(module: nn.Module) -> Table:
    """List a module's tensors."""
    state = module.state_dict()
    return {n: (tuple(t.shape), t.is_floating_point()) for n, t in state.items()}


@functools.cache
def layout_table(layout: Layout) -> Table:
    """List the tensors of a layout's module; of one that takes widths from a file, its widest."""
    stored = _stored().get(layout)
    return table_of(build_module(layout, {})) if stored is None else stored


def layouts(variant: Variant) -> Iterator[tuple[str, Layout]]:
    """List a variant's layouts, its second file's too, each under a key that is the table's."""
    for layout in variant.layouts:
        yield f"{variant.name}/{layout.name}", layout
    for layout in variant.decoder.layouts if variant.decoder else ():
        yield f"{variant.name}/decoder/{layout.name}", layout


@functools.cache
def _stored() -> Mapping[Layout, Table]:
    keys, tables = _read() if STORED.is_file() else ({}, [])
    return {
        layout: tables[keys[key]]
        for variant in variants().values()
        for key, layout in layouts(variant)
        if key in keys
    }


def _read() -> tuple[dict[str, int], list[Table]]:
    held = json.loads(gzip.decompress(STORED.read_bytes()))
    tables: list[Table] = [
        {name: (tuple(shape), floating) for name, (shape, floating) in table.items()}
        for table in held["tables"]
    ]
    return held["layouts"], tables


def write_tables(path: Path = STORED) -> None:
    """Build every network and write the tables; layouts with equal tables share one."""
    keys: dict[str, int] = {}
    tables: list[Table] = []
    for variant in variants().values():
        for key, layout in layouts(variant):
            table = table_of(build_module(layout, {}))
            if table not in tables:
                tables.append(table)
            keys[key] = tables.index(table)
    text = json.dumps({"layouts": keys, "tables": tables}, separators=(",", ":"))
    path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
