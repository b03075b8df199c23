"""Images of one patient brought onto one grid: what is written, what is told, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_road import tree_hash

from autofuse import road
from autofuse.cli import main as command
from autofuse.foundation.errors import DataError, UsageError
from autofuse.images import Geometry, read_image, write_image
from autofuse.phantom import PhantomOptions, write_phantom
from autofuse.plan.types import RegistrationPlan
from autofuse.road.aligning import RECORD_FILE

PATIENT = PhantomOptions(
    cases=1,
    test_cases=0,
    shape=(40, 48, 48),
    spacing_mm=(2.0, 2.0, 2.0),
    shift_mm=10.0,
    coarse=1.5,
    turned=True,
    noise=0.1,
)


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two images of one patient on two grids, 10 mm apart."""
    return write_phantom(tmp_path_factory.mktemp("patient") / "phantom", PATIENT) / "imagesTr"


@pytest.fixture(scope="module")
def aligned(patient: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[road.Alignment, Path]:
    """What the command made of them."""
    out = tmp_path_factory.mktemp("aligned") / "out"
    return road.align([patient], out), out


def test_images_end_on_the_reference_grid_and_together(patient: Path, aligned: tuple[road.Alignment, Path]) -> None:
    made, out = aligned
    assert made.reference == "phantom_001_0000"
    assert made.failed == ()
    fixed = read_image(patient / "phantom_001_0000.nii.gz")
    first, second = (read_image(out / item.file) for item in made.images)
    assert first.geometry.same_grid(fixed.geometry) and second.geometry.same_grid(fixed.geometry)
    np.testing.assert_array_equal(first.voxels, fixed.voxels)
    moved = made.images[1]
    assert moved.before_mm == pytest.approx(10.0, abs=1.5)
    assert moved.after_mm is not None and moved.after_mm < 1.5
    assert moved.rigid is not None
    truth = json.loads((patient.parent / "phantom.json").read_text())["cases"]["phantom_001"]["shift_mm"][1]
    np.testing.assert_allclose(moved.rigid.affine()[:3, 3], truth[::-1], atol=1.5)
    body, other = fixed.voxels > 0, second.voxels > 0.5 * np.median(second.voxels[fixed.voxels > 0])
    assert 2 * (body & other).sum() / (body.sum() + other.sum()) > 0.9


def test_the_same_command_again_changes_nothing(patient: Path, aligned: tuple[road.Alignment, Path]) -> None:
    made, out = aligned
    before = tree_hash(patient)
    stamps = {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.name != ".lock"}
    assert road.align([patient], out) == made
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.name != ".lock"} == stamps
    assert tree_hash(patient) == before
    assert (out / made.picture).read_bytes().startswith(b"\x89PNG")


def test_a_damaged_result_is_made_again(patient: Path, tmp_path: Path) -> None:
    made = road.align([patient], tmp_path)
    whole = (tmp_path / made.images[1].file).read_bytes()
    (tmp_path / made.images[1].file).write_bytes(whole[:-100])
    assert road.align([patient], tmp_path) == made
    assert (tmp_path / made.images[1].file).read_bytes() == whole


def test_beyond_the_limits_is_partial(patient: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted(map(str, patient.iterdir()))
    code = command.main(["align", *files, "--out", str(tmp_path / "out"), "--largest-shift", "3", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert code == told["exit_code"] == 6
    failed = told["result"]["images"][1]
    assert "by its header alone" in failed["problem"]
    assert failed["rigid"] is None and failed["before_mm"] == failed["after_mm"]
    assert (tmp_path / "out" / failed["file"]).exists()


def test_another_reference_and_other_limits_are_another_command(patient: Path, tmp_path: Path) -> None:
    limits = RegistrationPlan(largest_shift_mm=3.0)
    first = road.align([patient], tmp_path, limits=limits)
    other = road.align([patient], tmp_path, limits=limits, reference="phantom_001_0001")
    assert (first.reference, other.reference) == ("phantom_001_0000", "phantom_001_0001")
    assert read_image(tmp_path / "phantom_001_0000.nii.gz").geometry.spacing_mm == pytest.approx(
        (3.0, 2.96, 3.0), abs=0.1
    )


def test_mistakes_are_named_and_nothing_is_written(patient: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to align"):
        road.align([patient / "phantom_001_0000.nii.gz"], tmp_path / "out")
    with pytest.raises(UsageError, match="no image 'T9'"):
        road.align([patient], tmp_path / "out", reference="T9")
    with pytest.raises(UsageError, match="among the images"):
        road.align([patient], patient)
    assert not (tmp_path / "out").exists()
    twin = tmp_path / "phantom_001_0000.nii"
    write_image(twin, np.zeros((4, 4, 4), np.int16), Geometry((4, 4, 4)))
    with pytest.raises(UsageError, match="one name"):
        road.align([patient / "phantom_001_0000.nii.gz", twin], tmp_path / "out")


def test_every_bad_file_is_named(patient: Path, tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(DataError, match="2 images cannot be read") as caught:
        road.align(
            [tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", patient / "phantom_001_0000.nii.gz"], tmp_path / "out"
        )
    assert "a.nii.gz" in str(caught.value) and "b.nii.gz" in str(caught.value)
    assert not (tmp_path / "out" / RECORD_FILE).exists()


def test_images_of_different_places_are_not_brought_together(patient: Path, tmp_path: Path) -> None:
    image = read_image(patient / "phantom_001_0000.nii.gz")
    far = Geometry(image.geometry.shape, image.geometry.spacing_mm, (2000.0, 0.0, 0.0), image.geometry.direction)
    write_image(tmp_path / "far.nii.gz", image.voxels, far)
    made = road.align(
        [patient / "phantom_001_0000.nii.gz", tmp_path / "far.nii.gz"], tmp_path / "out", reference="phantom_001_0000"
    )
    assert [item.name for item in made.failed] == ["far"]
    assert "shares no field of view" in (made.failed[0].problem or "")
    assert made.failed[0].cover == 0.0
