"""Count the arithmetic of a graph from its shapes; nothing is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from exporter.graphs import Graph


def multiply_accumulates(graph: Graph) -> int:
    """Count multiplications that are summed: convolutions, linear layers, products, attention.

    Elementwise work (norms, activations, resizing, sums) is left out, as is usual. The graph is the
    torch graph before lowering; a target may do the same with fewer (see
    `exporter.models.absorbed_attention`), so speeds of two targets can be compared.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode, sdpa_flop

    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    counter = FlopCounterMode(display=False, custom_mapping={attention: _first_three(sdpa_flop)})
    on_shapes(graph, lambda state: counter)
    return int(counter.get_total_flops()) // 2


def on_shapes(
    graph: Graph, inside: Callable[[Mapping[str, Tensor]], AbstractContextManager[Any]]
) -> None:
    """Run a graph on tensors that have a shape and no values.

    Args:
        graph: any.
        inside: name -> tensor that stands for a parameter or buffer -> the block to run it in.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    module = graph.module
    with FakeTensorMode(allow_non_fake_inputs=True) as fake, torch.no_grad():
        state: dict[str, Tensor] = {
            name: fake.from_tensor(tensor)
            for name, tensor in (*module.named_parameters(), *module.named_buffers())
        }
        inputs = tuple(fake.from_tensor(tensor) for tensor in graph.example)
        with inside(state):
            # A layer with two names would be swapped twice, and get its stand-in back.
            torch.func.functional_call(module, state, inputs, tie_weights=False)


def _first_three(formula: Any) -> Any:
    """Apply a formula of query, key and value to an operation that takes more arguments."""

    def flops(query: Any, key: Any, value: Any, *rest: Any, **options: Any) -> int:
        del rest, options
        return int(formula(query, key, value))

    return flops
