"""How long a training step takes, from what a network costs and what the machine was measured to do."""

from __future__ import annotations

from autofuse.plan.cost import Cost
from autofuse.plan.types import Budget

BACKWARD_FACTOR = 3.0
"""Forward and backward of a convolution together, in FLOPs of the forward pass: gradients by input and by weight."""
PARAMETERS_PER_ELEMENT = 2.0
"""Time of a step's work on one parameter (decay, momentum, clipping), in activation elements."""


def seconds_per_step(cost: Cost, batch: int, budget: Budget) -> float | None:
    """Seconds of one training step of ``batch`` samples; None where the budget holds no measured speed.

    The sum of what is bound by arithmetic (convolutions) and what is bound by memory (norm, non-linearity,
    concatenation, optimiser): t = 3 · FLOPs · B / speed + (elements · B + 2 · parameters) / rate.
    """
    if budget.flops_per_s is None or budget.elements_per_s is None:
        return None
    arithmetic = BACKWARD_FACTOR * cost.flops * batch / budget.flops_per_s
    moved = (cost.activations * batch + PARAMETERS_PER_ELEMENT * cost.parameters) / budget.elements_per_s
    return arithmetic + moved
