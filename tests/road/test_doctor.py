"""What the doctor concludes from made-up machines, and that it measures this one without leaving anything behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autofuse.cli.main import main
from autofuse.foundation.machine import default_precision
from autofuse.road.doctor.advice import advise, fastest_precision
from autofuse.road.doctor.disk import file_system, is_network, time_disk
from autofuse.road.doctor.findings import findings
from autofuse.road.doctor.need import crops_per_s_needed, speed_of, step_need
from autofuse.road.doctor.types import (
    ConvolutionRate,
    CropRate,
    Diagnosis,
    DiskRate,
    Gpu,
    Machine,
    StepNeed,
)

GPU = Gpu(name="A card", memory_gib=24.0, free_gib=23.5, capability="8.6")
MACHINE = Machine(
    system="Linux",
    processor="any",
    processors=8,
    threads=8,
    quota=None,
    load=0.1,
    memory_gib=32.0,
    available_gib=28.0,
    limit_gib=None,
    swap_gib=0.0,
    swap_used_gib=0.0,
    shared_memory_gib=16.0,
    driver="580.82.07",
    cuda="12.8",
    cudnn="91002",
    gpus=(GPU,),
    idle_gpus=(),
    python="3.12.0",
    packages={"torch": "2.10.0"},
    omp_num_threads=None,
    allocator_tuned=True,
)
DISK = DiskRate(
    folder="/data", kind="ext4", network=False, free_gib=500.0, write_mib_per_s=900.0, read_mib_per_s=2000.0
)


def rate(precision: str, block_ms: float, layout: str = "contiguous", *, native: bool = True) -> ConvolutionRate:
    numbers = {"milliseconds": block_ms / 2, "gflops_per_s": 100.0, "block_milliseconds": block_ms}
    return ConvolutionRate(precision=precision, layout=layout, native=native, **numbers)  # type: ignore[arg-type]


RATES = (rate("fp32", 10.0), rate("bf16", 4.0), rate("fp16", 4.0), rate("fp32", 10.5, "channels_last_3d"))
STEP = StepNeed(
    network="usual", precision="bf16", milliseconds=90.0, crops=2, augmentation_milliseconds=10.0, readers=1
)
HEALTHY = Diagnosis(
    device="cuda",
    machine=MACHINE,
    convolutions=RATES,
    disk=DISK,
    crops=(CropRate(readers=1, crops_per_s=60.0), CropRate(readers=2, crops_per_s=110.0)),
    step=STEP,
)


def machine(**changes: Any) -> Diagnosis:
    return HEALTHY.model_copy(update={"machine": MACHINE.model_copy(update=changes)})


def disk(**changes: Any) -> Diagnosis:
    return HEALTHY.model_copy(update={"disk": DISK.model_copy(update=changes)})


def convolutions(*rates: ConvolutionRate, device: str = "cuda") -> Diagnosis:
    return HEALTHY.model_copy(update={"convolutions": rates, "device": device})


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert findings(HEALTHY) == ()


ILL = {
    "a torch of the branch with slow convolutions": (machine(packages={"torch": "2.9.1"}), "torch 2.9.1", True),
    "others compute": (machine(load=6.5), "load", True),
    "a container with few processors": (machine(quota=2.0, threads=2), "container", False),
    "a container with little memory": (machine(limit_gib=8.0), "container", False),
    "hardly any free memory": (machine(available_gib=1.5), "memory", True),
    "memory on the disk": (machine(swap_gib=16.0, swap_used_gib=6.0), "swap", True),
    "Docker's shared memory": (machine(shared_memory_gib=0.0625), "shared memory", False),
    "another C library": (machine(allocator_tuned=False), "allocator", False),
    "threads by the environment": (machine(omp_num_threads="1"), "OMP_NUM_THREADS", False),
    "a GPU and a torch without CUDA": (machine(gpus=(), idle_gpus=("A card",), cuda=None), "GPU", True),
    "a GPU that does not start": (machine(gpus=(), idle_gpus=("A card",)), "GPU", True),
    "no GPU at all": (machine(gpus=()), "GPU", False),
    "no cuDNN": (machine(cudnn=None), "cuDNN", True),
    "a driver before CUDA 12": (machine(driver="515.65.01"), "driver", True),
    "a GPU that others fill": (machine(gpus=(GPU.model_copy(update={"free_gib": 9.0}),)), "A card", True),
    "a network disk": (disk(kind="nfs4", network=True), "disk", True),
    "a full disk": (disk(free_gib=2.0), "disk", True),
    "a slow disk": (disk(read_mib_per_s=12.0), "disk", True),
    "a disk that cannot be written": (disk(problem="Read-only file system"), "disk", True),
    "bf16 that is emulated": (convolutions(rate("fp32", 10.0), rate("bf16", 30.0, native=False)), "bf16", False),
    "bf16 that is native and slow": (convolutions(rate("fp32", 10.0), rate("bf16", 30.0)), "bf16", True),
    "the slow layout": (
        convolutions(rate("fp32", 10.0), rate("fp32", 12.4, "channels_last_3d")),
        "channels_last_3d",
        False,
    ),
    "few crops": (HEALTHY.model_copy(update={"crops": (CropRate(readers=1, crops_per_s=19.0),)}), "crops", True),
    "slow augmentation": (
        HEALTHY.model_copy(update={"step": STEP.model_copy(update={"augmentation_milliseconds": 60.0})}),
        "augmentation",
        False,
    ),
}


@pytest.mark.parametrize("name", ILL)
def test_one_thing_that_is_wrong_is_found_alone(name: str) -> None:
    seen, about, warned = ILL[name]
    (found,) = findings(seen)
    assert found.about == about
    assert (found.weight == "warning") == warned


def test_torchvision_for_cuda_beside_a_torch_without_is_named() -> None:
    seen = machine(packages={"torch": "2.13.0+cpu"}, cuda=None)
    assert [found.about for found in findings(seen, "0.28.0")] == ["torchvision"]
    assert findings(seen, "0.28.0+cpu") == ()


def test_precision_is_the_fastest_native_one() -> None:
    assert fastest_precision("cuda", RATES)[0] == "bf16"
    assert fastest_precision("cpu", (rate("fp32", 10.0), rate("bf16", 9.5)))[0] == "fp32"
    assert fastest_precision("cpu", (rate("fp32", 10.0), rate("bf16", 4.0, native=False)))[0] == "fp32"
    turing = (rate("fp32", 10.0), rate("bf16", 20.0, native=False), rate("fp16", 4.0))
    assert fastest_precision("cuda", turing)[0] == "fp16"
    assert fastest_precision("cpu", ())[0] == default_precision("cpu")


def test_options_fit_the_machine() -> None:
    given = advise(HEALTHY, ("bf16", "native"), 21.1)
    assert given.options == "--workers 8 --precision bf16 --vram 21.1GiB"
    small = machine(available_gib=3.2, gpus=()).model_copy(update={"device": "cpu"})
    given = advise(small, ("fp32", "as it is"), 1.9)
    assert given.options == "--workers 2 --precision fp32 --memory 1.9GiB"  # 3.2 GiB for 1.5 GiB each
    assert set(given.reasons) == {"--workers", "--precision", "--memory"}


def test_a_step_says_how_many_readers_it_needs() -> None:
    assert crops_per_s_needed(STEP) == pytest.approx(20.0)  # two crops in 90 + 10 ms
    speed = (1e11, 1e9)
    slow = step_need("cpu", "fp32", speed, (CropRate(readers=1, crops_per_s=1e6),), 5.0)
    assert slow.readers == 1
    rates = (CropRate(readers=1, crops_per_s=1e-6), CropRate(readers=2, crops_per_s=2e-6))
    assert step_need("cpu", "fp32", speed, rates, 5.0).readers == 2
    # Twice the speed in both regards halves the time.
    fast = step_need("cpu", "fp32", (2e11, 2e9), rates, 5.0)
    assert fast.milliseconds == pytest.approx(slow.milliseconds / 2, rel=0.01)


def test_speed_is_read_off_a_convolution_and_its_block() -> None:
    # 2 x 32^3 voxels, 32 channels, two elements each: 4,194,304 in the 5 ms that the norm adds.
    assert speed_of(rate("fp32", 10.0), "cpu") == (100e9, pytest.approx(4_194_304 / 5e-3))
    assert speed_of(ConvolutionRate(precision="fp32", layout="contiguous", native=True), "cpu") is None


def test_the_file_system_is_that_of_the_nearest_mount() -> None:
    mounts = "/dev/a / ext4 rw 0 0\nserver:/x /data nfs4 rw 0 0\n/dev/b /data/my\\040disk xfs rw 0 0\nbroken\n"
    assert file_system(Path("/data/set"), mounts) == "nfs4"
    assert file_system(Path("/database"), mounts) == "ext4"
    assert file_system(Path("/data/my disk/work"), mounts) == "xfs"
    assert file_system(Path("/data"), "") == "unknown"
    assert [kind for kind in ("ext4", "nfs", "fuse.sshfs", "fuse.ntfs", "overlay") if is_network(kind)] == [
        "nfs",
        "fuse.sshfs",
    ]


def test_a_disk_that_takes_nothing_is_a_finding_not_an_error(tmp_path: Path) -> None:
    assert time_disk(tmp_path / "not" / "there").folder == str(tmp_path)
    assert time_disk(Path("/proc/self")).problem


def test_this_machine_is_measured_and_left_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    before = torch.random.get_rng_state(), torch.get_num_threads()
    assert main(["doctor", "--json", "--workspace", str(tmp_path / "work")]) == 0
    found = json.loads(capsys.readouterr().out)["result"]
    assert [item["precision"] for item in found["convolutions"]] == ["fp32", "bf16", "fp16"] * 2
    measured = [item["gflops_per_s"] for item in found["convolutions"]]
    problems = [item["problem"] for item in found["convolutions"]]  # a busy machine is too slow to be waited for
    assert all((number is None) == (problem is not None) for number, problem in zip(measured, problems, strict=True))
    assert found["disk"]["write_mib_per_s"] > 0
    assert found["crops"][0]["crops_per_s"] > 0
    rates = {item["precision"]: item["gflops_per_s"] for item in found["convolutions"][:3]}
    assert (found["step"] is None) == (rates[found["advice"]["precision"]] is None)
    assert "--workers" in found["advice"]["options"]
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert torch.get_num_threads() == before[1]


def test_a_gpu_that_is_asked_for_and_missing_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from autofuse.road.doctor import diagnosis

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    # What is measured does not matter here; it costs seconds.
    monkeypatch.setattr(diagnosis, "time_convolutions", lambda device, advance: RATES)
    monkeypatch.setattr(diagnosis, "_step", lambda *given: None)
    seen = diagnosis.diagnose(tmp_path, device="cuda")
    assert seen.device == "cpu"
    assert seen.findings[0].about == "--device cuda"
