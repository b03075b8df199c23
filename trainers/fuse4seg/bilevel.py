"""How the leader learns what a change of the fused image does to the follower that is trained on it.

The leader's fuser x is to lower F(x, y*(x)), where the follower y* minimises f(x, y) on other cases. Its gradient is
∇ₓF - ∇²ₓᵧf [∇²ᵧᵧf]⁻¹ ∇ᵧF. ``first_order`` drops the second part; the other two approximate it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from autofuse.sampling import ranks

LARGEST_CORRECTION = 1.0
"""Close to the follower's optimum the ratio below grows without bound; so far it is believed."""

TINY = 1e-20

LossOf = Callable[[Mapping[str, Tensor]], Tensor]


def gauss_newton(upper: Tensor, lower: Tensor, follower: Sequence[Tensor]) -> Tensor:
    """A scalar of value 0 whose gradient, added to that of ``upper``, makes the Gauss-Newton hyper-gradient

        ∇ₓF - (⟨∇ᵧF, ∇ᵧf⟩ / ‖∇ᵧf‖²) ∇ₓf

    of outer products of first derivatives (Liu et al., "Bi-level dynamic learning for jointly multi-modality image
    fusion and beyond", IJCAI 2023, arXiv 2305.06720). It is exact for one residual of a follower of one weight.

    Args:
        upper: F; lower: f; both still have their graphs, which are kept.
        follower: y, the weights of the follower.
    """
    factor = ratio(upper, lower, follower).clamp(-LARGEST_CORRECTION, LARGEST_CORRECTION)
    return -factor * (lower - lower.detach())


def ratio(upper: Tensor, lower: Tensor, follower: Sequence[Tensor]) -> Tensor:
    """⟨∇ᵧF, ∇ᵧf⟩ / ‖∇ᵧf‖², 0 where it is not finite; a scalar without a gradient."""
    above, below = (
        torch.autograd.grad(loss, follower, retain_graph=True, allow_unused=True) for loss in (upper, lower)
    )
    pairs = [(a.float(), b.float()) for a, b in zip(above, below, strict=True) if a is not None and b is not None]
    if not pairs:
        return torch.zeros_like(lower.detach())
    means = ranks.means_over_ranks([gradient for pair in pairs for gradient in pair])
    pairs = list(zip(means[::2], means[1::2], strict=True))
    shared = torch.stack([(a * b).sum() for a, b in pairs]).sum()
    length = torch.stack([b.square().sum() for _, b in pairs]).sum()
    found = shared / (length + TINY)
    return torch.where(found.isfinite(), found, 0.0).detach()


def one_step_ahead(loss: LossOf, follower: nn.Module, rate: float) -> dict[str, Tensor]:
    """The follower's weights after one step of descent, y - rate ∇ᵧf(x, y), by name; x's gradient passes through.

    Second derivatives are taken (Liu et al., DARTS, arXiv 1806.09055), so the graph of ``loss`` is kept twice.

    Args:
        loss: f, as a function of the follower's weights by name.
    """
    weights = dict(follower.named_parameters())
    gradients = torch.autograd.grad(loss(weights), list(weights.values()), create_graph=True, allow_unused=True)
    found = {name: gradient for name, gradient in zip(weights, gradients, strict=True) if gradient is not None}
    means = dict(zip(found, ranks.means_over_ranks(list(found.values())), strict=True))
    return {name: weight - rate * means[name] if name in means else weight for name, weight in weights.items()}
