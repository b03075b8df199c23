"""What a network costs, as its blocks tell it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Cost of one forward pass of one sample.

    Attributes:
        flops: multiply-adds of convolutions, times two.
        activations: elements that training keeps for the backward pass.
        parameters: trainable elements; they do not grow with the batch.
    """

    flops: float = 0.0
    activations: float = 0.0
    parameters: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.activations + other.activations, self.parameters + other.parameters)
