"""Small planned networks of every kind."""

from __future__ import annotations

from torch import Tensor, nn

from autofuse.plan.types import NetworkPlan


def small_plan(
    encoder: str = "plain", dimensions: int = 3, anisotropic: bool = False, **changes: object
) -> NetworkPlan:
    first_kernel = (1, 3, 3) if anisotropic else (3,) * dimensions
    first_stride = (1, 2, 2) if anisotropic else (2,) * dimensions
    fields: dict[str, object] = {
        "encoder": encoder,
        "features": (4, 8, 16, 16),
        "kernels": (first_kernel,) + ((3,) * dimensions,) * 3,
        "strides": ((1,) * dimensions, first_stride) + ((2,) * dimensions,) * 2,
        "blocks": (2, 1, 2, 3),
        "decoder_blocks": (1, 2, 2),
    }
    return NetworkPlan.model_validate({**fields, **changes})


PLANS = {
    "plain 3D": (small_plan(), (16, 8, 24)),
    "residual 3D": (small_plan("residual"), (16, 8, 24)),
    "plain 2D": (small_plan(dimensions=2), (32, 40)),
    "residual 2D": (small_plan("residual", dimensions=2), (32, 40)),
    "anisotropic": (small_plan(anisotropic=True), (8, 16, 16)),
    "residual anisotropic": (small_plan("residual", anisotropic=True), (8, 16, 16)),
    "no deep supervision": (small_plan(deep_supervision=False), (16, 16, 16)),
    "one stage": (
        NetworkPlan(features=(5,), kernels=((3, 3),), strides=((1, 1),), blocks=(2,), decoder_blocks=()),
        (18, 14),
    ),
}


def heads(network: nn.Module, image: Tensor, present: Tensor | None = None) -> list[tuple[Tensor, ...]]:
    """The logits of every head that the network can be trained on, level by level."""
    if not hasattr(network, "branches"):
        return [network(image, present)]
    found = network.branches(image, present)
    return [found.logits, *found.specific]


def everything(network: nn.Module, image: Tensor) -> list[Tensor]:
    """All logits of all heads."""
    return [level for levels in heads(network, image) for level in levels]
