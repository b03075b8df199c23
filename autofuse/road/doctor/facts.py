"""What this machine has, as the system tells it."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from autofuse.foundation.machine import (
    GIB,
    available_memory_gib,
    control_group_number,
    cpu_threads,
    meminfo_bytes,
    tune_allocator,
)
from autofuse.road.doctor.types import Gpu, Machine
from autofuse.road.inventory import installed_packages

SHARED_MEMORY = Path("/dev/shm")
_NVIDIA = Path("/proc/driver/nvidia")


def look_at_machine() -> Machine:
    """What there is; imports torch, measures nothing."""
    import torch

    limit = control_group_number("memory.max")
    swap = meminfo_bytes("SwapTotal")
    gpus = usable_gpus()
    cudnn = torch.backends.cudnn.version() if gpus else None  # type: ignore[no-untyped-call]
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=_processor(),
        processors=os.cpu_count() or 1,
        threads=cpu_threads(),
        quota=control_group_number("cpu.max"),
        load=_load(),
        memory_gib=round(meminfo_bytes("MemTotal") / GIB, 2),
        available_gib=round(available_memory_gib(), 2),
        limit_gib=None if limit is None else round(limit / GIB, 2),
        swap_gib=round(swap / GIB, 2),
        swap_used_gib=round(max(0.0, swap - meminfo_bytes("SwapFree")) / GIB, 2),
        shared_memory_gib=_size_gib(SHARED_MEMORY),
        driver=_driver(),
        cuda=torch.version.cuda,
        cudnn=None if cudnn is None else str(cudnn),
        gpus=gpus,
        idle_gpus=() if gpus else _names_by_driver(),
        python=platform.python_version(),
        packages=installed_packages(),
        omp_num_threads=os.environ.get("OMP_NUM_THREADS"),
        allocator_tuned=tune_allocator(),
    )


def usable_gpus() -> tuple[Gpu, ...]:
    """The GPUs that torch can use; none where CUDA does not start, whatever the reason."""
    import torch

    found: list[Gpu] = []
    try:
        if not torch.cuda.is_available():
            return ()
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            free, total = torch.cuda.mem_get_info(index)
            found.append(
                Gpu(
                    name=properties.name,
                    memory_gib=round(total / GIB, 2),
                    free_gib=round(free / GIB, 2),
                    capability=f"{properties.major}.{properties.minor}",
                )
            )
    except RuntimeError:
        return tuple(found)
    return tuple(found)


def _processor() -> str:
    for name, value in _pairs(Path("/proc/cpuinfo")):
        if name == "model name":
            return value
    return platform.processor() or platform.machine()


def _names_by_driver() -> tuple[str, ...]:
    files = sorted((_NVIDIA / "gpus").glob("*/information"))
    return tuple(value for path in files for name, value in _pairs(path) if name == "Model")


def _driver() -> str | None:
    """Version of NVIDIA's kernel module, such as "535.104.05"."""
    try:
        words = (_NVIDIA / "version").read_text(errors="replace").splitlines()[0].split()
    except (OSError, IndexError):
        return None
    numbers = [word for word in words if word[:1].isdigit() and "." in word]
    return numbers[0] if numbers else None


def _pairs(path: Path) -> list[tuple[str, str]]:
    """Lines of the form ``name: value``; none where the file cannot be read."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return []
    parts = (line.partition(":") for line in lines if ":" in line)
    return [(name.strip(), value.strip()) for name, _, value in parts]


def _load() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def _size_gib(folder: Path) -> float | None:
    try:
        return round(shutil.disk_usage(folder).total / GIB, 3)
    except OSError:
        return None
