"""What a prompt costs in each form of MobileSAM's decoder, interleaved in one run.

    python -m profiles.lab.everything.decoder

ONNX Runtime, float32, one thread that does not spin; processor time of a call; random weights,
which change no time.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from exporter.calibration import Pictures
from exporter.graphs import Graph, graphs_of
from exporter.host_rules import as_everything, prompt_rule
from exporter.models.layers import freeze
from exporter.precision import load_precision
from exporter.targets import Options, load_target
from exporter.variants import load_variant

CALLS = 30


def forms() -> dict[str, Graph]:
    """Make the graphs: the ordinary decoder with 8 and 2 slots, and the three for everything."""
    variant = load_variant("mobile_sam")
    network = freeze(variant.layouts[0].build())
    several, _ = as_everything(variant, None)
    made = {}
    for slots in (8, 2):
        for graph in graphs_of(network, variant, prompt_rule(variant, 1, slots)):
            made[f"{graph.spec.name}, {slots} slots"] = graph
    for graph in graphs_of(network, several, prompt_rule(several, 1, 2)):
        made[graph.spec.name] = graph
    return {name: graph for name, graph in made.items() if "encoder" not in name}


def _session(graph: Graph, folder: Path) -> tuple[Any, dict[str, Any]]:
    import onnxruntime as ort

    folder.mkdir()
    file = load_target("onnx").lower(
        graph, load_precision("fp32"), folder, Options(), Pictures(), frozenset()
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    rng = np.random.default_rng(0)
    given = {t.name: rng.standard_normal(t.shape, np.float32) for t in graph.spec.inputs}
    if "point_labels" in given:
        given["point_labels"][:] = -2
        given["point_labels"][:, :2] = 1, -1
    return ort.InferenceSession(str(folder / file.file), options), given


def main() -> int:
    """Measure and print."""
    graphs = forms()
    with tempfile.TemporaryDirectory() as place:
        pairs = {
            name: _session(graph, Path(place) / str(at))
            for at, (name, graph) in enumerate(graphs.items())
        }
        spent: dict[str, list[float]] = {name: [] for name in pairs}
        for _ in range(CALLS):
            for name, (session, given) in pairs.items():
                start = time.process_time()
                session.run(None, given)
                spent[name].append((time.process_time() - start) * 1000)
    print("| graph | ms of processor time a call, median of 30 |\n| --- | --- |")
    for name, times in spent.items():
        print(f"| {name} | {statistics.median(times):.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
