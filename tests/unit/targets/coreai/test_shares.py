"""The parts of a file that graphs share, in bytes."""

from __future__ import annotations

from exporter.bundle.manifest import GraphFile
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.targets.coreai._asset import NAME, _entries

IMAGE = (TensorSpec("image", (1, 3, 8, 8), "float32", "NCHW"),)


def test_a_small_graph_keeps_its_size_and_the_largest_bears_the_difference():
    sizes = {"large": 1000, "middle": 300, "small": 20}
    files = tuple(
        GraphFile(GraphSpec(name, IMAGE, IMAGE, "image"), name, size)
        for name, size in sizes.items()
    )
    # Three files are 1,320 bytes, and one of all their graphs has one frame instead of three.
    assert [entry.bytes for entry in _entries(files, 1100)] == [780, 300, 20]
    assert {entry.file for entry in _entries(files, 1100)} == {NAME}
