"""What one training step of a network of the usual size takes on this machine, and needs from its disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from autofuse.foundation.machine import Precision
from autofuse.plan.types import Budget, NetworkPlan
from autofuse.road.doctor.convolutions import CHANNELS, voxels
from autofuse.road.doctor.crops import BATCH, MODALITIES, PATCH
from autofuse.road.doctor.types import ConvolutionRate, CropRate, StepNeed

FEATURES = {"cpu": (16, 32, 64, 128), "cuda": (32, 64, 128, 256)}
OUTPUTS = 3
_LEAST_ADDED = 0.1
"""Of the convolution's time, that norm and non-linearity are taken to add at least; noise could leave nothing."""


def usual_network(device: str) -> NetworkPlan:
    """A plain U-Net of four stages."""
    features = FEATURES[device]
    stages = len(features)
    return NetworkPlan(
        features=features,
        kernels=((3, 3, 3),) * stages,
        strides=((1, 1, 1), *((2, 2, 2),) * (stages - 1)),
        blocks=(2,) * stages,
        decoder_blocks=(2,) * (stages - 1),
    )


def speed_of(rate: ConvolutionRate, device: str) -> tuple[float, float] | None:
    """(FLOPs, activation elements) a second that ``rate`` stands for; None where it holds no numbers.

    What the norm and the non-linearity add to a convolution is bound by memory: two elements are kept for each output.
    """
    if rate.gflops_per_s is None or rate.milliseconds is None or rate.block_milliseconds is None:
        return None
    added_s = max(rate.block_milliseconds - rate.milliseconds, _LEAST_ADDED * rate.milliseconds) / 1000
    return rate.gflops_per_s * 1e9, 2 * voxels(device) * CHANNELS / added_s


def step_need(
    device: Literal["cpu", "cuda"],
    precision: Precision,
    speed: tuple[float, float],
    crops: Sequence[CropRate],
    augmentation_ms: float,
) -> StepNeed:
    """The need of a step that takes as long as ``speed`` (FLOPs and elements a second) lets it.

    Args:
        crops: rates by number of readers; the smallest number that suffices is named, the largest if none does.
    """
    from autofuse.networks.cost import network_cost
    from autofuse.plan.speed import seconds_per_step

    network = usual_network(device)
    cost = network_cost(network, MODALITIES, OUTPUTS, PATCH)
    budget = Budget(memory_gib=1.0, device=device, precision=precision, flops_per_s=speed[0], elements_per_s=speed[1])
    step_s = seconds_per_step(cost, BATCH, budget)
    assert step_s is not None, "the speed was measured"
    wanted = BATCH / step_s
    sufficient = [rate.readers for rate in crops if rate.crops_per_s >= wanted]
    most = max((rate.readers for rate in crops), default=1)
    words = f"{MODALITIES} modalities, patch {' x '.join(map(str, PATCH))}, batch {BATCH}"
    return StepNeed(
        network=f"{words}, {network.features[0]} to {network.features[-1]} channels",
        precision=precision,
        milliseconds=float(f"{step_s * 1000:.3g}"),
        crops=BATCH,
        augmentation_milliseconds=augmentation_ms,
        readers=min(sufficient, default=most),
    )


def crops_per_s_needed(need: StepNeed) -> float:
    """Crops a second that such steps use up, one after another."""
    return need.crops / math.fsum([need.milliseconds, need.augmentation_milliseconds]) * 1000
