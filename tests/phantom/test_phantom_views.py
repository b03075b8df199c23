"""Modalities on grids of their own, rotated, narrowed: files and truth say the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autofuse.alignment.types import Rigid
from autofuse.foundation.errors import UsageError
from autofuse.images import Geometry, Image, read_image
from autofuse.phantom import PhantomOptions, write_phantom

SMALL = PhantomOptions(cases=2, test_cases=0, shape=(32, 40, 36), spacing_mm=(2.0, 1.0, 1.5), noise=0.0, bias=0.0)
NEW = ("coarse", "narrow", "rotated_degrees", "turned", "warped_mm", "labels_per_modality")


def drawn(folder: Path, options: PhantomOptions, case: str = "phantom_001") -> tuple[Image, Image, dict[str, object]]:
    """First and second image of a case, and what the truth file tells of it."""
    raw = write_phantom(folder / "phantom", options)
    first, second = (read_image(raw / "imagesTr" / f"{case}_{channel:04d}.nii.gz") for channel in (0, 1))
    return first, second, json.loads((raw / "phantom.json").read_text())["cases"][case]


def seen_at(image: Image, world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Voxels of ``image`` nearest to world positions (n, 3), and which of them lie in its field of view."""
    index = np.c_[world, np.ones(len(world))] @ np.linalg.inv(image.geometry.affine()).T
    nearest = np.rint(index[:, :3]).astype(int)
    inside = ((nearest >= 0) & (nearest < image.geometry.shape)).all(axis=1)
    return image.voxels[tuple(np.where(inside[:, None], nearest, 0).T)], inside


def body_overlap(first: Image, second: Image, rigid: Rigid) -> tuple[float, float]:
    """Dice of the two bodies where both see, and the share of the first image that the second covers."""
    index = np.indices(first.geometry.shape).reshape(3, -1).T
    world = np.c_[index, np.ones(len(index))] @ (rigid.affine() @ first.geometry.affine()).T
    other, inside = seen_at(second, world[:, :3])
    one, two = first.voxels.ravel()[inside] > 0, other[inside] > 0
    return 2 * (one & two).sum() / (one.sum() + two.sum()), float(inside.mean())


@pytest.mark.parametrize(
    ("changes", "least_cover"),
    [
        ({"rotated_degrees": 40.0, "shift_mm": 5.0}, 0.6),
        ({"coarse": 3.0}, 0.99),
        ({"coarse": 2.5, "narrow": 0.6}, 0.58),
        ({"turned": True}, 1.0),
        ({"turned": True, "coarse": 2.0, "narrow": 0.7, "rotated_degrees": 20.0, "shift_mm": 3.0}, 0.5),
        ({"dimensions": 2, "turned": True, "coarse": 2.0, "rotated_degrees": 60.0, "shift_mm": 6.0}, 0.6),
    ],
    ids=["rotated", "coarse", "narrow", "turned", "everything", "slices"],
)
def test_the_truth_brings_modalities_together(changes: dict[str, object], least_cover: float, tmp_path: Path) -> None:
    options = replace(SMALL, **changes)  # type: ignore[arg-type]
    first, second, told = drawn(tmp_path, options)
    z, y, x = told["shift_mm"][1]  # type: ignore[index]
    rigid = Rigid(shift_mm=(x, y, z))
    if options.rotated_degrees:
        rigid = Rigid.model_validate_json(json.dumps(told["rigid"][1]))  # type: ignore[index]
        assert 0 < rigid.degrees <= options.rotated_degrees
    agreement, cover = body_overlap(first, second, rigid)
    assert agreement > 0.93
    assert least_cover <= cover < 1.0 + 1e-9
    if options.rotated_degrees or options.shift_mm:
        assert body_overlap(first, second, Rigid())[0] < agreement - 0.01


def test_coarse_and_narrow_are_as_asked(tmp_path: Path) -> None:
    options = replace(SMALL, coarse=4.0, narrow=0.5, turned=True)
    _, second, told = drawn(tmp_path, options)
    assert second.geometry.shape == (9, 4, 10)  # x, z, y
    assert second.geometry.spacing_mm == pytest.approx((6.0, 8.0, 4.0))
    np.testing.assert_allclose(second.geometry.direction, [[-1, 0, 0], [0, 0, 1], [0, 1, 0]], atol=1e-6)
    grid = told["grids"][1]  # type: ignore[index]
    assert second.geometry.same_grid(
        Geometry(
            tuple(grid["shape"]),
            tuple(grid["spacing_mm"]),
            tuple(grid["origin_mm"]),
            tuple(map(tuple, grid["direction"])),
        )
    )


def test_a_coarse_voxel_is_the_mean_of_what_it_replaces(tmp_path: Path) -> None:
    _, fine, _ = drawn(tmp_path / "a", SMALL)
    _, coarse, _ = drawn(tmp_path / "b", replace(SMALL, coarse=2.0))
    z, y, x = coarse.geometry.shape
    blocks = fine.voxels.reshape(z, 2, y, 2, x, 2).astype(float)
    full = (blocks > 0).all(axis=(1, 3, 5))
    np.testing.assert_allclose(coarse.voxels[full], blocks.mean(axis=(1, 3, 5))[full], atol=0.51)
    assert not coarse.voxels[(blocks == 0).all(axis=(1, 3, 5))].any()


def test_the_rest_of_a_case_does_not_depend_on_these_options(tmp_path: Path) -> None:
    plain = replace(SMALL, noise=0.2, scribbles=0.05)
    one = write_phantom(tmp_path / "one", plain)
    other = write_phantom(tmp_path / "other", replace(plain, coarse=2.0, narrow=0.7, rotated_degrees=9.0, turned=True))
    for name in (
        "imagesTr/phantom_002_0000.nii.gz",
        "labelsTr/phantom_002.nii.gz",
        "labelsTr_dense/phantom_001.nii.gz",
    ):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    assert (one / "imagesTr/phantom_002_0001.nii.gz").read_bytes() != (
        other / "imagesTr/phantom_002_0001.nii.gz"
    ).read_bytes()


def test_plain_phantoms_are_recorded_as_ever(tmp_path: Path) -> None:
    raw = write_phantom(tmp_path / "plain", SMALL)
    truth = json.loads((raw / "phantom.json").read_text())
    assert not set(NEW) & set(truth["options"])
    assert set(truth["cases"]["phantom_001"]) == {"subject", "shift_mm", "present"}
    with pytest.raises(UsageError, match="something else"):
        write_phantom(raw, replace(SMALL, turned=True))


def test_masks_have_a_grid_even_where_modalities_are_missing(tmp_path: Path) -> None:
    raw = write_phantom(tmp_path / "phantom", replace(SMALL, cases=8, missing=0.6, coarse=2.0, modalities=3))
    for label in (raw / "labelsTr").iterdir():
        assert (raw / "imagesTr" / label.name.replace(".nii.gz", "_0000.nii.gz")).exists()
    assert len(list((raw / "imagesTr").iterdir())) < 24


@pytest.mark.parametrize("changes", [{"coarse": 0.5}, {"coarse": 9.0}, {"narrow": 0.0}, {"rotated_degrees": -1.0}])
def test_views_that_make_no_sense_are_named(changes: dict[str, float], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=next(iter(changes))):
        write_phantom(tmp_path / "phantom", replace(SMALL, **changes))
