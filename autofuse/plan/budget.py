"""The two dials, filled in from the machine: how much memory there is, and how fast it trains."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from autofuse.foundation.errors import ResourceError, UsageError
from autofuse.foundation.machine import (
    Precision,
    available_memory_gib,
    cpu_threads,
    default_precision,
    tune_allocator,
)
from autofuse.plan.speed import BACKWARD_FACTOR
from autofuse.plan.types import Budget

if TYPE_CHECKING:
    import torch

RAM_SHARE = 0.6
VRAM_SHARE = 0.9
CPU_CAP_GIB = 8.0
"""More than this is never taken by default on a CPU: what it would allow takes minutes a step there."""
LEAST_GIB = 0.5

_WIDTHS = (16, 32)
_PATCH = {"cpu": (32, 32, 32), "cuda": (64, 64, 64)}
_BATCH = 2
_OUTPUTS = 3
_ROUNDS = 6
_LEAST_ROUNDS = 1
_ENOUGH_S = 2.5
_MOVED_SHARE = (0.1, 0.5)
"""Bounds of the memory-bound part of the wide network's time; it was 0.21 in fp32 and 0.29 in bf16 on two cores."""


def measure_budget(
    memory_gib: float | None, minutes: float | None, device: str, *, precision: Precision | None = None
) -> Budget:
    """The budget of this machine. With ``minutes``, a few seconds of timed training steps tell how fast it is.

    Args:
        memory_gib: what training may use; None for 60 % of the free RAM (at most 8 GiB), or 90 % of the free VRAM.
        minutes: for training one fold; None for no time dial.
        device: "cpu", "cuda" or "cuda:1".
        precision: what training computes in; None for the fastest that the device has.

    Raises:
        UsageError: if a dial is not positive.
        ResourceError: if there is too little memory for any training.
    """
    kind = "cuda" if device.startswith("cuda") else "cpu"
    if minutes is not None and not (math.isfinite(minutes) and minutes > 0):
        raise UsageError("The time dial must be positive.", found=f"{minutes:g} minutes", expected="above 0")
    gib = default_memory_gib(device) if memory_gib is None else memory_gib
    if not (math.isfinite(gib) and gib >= LEAST_GIB):
        raise ResourceError(
            "There is too little memory to train anything.",
            found=f"{gib:.2f} GiB",
            expected=f"at least {LEAST_GIB:g} GiB",
            remedy="Free memory, or give more with --memory.",
        )
    chosen = precision or default_precision(device)
    flops_per_s = elements_per_s = None
    if minutes is not None:
        flops_per_s, elements_per_s = measure_speed(device, chosen)
    return Budget(
        memory_gib=float(gib),
        minutes=None if minutes is None else float(minutes),
        device="cuda" if kind == "cuda" else "cpu",
        precision=chosen,
        flops_per_s=flops_per_s,
        elements_per_s=elements_per_s,
        threads=cpu_threads(),
    )


def default_memory_gib(device: str) -> float:
    """What training takes unless told otherwise: a share of what is free, rounded down to 0.1 GiB."""
    if device.startswith("cuda"):
        import torch

        free, _ = torch.cuda.mem_get_info(torch.device(device))
        found = free / (1 << 30) * VRAM_SHARE
    else:
        found = min(available_memory_gib() * RAM_SHARE, CPU_CAP_GIB)
    return math.floor(found * 10) / 10


def measure_speed(device: str, precision: Precision) -> tuple[float, float]:
    """(convolution FLOPs a second, activation elements a second) of training steps, to two significant digits.

    Two small U-Nets of different width are timed. Doubling the width multiplies the arithmetic by four and the memory
    traffic by two, so two times tell both rates apart: t = 3 · FLOPs / speed + elements / rate.
    """
    import torch

    tune_allocator()
    threads, generator_state = torch.get_num_threads(), torch.random.get_rng_state()
    torch.set_num_threads(cpu_threads())
    try:
        narrow, wide = (_Block(width, device, precision) for width in _WIDTHS)
        started = time.perf_counter()
        for done in range(_ROUNDS + 1):
            # Turn and turn about, so that a busy moment of the machine meets both.
            narrow.step()
            wide.step()
            if done >= _LEAST_ROUNDS and time.perf_counter() - started > _ENOUGH_S:
                break
    finally:
        torch.set_num_threads(threads)
        torch.random.set_rng_state(generator_state)
    return solve_speed(narrow.figures(), wide.figures())


def solve_speed(narrow: tuple[float, float, float], wide: tuple[float, float, float]) -> tuple[float, float]:
    """The two rates from (FLOPs, elements, seconds) of two networks.

    The memory-bound part of the wide network's time is kept within known bounds, which noise could otherwise leave.
    """
    (flops_a, elements_a, seconds_a), (flops_b, elements_b, seconds_b) = narrow, wide
    # Both unknowns are parts of the wide network's time: t = arithmetic · flops/flops_b + moved · elements/elements_b.
    ratio_flops, ratio_elements = flops_a / flops_b, elements_a / elements_b
    moved = (seconds_a - ratio_flops * seconds_b) / (ratio_elements - ratio_flops)
    low, high = _MOVED_SHARE
    moved = min(max(moved, low * seconds_b), high * seconds_b)
    return _two_digits(BACKWARD_FACTOR * flops_b / (seconds_b - moved)), _two_digits(elements_b / moved)


class _Block:
    """A small U-Net that is timed; its first step, which also allocates and chooses algorithms, does not count."""

    def __init__(self, width: int, device: str, precision: Precision) -> None:
        import torch

        size = _PATCH["cuda" if device.startswith("cuda") else "cpu"]
        torch.manual_seed(0)
        self.cost = _small_unet_cost(width, math.prod(size) * _BATCH)
        self.net = _small_unet(width).to(device)
        self.optimiser = torch.optim.SGD(self.net.parameters(), lr=1e-3, momentum=0.99, nesterov=True)
        self.image = torch.randn(_BATCH, 1, *size, device=device)
        self.target = torch.randint(0, _OUTPUTS, (_BATCH, *size), device=device)
        self.precision = precision
        self.seconds: list[float] = []

    def step(self) -> None:
        """One training step, timed."""
        import torch

        kind = self.image.device.type
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        started = time.perf_counter()
        with torch.autocast(kind, dtype=dtype, enabled=self.precision != "fp32"):
            logits = self.net(self.image)
        loss = torch.nn.functional.cross_entropy(logits.float(), self.target)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        if kind == "cuda":
            torch.cuda.synchronize(self.image.device)
        self.seconds.append(time.perf_counter() - started)

    def figures(self) -> tuple[float, float, float]:
        """(FLOPs, elements, seconds) of the fastest step."""
        return (*self.cost, min(self.seconds[1:]))


def _small_unet(width: int) -> torch.nn.Module:
    """Two resolutions, two convolutions each way: what a planned network mostly consists of."""
    import torch
    from torch import nn

    def stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for index in range(2):
            step = stride if index == 0 else 1
            layers += [nn.Conv3d(inputs if index == 0 else outputs, outputs, 3, step, 1, bias=False)]
            layers += [nn.InstanceNorm3d(outputs, affine=True), nn.LeakyReLU(0.01, inplace=True)]
        return nn.Sequential(*layers)

    class SmallUNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.high, self.low = stage(1, width, 1), stage(width, 2 * width, 2)
            self.up = nn.ConvTranspose3d(2 * width, width, 2, 2, bias=False)
            self.back, self.head = stage(2 * width, width, 1), nn.Conv3d(width, _OUTPUTS, 1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            skip = self.high(image)
            joined = torch.cat([self.up(self.low(skip)), skip], dim=1)
            return self.head(self.back(joined))  # type: ignore[no-any-return]

    return SmallUNet()


def _small_unet_cost(width: int, voxels: int) -> tuple[float, float]:
    """FLOPs of a forward pass and elements kept for the backward one, counted as ``autofuse.networks`` counts them."""
    high, low = float(voxels), voxels / 8
    taps_high = 27 * (1 + width + 2 * width + width) * width
    taps_low = 27 * (width + 2 * width) * 2 * width
    flops = 2 * (high * (taps_high + 2 * width * width + width * _OUTPUTS) + low * taps_low)
    kept_high = 2 * 4 * width + 2 * width + _OUTPUTS + 1
    return flops, high * kept_high + low * 2 * 2 * 2 * width


def _two_digits(value: float) -> float:
    return float(f"{value:.1e}")
