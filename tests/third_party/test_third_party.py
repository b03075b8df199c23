"""A stranger's trainer is found by its entry point, conforms, and is recorded by name, without touching our tree."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

from autofuse.dataset import open_dataset
from autofuse.foundation.registry import TRAINERS, registered
from autofuse.phantom.options import PhantomOptions
from autofuse.phantom.write import write_phantom

PROGRAM = """
import torch
torch.set_num_threads(1)
from autofuse.foundation.registry import TRAINERS, load_registered, registered
from autofuse.testing import SETTINGS, check_trainer
kind = load_registered(TRAINERS, "cross_entropy_only")
assert {"supervised", "partial", kind.name} <= set(registered(TRAINERS))
print(kind.__module__, len(check_trainer(kind, settings=SETTINGS[:2])), "passed")
"""


def test_a_strangers_trainer_is_found_and_conforms(stranger: dict[str, str], tmp_path: object) -> None:
    assert "cross_entropy_only" not in registered(TRAINERS)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=stranger,
        cwd=str(tmp_path),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    module, count, passed = done.stdout.split()
    assert (module, passed) == ("cross_entropy_only", "passed") and int(count) > 25


def test_a_strangers_trainer_travels_the_whole_road(stranger: dict[str, str], tmp_path: Path) -> None:
    raw = write_phantom(
        tmp_path / "Dataset001_Phantom", PhantomOptions(cases=5, test_cases=1, shape=(16, 20, 20), modalities=2)
    )
    command = [sys.executable, "-m", "autofuse", "run", str(raw), "--workspace", str(tmp_path / "work")]
    done = subprocess.run(
        [*command, "--json", "--memory", "0.5GiB", "--steps", "3", "--trainer", "cross_entropy_only"],
        env=stranger,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)["result"]
    assert report["trainer"] == "cross_entropy_only"
    assert report["predicted_cases"] == 1
    masks = tmp_path / "work" / "Dataset001_Phantom" / report["predictions"]
    assert [mask.name for mask in masks.glob("*.nii.gz")] == [f"{open_dataset(raw).test_cases[0].id}.nii.gz"]


SUBMITS = """
import sys
import zipfile
from pathlib import Path
from autofuse.foundation.registry import SUBMISSIONS, registered
from autofuse.sharing.submissions.target import make_target
from autofuse.sharing.submissions.wheels import packed_distributions, requirements, write_wheel
target = make_target("case_list", {"separator": ";"})
assert target.place("m") == "m.csv" and target.separator == ";" and "brats" in registered(SUBMISSIONS)
packages = packed_distributions(["cross_entropy_only", "supervised"])
for package in packages:
    print(write_wheel(package, Path(sys.argv[1])).name)
assert "cross-entropy" not in requirements(packages, gpu=False)
"""


def test_a_strangers_target_is_found_and_containers_bring_a_strangers_trainer(
    stranger: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SUBMITS, str(tmp_path)],
        env=stranger,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    own, theirs = done.stdout.split()
    assert own.startswith("autofuse-") and theirs == "cross_entropy_only-1.0-py3-none-any.whl"
    with zipfile.ZipFile(tmp_path / theirs) as wheel:
        assert {"cross_entropy_only.py", "case_list.py"} <= set(wheel.namelist())
        assert b"autofuse.trainers" in wheel.read("cross_entropy_only-1.0.dist-info/entry_points.txt")
