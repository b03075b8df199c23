"""How fast this device convolves: Conv3d forward and backward, in each precision and memory layout."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from autofuse.foundation.machine import Precision, cpu_flags, cpu_threads
from autofuse.road.doctor.types import ConvolutionRate, Layout

if TYPE_CHECKING:
    import torch

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
LAYOUTS: tuple[Layout, ...] = ("contiguous", "channels_last_3d")
BATCH, CHANNELS, TAPS = 2, 32, 27
EDGE = {"cpu": 32, "cuda": 96}
_ENOUGH_S = 0.35
_MOST_ROUNDS = 20
_PROBE = 2
"""Edges are so many times shorter in a first try, which shows what is too slow to be waited for."""
_TOO_SLOW_S = 3.0
_PATIENCE_S = 12.0
"""For all of them together."""
_LATE = "not measured: the others took too long"
_NATIVE_CPU = {"bf16": {"avx512_bf16", "amx_bf16", "bf16"}, "fp16": {"avx512_fp16", "amx_fp16", "fphp"}}


def time_convolutions(device: str, advance: Callable[[], None] | None = None) -> tuple[ConvolutionRate, ...]:
    """One rate for each precision and layout; torch's threads and random numbers are as before afterwards.

    On a machine that is slow beyond patience, those that come last (other layouts) are left out.
    """
    import torch

    threads, luck = torch.get_num_threads(), torch.random.get_rng_state()
    torch.set_num_threads(cpu_threads())
    rates, started = [], time.perf_counter()
    try:
        for layout in LAYOUTS:
            for precision in PRECISIONS:
                rate = ConvolutionRate(precision=precision, layout=layout, native=is_native(device, precision))
                late = time.perf_counter() - started > _PATIENCE_S
                rates.append(rate.model_copy(update={"problem": _LATE} if late else _measured(device, rate)))
                if advance is not None:
                    advance()
    finally:
        torch.set_num_threads(threads)
        torch.random.set_rng_state(luck)
    return tuple(rates)


def voxels(device: str) -> int:
    """Of the images that are convolved, all samples together."""
    return BATCH * EDGE[device] ** 3


def is_native(device: str, precision: Precision) -> bool:
    """Whether the device computes in ``precision`` itself, rather than in fp32 with conversions around it."""
    if precision == "fp32":
        return True
    if device == "cpu":
        return bool(_NATIVE_CPU[precision] & cpu_flags())
    import torch

    return precision == "fp16" or torch.cuda.is_bf16_supported(including_emulation=False)


def _measured(device: str, rate: ConvolutionRate) -> dict[str, float | str]:
    """The numbers of ``rate``, or the problem that kept them away."""
    edge = EDGE[device]
    flops = 3 * 2 * TAPS * CHANNELS * CHANNELS * voxels(device)  # backward: twice the forward pass
    try:
        tried_s = _fastest(_step(device, rate, edge // _PROBE, block=False), device, _ENOUGH_S / 4)
        if tried_s * _PROBE**3 > _TOO_SLOW_S:
            return {"problem": f"too slow (about {tried_s * _PROBE**3:.0f} s)"}
        alone_s = _fastest(_step(device, rate, edge, block=False), device, _ENOUGH_S)
        block_s = _fastest(_step(device, rate, edge, block=True), device, _ENOUGH_S)
    except (RuntimeError, NotImplementedError) as error:
        return {"problem": (str(error) or type(error).__name__).splitlines()[0][:120]}
    return {
        "milliseconds": round(alone_s * 1000, 3),
        "gflops_per_s": round(flops / alone_s / 1e9, 1),
        "block_milliseconds": round(block_s * 1000, 3),
    }


def _step(device: str, rate: ConvolutionRate, edge: int, *, block: bool) -> Callable[[], None]:
    """A function that does one forward and backward pass, as autocast does it in training."""
    import torch
    from torch import nn

    layers: list[nn.Module] = [nn.Conv3d(CHANNELS, CHANNELS, 3, padding=1, bias=False)]
    if block:
        layers += [nn.InstanceNorm3d(CHANNELS, affine=True), nn.LeakyReLU(0.01, inplace=True)]
    memory = torch.channels_last_3d if rate.layout == "channels_last_3d" else torch.contiguous_format
    net = nn.Sequential(*layers).to(device)
    for weights in net.parameters():
        if weights.ndim == 5:
            weights.data = weights.data.contiguous(memory_format=memory)
    image = torch.randn(BATCH, CHANNELS, edge, edge, edge, device=device).to(memory_format=memory).requires_grad_()
    dtype = torch.float16 if rate.precision == "fp16" else torch.bfloat16

    def step() -> None:
        net.zero_grad(set_to_none=True)
        image.grad = None
        with torch.autocast(device, dtype=dtype, enabled=rate.precision != "fp32"):
            found: torch.Tensor = net(image)
        found.backward(torch.ones_like(found))  # type: ignore[no-untyped-call]

    return step


def _fastest(step: Callable[[], None], device: str, enough_s: float) -> float:
    """Seconds of the fastest of several rounds; the first, which also chooses algorithms, counts only where it takes
    longer than anybody waits."""
    import torch

    def timed() -> float:
        started = time.perf_counter()
        step()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    first = timed()
    if first > _TOO_SLOW_S:
        return first
    began, found = time.perf_counter(), [timed()]
    while time.perf_counter() - began < enough_s and len(found) < _MOST_ROUNDS:
        found.append(timed())
    return min(found)
