"""Targets and what they are made of: options, masks, zips, wheels, interfaces, the guard."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest

from autofuse.dataset.types import Case, Dataset, ImageFile, LabelClass, Labels, Modality
from autofuse.foundation.errors import DataError, UsageError
from autofuse.foundation.registry import SUBMISSIONS, registered
from autofuse.images import Geometry, read_label_image, write_image, write_labels
from autofuse.sharing.submissions.archive import write_zip
from autofuse.sharing.submissions.grand_challenge import GrandChallenge
from autofuse.sharing.submissions.interface import parse_inputs, slug
from autofuse.sharing.submissions.mask_check import mask_values
from autofuse.sharing.submissions.mask_files import Brats, Flare, Folder
from autofuse.sharing.submissions.rehearsal_guard import breach
from autofuse.sharing.submissions.target import Material, make_target
from autofuse.sharing.submissions.wheels import packed_distributions, requirements, write_wheel

SMALL = Geometry((3, 4, 5))
OF_BRATS = Geometry((155, 240, 240))


def labels(*values: int) -> Labels:
    return Labels(classes=tuple(LabelClass(name=f"c{value}", raw_values=(value,)) for value in values))


def material(
    folder: Path, ids: tuple[str, ...], grid: Geometry, values: tuple[int, ...] = (1, 2, 3), ending: str = ".nii.gz"
) -> Material:
    """Test cases with one image each, and a good mask of each."""
    cases = []
    for case in ids:
        path = folder / "imagesTs" / f"{case}_0000.nii.gz"
        write_image(path, np.zeros(grid.shape, np.uint8), grid)
        mask = np.zeros(grid.shape, np.int16)
        mask[0, 0, : len(values)] = values
        write_labels(folder / "masks" / f"{case}{ending}", mask, grid)
        cases.append(Case(id=case, subject=case, images=(ImageFile(path=str(path)),)))
    dataset = Dataset(
        name="tiny",
        root=str(folder),
        layout="images",
        modalities=(Modality(name="T1"),),
        labels=labels(*values),
        cases=(),
        test_cases=tuple(cases),
        file_ending=ending,
    )
    return Material("tiny", dataset, masks=folder / "masks")


def test_ours_are_found_as_anybodys() -> None:
    assert {"folder", "brats", "flare", "grand-challenge"} <= set(registered(SUBMISSIONS))
    assert make_target("brats") == Brats()
    lines = ["T1=/input/images/t1"]
    assert make_target("grand-challenge", {"interface": lines, "gpu": True}) == GrandChallenge(tuple(lines), gpu=True)


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("nowhere", {}, "No submission is called"),
        ("folder", {"colour": 1}, "no option 'colour'"),
        ("grand-challenge", {"gpu": "perhaps"}, "does not take this value"),
    ],
)
def test_what_cannot_be_meant_is_refused(name: str, fields: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make_target(name, fields)


def test_a_brats_zip_holds_each_mask_once(tmp_path: Path) -> None:
    given = material(tmp_path, ("BraTS-GLI-00001-000", "BraTS-GLI-00002-000"), OF_BRATS)
    target, out = Brats(), tmp_path / "s.zip"
    assert target.faults(given) == []
    target.write(given, out)
    first = out.read_bytes()
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == ["BraTS-GLI-00001-000.nii.gz", "BraTS-GLI-00002-000.nii.gz"]
        inside = archive.read("BraTS-GLI-00001-000.nii.gz")
    assert inside == (tmp_path / "masks/BraTS-GLI-00001-000.nii.gz").read_bytes()
    out.unlink()
    target.write(given, out)
    assert out.read_bytes() == first


def test_brats_turns_away_other_grids_labels_and_mixed_names(tmp_path: Path) -> None:
    given = material(tmp_path, ("BraTS-GLI-00001-000", "odd"), SMALL, values=(1, 5))
    faults = "\n".join(Brats().faults(given))
    assert "labels 0, 1, 5; BraTS has 0, 1, 2, 3" in faults
    assert "odd: no id such as BraTS-GLI-00001-000" in faults
    assert "odd: its images are 5 x 4 x 3 voxels of 1 x 1 x 1 mm; expected 240 x 240 x 155" in faults


def test_all_that_is_wrong_with_masks_is_told_at_once(tmp_path: Path) -> None:
    given = material(tmp_path, ("good", "gone", "moved", "strange", "soft", "broken"), SMALL, values=(1, 2))
    masks, ones = tmp_path / "masks", np.ones(SMALL.shape, np.uint8)
    (masks / "gone.nii.gz").unlink()
    write_labels(masks / "moved.nii.gz", ones, Geometry(SMALL.shape, origin_mm=(0.0, 0.0, 1.0)))
    write_labels(masks / "strange.nii.gz", ones * 9, SMALL)
    write_image(masks / "soft.nii.gz", ones.astype(np.float32), SMALL)
    (masks / "broken.nii.gz").write_bytes((masks / "good.nii.gz").read_bytes()[:-9])
    for target, out in ((Folder(), tmp_path / "out"), (Flare(), tmp_path / "out.zip")):
        with pytest.raises(DataError) as caught:
            target.write(given, out)
        told = str(caught.value)
        assert "good:" not in told and not out.exists()
        assert "gone: there is no mask" in told
        assert "moved: its grid is not that of its image (origin differ)" in told
        assert "strange: it holds the values 9; expected only 0, 1, 2" in told
        assert "soft: its voxels are float32" in told
        assert "broken: it cannot be read" in told
    assert not list(tmp_path.glob(".tmp-*"))


def test_masks_of_other_formats_and_types_are_written_anew(tmp_path: Path) -> None:
    given = material(tmp_path, ("a",), SMALL, values=(1, 2), ending=".mha")
    wide = np.full(SMALL.shape, 2, np.int16)
    write_image(tmp_path / "masks" / "a.mha", wide, SMALL)
    Flare().write(given, tmp_path / "s.zip")
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        assert archive.namelist() == ["a.nii.gz"]
        archive.extractall(tmp_path)
    mask = read_label_image(tmp_path / "a.nii.gz")
    assert mask.geometry.same_grid(SMALL) and np.array_equal(mask.voxels, wide)
    assert Flare().faults(material(tmp_path / "x", ("a",), SMALL, values=(1, 300))) != []


def test_regions_may_hold_what_is_painted() -> None:
    regions = tuple(LabelClass(name=str(k), raw_values=(k, 2)) for k in (1, 2))
    assert mask_values(Labels(classes=regions, region_values=(1, 2))) == (0, 1, 2)
    assert mask_values(labels(4, 2)) == (0, 2, 4)


def test_interfaces() -> None:
    assert [item.path for item in parse_inputs([], ["T1", "T2 FLAIR"])] == [
        "/input/images/t1",
        "/input/images/t2-flair",
    ]
    inputs = parse_inputs(["FLAIR?=/input/images/f", "T1=/input/images/t"], ["T1", "FLAIR"])
    assert [(item.modality, item.optional) for item in inputs] == [("T1", False), ("FLAIR", True)]
    assert slug("Dataset101_BraTS13") == "dataset101-brats13"


@pytest.mark.parametrize(
    "lines",
    [
        ["T1=/input/images/t"],
        ["T1=/input/images/t", "FLAIR=/input/images/t"],
        ["T1=/input/../etc", "FLAIR=/input/images/f"],
        ["T1=/somewhere", "FLAIR=/input/images/f"],
        ["T1", "FLAIR=/input/images/f"],
        ["T1=/input/a", "T1=/input/b", "FLAIR=/input/images/f"],
        ["T9=/input/images/t", "T1=/input/a", "FLAIR=/input/images/f"],
    ],
)
def test_interfaces_that_cannot_be_meant(lines: list[str]) -> None:
    with pytest.raises(UsageError):
        parse_inputs(lines, ["T1", "FLAIR"])


def test_a_zip_of_the_same_files_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x" * 1000)
    for name in ("one.zip", "two.zip"):
        os.utime(tmp_path / "x", (1e9, 1e9 + len(name)))
        write_zip(tmp_path / name, {"b": b"2", "a": tmp_path / "x"})
    digests = {hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("one.zip", "two.zip")}
    assert len(digests) == 1
    assert zipfile.ZipFile(tmp_path / "one.zip").namelist() == ["a", "b"]


def test_the_wheel_can_be_installed_and_is_what_runs_here(tmp_path: Path) -> None:
    (package,) = packed_distributions(["supervised"])
    wheel = write_wheel(package, tmp_path)
    target = tmp_path / "installed"
    install = ["install", "--quiet", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    done = subprocess.run([sys.executable, "-m", "pip", *install], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    import autofuse

    here = Path(autofuse.__file__).parent
    for name in ("cli/container.py", "py.typed", "sharing/submissions/rehearsal_guard.py"):
        assert (target / "autofuse" / name).read_bytes() == (here / name).read_bytes()
    assert (target / "autofuse_trainers" / "supervised" / "__init__.py").is_file()
    again = tmp_path / "again"
    again.mkdir()
    assert write_wheel(package, again).read_bytes() == wheel.read_bytes()


def test_every_version_is_pinned() -> None:
    lines = requirements([distribution("autofuse")], gpu=False).splitlines()
    torch = distribution("torch").version.partition("+")[0]
    assert lines[:2] == ["--extra-index-url https://download.pytorch.org/whl/cpu", f"torch=={torch}+cpu"]
    assert all("==" in line for line in lines[1:]) and len(set(lines)) == len(lines)
    names = {line.partition("==")[0] for line in lines[1:]}
    assert {"numpy", "simpleitk", "pydantic", "pydantic-core", "sympy"} <= names
    assert not names & {"autofuse", "pytest", "ruff"}
    assert requirements([distribution("autofuse")], gpu=True).startswith(f"torch=={torch}\n")


WRITING = os.O_WRONLY | os.O_CREAT


@pytest.mark.parametrize(
    ("event", "arguments", "kind"),
    [
        ("open", ("/output/a", "w", WRITING), None),
        ("open", ("/output/../etc/passwd", "w", WRITING), "writes"),
        ("open", ("/outputs", "w", WRITING), "writes"),
        ("open", ("/etc/passwd", "r", os.O_RDONLY), None),
        ("open", (3, "w", WRITING), None),
        ("os.mkdir", ("/etc", 0o777, -1), None),
        ("os.mkdir", (b"/etc/new", 0o777, -1), "writes"),
        ("os.rename", ("/output/a", "/opt/a", -1, -1), "writes"),
        ("os.symlink", ("/etc/passwd", "/output/a", -1), None),
        ("os.remove", ("relative", -1), "writes"),
        ("socket.getaddrinfo", ("example.org", 80, 0, 0, 0), "talks"),
        ("import", ("os",), None),
    ],
)
def test_what_the_guard_refuses(event: str, arguments: tuple[object, ...], kind: str | None) -> None:
    found = breach(event, arguments, ("/output",))
    if event == "os.remove":  # starts where the tests are run
        assert found == ("writes", os.path.realpath("relative"))
    assert (found and found[0]) == kind


def test_the_guard_lets_processes_of_one_program_talk() -> None:
    with socket.socket(socket.AF_UNIX) as near, socket.socket() as far:
        assert breach("socket.connect", (near, "/tmp/x"), ()) is None
        assert breach("socket.connect", (far, ("192.0.2.1", 80)), ()) == ("talks", "('192.0.2.1', 80)")
