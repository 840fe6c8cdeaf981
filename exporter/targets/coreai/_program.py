"""A torch graph -> a Core AI program with one function, which has the graph's name."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch

from exporter.targets.coreai._names import names_by_order

if TYPE_CHECKING:
    from exporter.bundle.tensors import GraphSpec
    from exporter.graphs import Graph


def exported(graph: Graph) -> Any:
    """A torch.export.ExportedProgram of the operations that the converter knows."""
    from coreai_torch import get_decomp_table

    program = torch.export.export(graph.module, graph.example)
    return program.run_decompositions(get_decomp_table())


def convert(program: Any, spec: GraphSpec) -> Any:
    """A coreai AIProgram. Its mode is RELEASE: DEBUG writes this machine's paths into the file."""
    with warnings.catch_warnings():
        # It compares "2.13.0+cpu" with "2.13.0" and warns that the former is later.
        warnings.filterwarnings("ignore", message="coreai-torch has only been validated")
        from coreai_torch import TorchConverter
    converter = TorchConverter(mode=TorchConverter.Mode.RELEASE)
    converter.add_exported_program(
        program,
        input_names=[tensor.name for tensor in spec.inputs],
        output_names=[tensor.name for tensor in spec.outputs],
        entrypoint_name=spec.name,
    )
    with names_by_order(spec.name):
        return converter.to_coreai()
