"""Muon for small matrices: momentum made orthogonal (Jordan et al. 2024), shapes batched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the published quintic iteration."""


def orthogonal(stack: Tensor, rounds: int = 5) -> Tensor:
    """Approximate the nearest matrices with orthonormal rows: (n, rows, cols), rows <= cols."""
    a, b, c = COEFFICIENTS
    x = stack / (stack.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(rounds):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


class Muon(torch.optim.Optimizer):
    """Muon with steps as large per entry as AdamW's, so that one learning rate serves both.

    Args:
        params: weights with two or more axes, or groups of them; all axes but the first count as
            one.
        lr: the learning rate.
        decay: weight decay, times the learning rate.
        momentum: the share of the running mean kept at each step.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float,
        decay: float,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(params, {"lr": lr, "decay": decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every weight that has a gradient."""
        for group in self.param_groups:
            same: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    wide = self._direction(weight, weight.grad, group["momentum"])
                    same[(wide.shape[0], wide.shape[1])].append((weight, wide))
            for (_, cols), members in same.items():
                steps = orthogonal(torch.stack([wide for _, wide in members]))
                for (weight, _), step in zip(members, steps, strict=True):
                    tall = weight.shape[0] > weight[0].numel()
                    update = (step.T if tall else step).reshape(weight.shape)
                    weight.mul_(1 - group["lr"] * group["decay"])
                    weight.add_(update, alpha=-group["lr"] * 0.2 * cols**0.5)

    def _direction(self, weight: nn.Parameter, grad: Tensor, momentum: float) -> Tensor:
        """Compute Nesterov momentum as a matrix that is not taller than wide."""
        state = self.state[weight]
        if "mean" not in state:
            state["mean"] = torch.zeros_like(weight)
        state["mean"].lerp_(grad, 1 - momentum)
        matrix = grad.lerp(state["mean"], momentum).reshape(weight.shape[0], -1)
        return matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
