"""Recognising a file compares it with stored tables: they are the networks' own, and quick."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest
import torch

from exporter.checkpoints.reading import Checkpoint
from exporter.checkpoints.recognise import recognise
from exporter.checkpoints.tables import build_module, layout_table, layouts, table_of, write_tables
from exporter.errors import CheckpointError
from exporter.variants import variants

LAYOUTS = {key: layout for variant in variants().values() for key, layout in layouts(variant)}


def test_the_stored_tables_are_those_of_the_networks(tmp_path):
    stale = {
        key
        for key, layout in LAYOUTS.items()
        if layout_table(layout) != table_of(build_module(layout, {}))
    }
    assert stale == set(), "make counts writes exporter/variants/tensors.json.gz again"


def test_a_table_that_is_not_stored_is_that_of_the_network(monkeypatch):
    layout = LAYOUTS["sam_vit_b/segment-anything"]
    stored = layout_table(layout)
    monkeypatch.setattr("exporter.checkpoints.tables._stored", dict)
    layout_table.cache_clear()
    assert layout_table(layout) == stored


def test_written_again_the_file_is_the_same(tmp_path, monkeypatch):
    few = {name: variants()[name] for name in ("demo", "mobile_sam", "tinysam")}
    monkeypatch.setattr("exporter.checkpoints.tables.variants", lambda: few)
    write_tables(tmp_path / "a")
    write_tables(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


ONE = torch.empty(1, device="meta")
MANY = 30_000


@pytest.mark.parametrize(
    "tensors",
    [
        {f"b.{i}.w": ONE for i in range(MANY)},
        {f"image_encoder.blocks.{i}.attn.qkv.weight": ONE for i in range(MANY)},
        {f"vision_encoder.layers.{i}.attn.qkv.weight": ONE for i in range(MANY)},
        {f"memory_encoder.{i}": torch.empty(20_000, device="meta") for i in range(MANY)},
        {f"shared_image_embedding.{i}": ONE for i in range(3000)},
        {f"image_encoder.neck.{i}.weight": torch.empty(10**5, device="meta") for i in range(3000)},
    ],
)
def test_many_tensors_are_compared_in_few_steps(tensors):
    """Counted in calls, which no other process slows: 8.5 million take half a second."""
    recognise_anything()  # the tables are read once
    calls = itertools.count()
    sys.setprofile(lambda *_: next(calls) and None)
    try:
        with pytest.raises(CheckpointError):
            recognise(Checkpoint(Path("x.pt"), "", tensors))
    finally:
        sys.setprofile(None)
    assert next(calls) < 12_000_000


def recognise_anything() -> None:
    with pytest.raises(CheckpointError):
        recognise(Checkpoint(Path("x.pt"), "", {"w": ONE}))
