"""Which options suit this machine, and why."""

from __future__ import annotations

from autofuse.foundation.machine import Precision, default_precision
from autofuse.road.doctor.types import Advice, ConvolutionRate, Diagnosis

WORKER_GIB = 1.5
"""RAM that a process preparing a case of the usual size takes."""
GAIN = 1.1
"""bf16 has to be so many times faster than fp32 on a CPU to be worth its rounding."""


def fastest_precision(device: str, rates: tuple[ConvolutionRate, ...]) -> tuple[Precision, str]:
    """The precision to train in, and why: bf16 where it is native and pays, fp16 on older GPUs, else fp32."""
    known = {rate.precision: rate for rate in rates if rate.layout == "contiguous" and rate.block_milliseconds}
    single = known.get("fp32")
    if single is None:
        return default_precision(device), "it is native here; how fast fp32 is could not be measured"
    wanted: tuple[Precision, ...] = ("bf16", "fp16") if device == "cuda" else ("bf16",)
    for precision in wanted:
        rate = known.get(precision)
        if rate is None or not rate.native:
            continue
        faster = (single.block_milliseconds or 0.0) / (rate.block_milliseconds or 1.0)
        if faster > GAIN:
            return precision, f"{precision} is native here, and {faster:.2g} times as fast as fp32"
    tried = [f"{name} {rate.block_milliseconds:.3g} ms" for name, rate in known.items()]
    return "fp32", f"nothing native is clearly faster ({', '.join(tried)})"


def advise(seen: Diagnosis, precision: tuple[Precision, str], memory_gib: float) -> Advice:
    """Workers, precision and memory dial, each with its reason, and as options to paste.

    Args:
        precision: as ``fastest_precision`` gives it.
        memory_gib: what the planner takes by itself.
    """
    machine = seen.machine
    fitting = max(1, int(machine.available_gib / WORKER_GIB))
    workers = max(1, min(machine.threads, fitting))
    reason = "one for each processor"
    if workers < machine.threads:
        reason = f"{machine.available_gib:.1f} GiB of RAM are free, of which each takes up to {WORKER_GIB:g}"
    on_gpu = seen.device == "cuda"
    dial, whose = ("--vram", "the GPU's free memory") if on_gpu else ("--memory", "free RAM")
    return Advice(
        workers=workers,
        precision=precision[0],
        memory_gib=memory_gib,
        options=f"--workers {workers} --precision {precision[0]} {dial} {memory_gib:g}GiB",
        reasons={
            "--workers": reason,
            "--precision": precision[1],
            dial: f"what is safe of {whose}; also what is taken without this option",
        },
    )
