"""float32 -> float16 in an exported torch program, but for what half arithmetic would break.

    x (f32) -> Conv, Linear, LayerNorm, GELU ...  (f16) -> y (f32)
               attention, coordinates             (f32)

Inputs and outputs stay float32: a point coordinate near 1000 has steps of half a pixel in float16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.export.graph_signature import OutputKind, TensorArgument

from exporter.islands import Island, Step, leads_to

CAST = torch.ops.aten._to_copy.default


def in_half(program: Any, islands: Iterable[Island], kept: Callable[[Any], bool]) -> Any:
    """Cast an exported program in place, and return it.

    Args:
        program: of `torch.export`, decomposed.
        islands: stay float32 with their constants.
        kept: tells which nodes are computed in float32 too.
    """
    from coreai_opt.casting.casting import _FP16Casting

    apart = _islands(program, islands)

    class Casting(_FP16Casting):  # type: ignore[misc]
        """The toolkit's, but for inputs, outputs and the constants of islands."""

        def convert_placeholder(self, name: str) -> bool:
            """Round a constant, unless an island reads it."""
            node = self._target_to_placeholder[name]
            return node not in apart and bool(super().convert_placeholder(name))

        def convert_user_inputs(self) -> None:
            """Leave inputs as they are."""

        def cleanup(self) -> None:
            """Give outputs in float32, then drop the casts that cancel out."""
            _outputs_in_float(program, self._pass_inserted)
            super().cleanup()

    return Casting(program, ignored_ops=lambda node: node in apart or kept(node))()


def kind_of(node: Any) -> str:
    """Name an operation's kind: `aten._softmax.default` -> `_softmax`."""
    schema = getattr(node.target, "_schema", None)  # `operator.getitem` has none
    return schema.name.split("::")[1] if schema else ""


def module_of(node: Any) -> str:
    """Name the module that an operation came from: `mask_decoder.output_upscaling.0`, or empty."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return str(stack[-1][0]) if stack else ""


def _islands(program: Any, islands: Iterable[Island]) -> set[Any]:
    nodes = list(program.graph.nodes)
    steps = [Step(kind_of(n), tuple(n.all_input_nodes), (n,)) for n in nodes]
    found = {nodes[place] for place in leads_to(steps, islands)}
    inputs = {s.arg.name for s in program.graph_signature.input_specs if s.target is None}
    return {node for node in found if node.name not in inputs}


def _outputs_in_float(program: Any, inserted: set[Any]) -> None:
    """Cast the outputs that are half, and say so in the program's signature."""
    (output,) = (node for node in program.graph.nodes if node.op == "output")
    given = list(output.args[0])
    for at, spec in enumerate(program.graph_signature.output_specs):
        node = given[at]
        if spec.kind is not OutputKind.USER_OUTPUT or node.meta["val"].dtype != torch.float16:
            continue
        with program.graph.inserting_before(output):
            given[at] = program.graph.call_function(CAST, (node,), {"dtype": torch.float32})
        given[at].meta["val"] = node.meta["val"].to(torch.float32)
        inserted.add(given[at])
        spec.arg = TensorArgument(name=given[at].name)
    output.args = (tuple(given),)
