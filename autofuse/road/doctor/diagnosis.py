"""The whole examination: look, measure, compare, advise; in seconds, and without leaving anything behind."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

from autofuse.foundation.console import log, progress, say
from autofuse.foundation.machine import Precision
from autofuse.foundation.workspace import workspace_root
from autofuse.plan.budget import default_memory_gib
from autofuse.road.doctor.advice import advise, fastest_precision
from autofuse.road.doctor.convolutions import LAYOUTS, PRECISIONS, time_convolutions
from autofuse.road.doctor.crops import time_augmentation, time_crops
from autofuse.road.doctor.disk import time_disk
from autofuse.road.doctor.facts import look_at_machine
from autofuse.road.doctor.findings import findings, installed_torchvision
from autofuse.road.doctor.need import speed_of, step_need
from autofuse.road.doctor.types import ConvolutionRate, CropRate, Diagnosis, DiskRate, Finding, StepNeed

_PARTS = 3
"""Measurements besides the convolutions: disk, crops, augmentation."""


def diagnose(workspace: str | Path | None = None, *, device: Literal["auto", "cpu", "cuda"] = "auto") -> Diagnosis:
    """What was measured on this machine, what is wrong with it, and which options suit it.

    Nothing that is wrong is an error: it becomes a finding.

    Args:
        workspace: whose disk is tried; the one that is used by default if None.
        device: to measure; "cuda" without a GPU that works measures the CPU and says so.
    """
    started = time.perf_counter()
    machine = look_at_machine()
    chosen: Literal["cpu", "cuda"] = "cuda" if machine.gpus and device != "cpu" else "cpu"
    with progress("doctor", _PARTS + len(PRECISIONS) * len(LAYOUTS)) as advance:
        rates = time_convolutions(chosen, advance)
        precision = fastest_precision(chosen, rates)
        disk = time_disk(workspace_root(workspace))
        advance()
        crops = _crops(disk)
        advance()
        step = _step(chosen, precision[0], rates, crops)
        advance()
    seen = Diagnosis(device=chosen, machine=machine, convolutions=rates, disk=disk, crops=crops, step=step)
    found = findings(seen, installed_torchvision())
    if device == "cuda" and chosen == "cpu":
        found = (
            Finding(weight="warning", about="--device cuda", what="There is no GPU to measure: the CPU was."),
            *found,
        )
    memory_gib = default_memory_gib("cuda" if chosen == "cuda" else "cpu")
    advice = advise(seen, precision, memory_gib)
    seconds = round(time.perf_counter() - started, 1)
    return seen.model_copy(update={"findings": found, "advice": advice, "seconds": seconds})


def _crops(disk: DiskRate) -> tuple[CropRate, ...]:
    """Crop rates; none where nothing can be written."""
    if disk.problem is not None:
        return ()
    try:
        return time_crops(Path(disk.folder))
    except OSError as error:
        say(f"Crops could not be measured: {error.strerror or error}")
        return ()


def _step(
    device: Literal["cpu", "cuda"],
    precision: Precision,
    rates: tuple[ConvolutionRate, ...],
    crops: tuple[CropRate, ...],
) -> StepNeed | None:
    """What a step takes; None where the device fails at it."""
    rate = next(item for item in rates if (item.precision, item.layout) == (precision, LAYOUTS[0]))
    speed = speed_of(rate, device)
    if speed is None:
        return None
    try:
        return step_need(device, precision, speed, crops, time_augmentation(device))
    except RuntimeError as error:
        log().exception("a training step could not be measured")
        say(f"A training step could not be measured: {str(error).splitlines()[0][:120]}")
        return None
