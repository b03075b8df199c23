"""What slows this machine down or could break on it: rules over what was measured, each for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version

from autofuse.road.doctor.need import crops_per_s_needed
from autofuse.road.doctor.types import ConvolutionRate, Diagnosis, Finding

REGRESSIONS = {"torch": {"2.9": "Conv3d in bf16 and fp16 is many times slower, and takes many times the memory"}}
"""By package and version (its first two numbers), what is known to be wrong with it."""
LEAST_SHARED_GIB = 1.0
LEAST_DISK_GIB = 10.0
SLOW_DISK_MIB_PER_S = 50.0
LITTLE_MEMORY_GIB = 4.0
BUSY_SHARE = 0.5
"""Of the processors that were busy already when measuring began."""
SLOWER = 1.1
"""So many times longer counts as slower; less is within what repeating would change."""
LEAST_DRIVER = {"11": (450, "450.80"), "12": (525, "525.60"), "13": (580, "580.65")}
"""By CUDA's first number, the driver that its minor-version compatibility begins with (NVIDIA's release notes)."""

Rule = Callable[[Diagnosis], Iterator[Finding]]


def findings(seen: Diagnosis, torchvision: str | None = None) -> tuple[Finding, ...]:
    """All findings, warnings first; ``torchvision`` is the version that is installed."""
    found = [finding for rule in RULES for finding in rule(seen)]
    found += list(_torchvision(seen, torchvision))
    return tuple(sorted(found, key=lambda finding: finding.weight != "warning"))


def installed_torchvision() -> str | None:
    """The version of torchvision that is installed; None where there is none."""
    try:
        return version("torchvision")
    except PackageNotFoundError:
        return None


def _warn(about: str, what: str, remedy: str | None = None) -> Finding:
    return Finding(weight="warning", about=about, what=what, remedy=remedy)


def _note(about: str, what: str, remedy: str | None = None) -> Finding:
    return Finding(weight="note", about=about, what=what, remedy=remedy)


def _regressions(seen: Diagnosis) -> Iterator[Finding]:
    for package, known in REGRESSIONS.items():
        number = seen.machine.packages.get(package, "")
        branch = ".".join(number.split(".")[:2])
        if branch in known:
            remedy = f"pip install '{package}!={branch}.*'"
            yield _warn(f"{package} {number}", f"Known to be bad: {known[branch]}.", remedy)


def _busy(seen: Diagnosis) -> Iterator[Finding]:
    machine = seen.machine
    if machine.load is not None and machine.load > BUSY_SHARE * machine.threads:
        what = f"{machine.load:g} of {machine.threads} processors were busy before: what was measured is too slow."
        yield _warn("load", what, "Measure again when nothing else runs.")


def _processors(seen: Diagnosis) -> Iterator[Finding]:
    machine = seen.machine
    if machine.quota is not None and machine.quota < machine.processors:
        what = f"The container may use {machine.quota:g} of {machine.processors} processors."
        yield _note("container", what, "Give it more (docker run --cpus).")
    elif machine.threads < machine.processors:
        yield _note("processors", f"This process may use {machine.threads} of {machine.processors} processors.")
    wish = machine.omp_num_threads
    if wish is not None and wish.strip() != str(machine.threads):
        what = f"It is {wish!r}, and {machine.threads} processors can be used. Training sets its own number and does "
        yield _note("OMP_NUM_THREADS", what + "not mind; numpy, scipy and SimpleITK do.", "unset OMP_NUM_THREADS")


def _memory(seen: Diagnosis) -> Iterator[Finding]:
    machine = seen.machine
    if machine.limit_gib is not None and machine.limit_gib < machine.memory_gib:
        what = f"The container may use {machine.limit_gib:g} of {machine.memory_gib:g} GiB."
        yield _note("container", what, "Give it more (docker run --memory).")
    if machine.available_gib < LITTLE_MEMORY_GIB:
        what = f"Only {machine.available_gib:.1f} GiB are free: patches and batches will be small."
        yield _warn("memory", what, "Close other programs.")
    if machine.swap_used_gib > 0.1 * max(machine.memory_gib, 1.0):
        what = f"{machine.swap_used_gib:.1f} GiB lie on the disk already: whatever needs them waits."
        yield _warn("swap", what, "Close other programs, or give training less (--memory).")
    if machine.shared_memory_gib is not None and machine.shared_memory_gib < LEAST_SHARED_GIB:
        what = f"/dev/shm holds {machine.shared_memory_gib * 1024:.0f} MiB. autofuse reads crops in threads and needs "
        yield _note(
            "shared memory", what + "none of it; programs that load in processes run out.", "docker --shm-size 8g"
        )
    if not machine.allocator_tuned:
        what = "The C library refused the settings that keep memory between training steps (it is not glibc, perhaps)."
        yield _note("allocator", what + " Steps on this CPU take up to twice as long.", "Use an image with glibc.")


def _gpu(seen: Diagnosis) -> Iterator[Finding]:
    machine = seen.machine
    if machine.idle_gpus:
        names = ", ".join(machine.idle_gpus)
        why = "torch was built without CUDA" if machine.cuda is None else "torch cannot start CUDA on it"
        yield _warn("GPU", f"There is {names}, and {why}: everything runs on the CPU.", _gpu_remedy(machine.cuda))
    elif not machine.gpus:
        yield _note("GPU", "There is none that torch can use; everything runs on the CPU.")
    elif machine.cudnn is None:
        yield _warn("cuDNN", "torch does not find it: 3D convolutions are many times slower.", "Install torch anew.")
    for gpu in machine.gpus:
        if gpu.free_gib < 0.8 * gpu.memory_gib:
            what = f"{gpu.memory_gib - gpu.free_gib:.1f} of its {gpu.memory_gib:.1f} GiB are taken by other programs."
            yield _warn(gpu.name, what, "nvidia-smi tells by which.")


def _gpu_remedy(cuda: str | None) -> str:
    if cuda is None:
        return "Install torch for CUDA: https://pytorch.org/get-started/locally"
    return f"Update the driver to one for CUDA {cuda}, or install torch for an older CUDA."


def _driver(seen: Diagnosis) -> Iterator[Finding]:
    machine = seen.machine
    if machine.driver is None or machine.cuda is None:
        return
    least, named = LEAST_DRIVER.get(machine.cuda.split(".")[0], (0, ""))
    branch = machine.driver.split(".")[0]
    if branch.isdigit() and int(branch) < least:
        what = f"NVIDIA's driver {machine.driver} is too old for CUDA {machine.cuda}, which torch was built for."
        yield _warn("driver", what, f"Update it to {named} or newer, or install torch for an older CUDA.")


def _precision(seen: Diagnosis) -> Iterator[Finding]:
    rates = {(rate.precision, rate.layout): rate for rate in seen.convolutions}
    half, single = rates.get(("bf16", "contiguous")), rates.get(("fp32", "contiguous"))
    if half is not None and not half.native:
        slower = _times(half, single)
        measured = "" if slower is None else f"; it took {slower:.2g} times as long as fp32"
        yield _note("bf16", f"This {_kind(seen)} does not compute in bf16 itself, only emulates it{measured}.")
    elif (slower := _times(half, single)) is not None and slower > SLOWER:
        what = f"This {_kind(seen)} should compute in bf16 itself, and took {slower:.2g} times as long as in fp32."
        yield _warn("bf16", what, "--precision fp32")


def _layout(seen: Diagnosis) -> Iterator[Finding]:
    for precision in ("fp32", "bf16", "fp16"):
        rates = {rate.layout: rate for rate in seen.convolutions if rate.precision == precision}
        slower = _times(rates.get("channels_last_3d"), rates.get("contiguous"))
        if slower is not None and slower > SLOWER:
            what = f"{precision}: with norm and non-linearity it took {slower:.2g} times as long as the usual layout."
            yield _note("channels_last_3d", what + " autofuse does not use it.")


def _times(one: ConvolutionRate | None, other: ConvolutionRate | None) -> float | None:
    """How many times as long the block of ``one`` takes; None where either is not known."""
    if one is None or other is None or one.block_milliseconds is None or not other.block_milliseconds:
        return None
    return one.block_milliseconds / other.block_milliseconds


def _kind(seen: Diagnosis) -> str:
    return "GPU" if seen.device == "cuda" else "processor"


def _disk(seen: Diagnosis) -> Iterator[Finding]:
    disk = seen.disk
    remedy = "Put the workspace elsewhere: --workspace DIR"
    if disk.problem is not None:
        yield _warn("disk", f"Nothing can be written into {disk.folder}: {disk.problem}.", remedy)
    if disk.network:
        what = f"{disk.folder} lies on another machine ({disk.kind}): every crop comes over the network."
        yield _warn("disk", what, f"{remedy} on a disk of this machine")
    if disk.free_gib < LEAST_DISK_GIB:
        yield _warn("disk", f"{disk.free_gib:.1f} GiB are free in {disk.folder}.", "Free some, or --workspace DIR")
    for verb, rate in (("written", disk.write_mib_per_s), ("read", disk.read_mib_per_s)):
        if rate is not None and rate < SLOW_DISK_MIB_PER_S:
            yield _warn("disk", f"A file is {verb} at {rate:.0f} MiB/s: slow.", remedy)


def _readers(seen: Diagnosis) -> Iterator[Finding]:
    if seen.step is None or not seen.crops:
        return
    best, wanted = max(rate.crops_per_s for rate in seen.crops), crops_per_s_needed(seen.step)
    if best < wanted:
        what = f"Steps could use {wanted:.3g} crops a second, and {best:.3g} arrive: the device would wait."
        yield _warn("crops", what, "A faster disk for --workspace, or more processors.")
    if seen.step.augmentation_milliseconds > 0.5 * seen.step.milliseconds:
        what = (
            f"It takes {seen.step.augmentation_milliseconds:.3g} ms, beside steps of {seen.step.milliseconds:.3g} ms."
        )
        yield _note("augmentation", what)


def _torchvision(seen: Diagnosis, installed: str | None) -> Iterator[Finding]:
    torch = seen.machine.packages.get("torch", "")
    if installed is None or seen.machine.cuda is not None or "+cpu" in installed or "+cpu" not in torch:
        return
    what = f"torchvision {installed} stands beside torch {torch}, which was built without CUDA: importing it may fail. "
    yield _note("torchvision", what + "autofuse does not need it.", "pip uninstall torchvision, or its CPU build")


RULES: tuple[Rule, ...] = (
    _regressions,
    _busy,
    _gpu,
    _driver,
    _precision,
    _layout,
    _processors,
    _memory,
    _disk,
    _readers,
)
