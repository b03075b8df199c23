"""What the doctor measures and concludes, as values."""

from __future__ import annotations

from typing import ClassVar, Literal

from autofuse.foundation.machine import Precision
from autofuse.foundation.values import StoredValue, Value

Layout = Literal["contiguous", "channels_last_3d"]
Weight = Literal["warning", "note"]


class Gpu(Value):
    """One NVIDIA GPU as torch sees it; ``capability`` such as "8.6"."""

    name: str
    memory_gib: float
    free_gib: float
    capability: str


class Machine(Value):
    """What there is.

    Attributes:
        processors: in the machine; threads: that this process may use; quota: a container's, in processors.
        load: processors that were busy in the last minute, at the start; None where the system does not say.
        memory_gib: RAM; available_gib: that can still be taken; limit_gib: a container's.
        swap_gib, swap_used_gib: memory on a disk; shared_memory_gib: size of /dev/shm; None where there is none.
        driver: of NVIDIA, None where none is loaded; cuda: that torch was built for; cudnn: "9.1.0".
        gpus: that torch can use; idle_gpus: names of those that the driver knows, and torch does not see.
        omp_num_threads: the environment variable, as it is set.
        allocator_tuned: whether the C library took the settings that keep memory between training steps.
    """

    system: str
    processor: str
    processors: int
    threads: int
    quota: float | None
    load: float | None
    memory_gib: float
    available_gib: float
    limit_gib: float | None
    swap_gib: float
    swap_used_gib: float
    shared_memory_gib: float | None
    driver: str | None
    cuda: str | None
    cudnn: str | None
    gpus: tuple[Gpu, ...]
    idle_gpus: tuple[str, ...]
    python: str
    packages: dict[str, str]
    omp_num_threads: str | None
    allocator_tuned: bool


class ConvolutionRate(Value):
    """Conv3d, forward and backward together.

    Attributes:
        native: whether the device computes in this precision itself.
        milliseconds, gflops_per_s: of the convolution alone; None where it could not be measured.
        block_milliseconds: with the norm and the non-linearity that follow it in a network.
        problem: why there is no number.
    """

    precision: Precision
    layout: Layout
    native: bool
    milliseconds: float | None = None
    gflops_per_s: float | None = None
    block_milliseconds: float | None = None
    problem: str | None = None


class DiskRate(Value):
    """The disk of the workspace: type of its file system, and what a file of ``tried_mib`` was written and read at."""

    folder: str
    kind: str
    network: bool
    free_gib: float
    tried_mib: int = 0
    write_mib_per_s: float | None = None
    read_mib_per_s: float | None = None
    problem: str | None = None


class CropRate(Value):
    """Crops a second that so many readers bring from a prepared store, decompressed."""

    readers: int
    crops_per_s: float


class StepNeed(Value):
    """What one training step of a network of the usual size takes, and needs from the disk.

    Attributes:
        network: in words; precision: that it computes in; milliseconds: derived from the measured speed.
        crops: that it needs; augmentation_milliseconds: of all of them.
        readers: that suffice for it.
    """

    network: str
    precision: Precision
    milliseconds: float
    crops: int
    augmentation_milliseconds: float
    readers: int


class Finding(Value):
    """Something that slows down, or could break: what, what was found, what mends it."""

    weight: Weight
    about: str
    what: str
    remedy: str | None = None


class Advice(Value):
    """What to give `autofuse run` here; ``reasons`` by option, ``options`` to paste."""

    workers: int
    precision: Precision
    memory_gib: float
    options: str
    reasons: dict[str, str]


class Diagnosis(StoredValue):
    """Everything that was measured on ``device`` in so many ``seconds``, and what follows from it."""

    kind: ClassVar[str] = "diagnosis"

    device: Literal["cpu", "cuda"]
    machine: Machine
    convolutions: tuple[ConvolutionRate, ...]
    disk: DiskRate
    crops: tuple[CropRate, ...]
    step: StepNeed | None
    findings: tuple[Finding, ...] = ()
    advice: Advice | None = None
    seconds: float = 0.0
