"""Data sets whose second modality lies elsewhere, with a mask of its own, and copies of them with one mask a case."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from autofuse.dataset.opening import open_dataset
from autofuse.dataset.raw import load_case
from autofuse.dataset.types import Dataset
from autofuse.images import read_label_image, write_image, write_labels
from autofuse.phantom.anatomy import random_warp, smooth_field
from autofuse.phantom.options import PhantomOptions

ENDING = ".nii.gz"
Field = NDArray[np.float64]


@dataclass(frozen=True)
class Move:
    """How far one modality of each case is moved: a random shift of this length, a random rotation of at most so many
    degrees about the centre, and a smooth random warp of this standard deviation along each axis."""

    shift_mm: float = 8.0
    rotated_degrees: float = 8.0
    warped_mm: float = 2.0

    def __str__(self) -> str:
        return f"shift{self.shift_mm:g}_rotated{self.rotated_degrees:g}_warped{self.warped_mm:g}"


def places(random: np.random.Generator, shape: Sequence[int], spacing_mm: Sequence[float], move: Move) -> Field:
    """(3, z, y, x): where each voxel of the moved image is taken from, in voxels of the one that is there."""
    size, step = np.asarray(shape), np.asarray(spacing_mm)
    axis, angle = random.standard_normal(3), np.radians(random.uniform(-1, 1) * move.rotated_degrees)
    direction = random.standard_normal(3)
    shift = direction / np.linalg.norm(direction) * move.shift_mm
    cross = np.cross(np.eye(3), axis / np.linalg.norm(axis))
    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    grid = np.stack(np.meshgrid(*(np.arange(count) for count in shape), indexing="ij")).astype(float)
    middle = ((size - 1) / 2).reshape(3, 1, 1, 1)
    mm = (grid - middle) * step.reshape(3, 1, 1, 1)
    turned = np.tensordot(rotation, mm, axes=(1, 0)) - shift.reshape(3, 1, 1, 1)
    if move.warped_mm:
        turned += warp_mm(random, shape, spacing_mm, move.warped_mm)
    found: Field = turned / step.reshape(3, 1, 1, 1) + middle
    return found


def warp_mm(
    random: np.random.Generator, shape: Sequence[int], spacing_mm: Sequence[float], size_mm: float
) -> NDArray[np.float64]:
    """(3, z, y, x): a smooth random displacement, its standard deviation along each axis about ``size_mm``."""
    options = PhantomOptions(shape=tuple(shape), spacing_mm=tuple(spacing_mm))
    points = tuple((2 * np.arange(count) + 1) / count - 1 for count in shape)
    half_mm = np.asarray(shape) * np.asarray(spacing_mm) / 2
    parts = zip(random_warp(random, options, size_mm), half_mm, strict=True)
    return np.stack([smooth_field(part, points) * half for part, half in parts])


def moved_copy(source: Path, folder: Path, seed: int, move: Move, channel: int = 1) -> Path:
    """A copy of a data set (one grid a case) in which one modality of every case lies elsewhere, as ``move`` says, and
    each modality has a mask of its own. Made once; a case is moved alike in every copy of the same seed."""
    copy = folder / f"{source.name}_{move}_seed{seed}"
    return _made(copy, lambda part: _write_moved(open_dataset(source), part, seed, move, channel))


def _write_moved(dataset: Dataset, part: Path, seed: int, move: Move, channel: int) -> None:
    for number, case in enumerate(dataset.cases):
        raw = load_case(dataset, case)
        where = places(np.random.default_rng([seed, number]), raw.geometry.shape, raw.geometry.spacing_mm, move)
        for k, image in enumerate(raw.images):
            assert image is not None and raw.on_reference(k), "this copy is of data sets with all images on one grid"
            voxels = map_coordinates(image.voxels.astype(np.float32), where, order=1) if k == channel else image.voxels
            write_image(part / "imagesTr" / f"{case.id}_{k:04d}{ENDING}", voxels, image.geometry)
        if case.label is None:
            continue
        label = read_label_image(dataset.path(case.label))
        for k in range(len(raw.images)):
            own = map_coordinates(label.voxels, where, order=0) if k == channel else label.voxels
            write_labels(part / "labelsTr" / f"{case.id}_{k:04d}{ENDING}", own, label.geometry)
    said = json.loads((Path(dataset.root) / "dataset.json").read_text())
    _describe(
        part, said | {"file_ending": ENDING, "autofuse": said.get("autofuse", {}) | {"labels_per_modality": True}}
    )


def with_masks_of(raw: Path, channel: int, folder: Path) -> Path:
    """A copy of a data set with masks of each modality in which those of one are the labels of all. Made once."""
    return _made(folder / f"{raw.name}_masks{channel}", lambda part: _write_masks_of(raw, channel, part))


def alone(raw: Path, channel: int, folder: Path) -> Path:
    """A copy of a data set with masks of each modality in which there is one modality, with its masks. Made once."""

    def write(part: Path) -> None:
        _write_masks_of(raw, channel, part)
        said = json.loads((part / "dataset.json").read_text())
        for path in sorted(part.glob(f"images*/*{ENDING}")):
            if path.name.endswith(f"_{channel:04d}{ENDING}"):
                path.rename(path.with_name(path.name.replace(f"_{channel:04d}{ENDING}", f"_alone{ENDING}")))
            else:
                path.unlink()
        for path in sorted(part.glob(f"images*/*_alone{ENDING}")):
            path.rename(path.with_name(path.name.replace(f"_alone{ENDING}", f"_0000{ENDING}")))
        _describe(part, said | {"channel_names": {"0": said["channel_names"][str(channel)]}})

    return _made(folder / f"{raw.name}_alone{channel}", write)


def _write_masks_of(raw: Path, channel: int, part: Path) -> None:
    for path in sorted(raw.glob(f"*/*{ENDING}")):
        target = part / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.parent.name.startswith("images"):
            shutil.copyfile(path, target)
        elif path.name.endswith(f"_{channel:04d}{ENDING}"):
            shutil.copyfile(path, target.with_name(path.name.replace(f"_{channel:04d}{ENDING}", ENDING)))
    said = json.loads((raw / "dataset.json").read_text())
    extensions = {key: value for key, value in said.pop("autofuse", {}).items() if key != "labels_per_modality"}
    _describe(part, said | ({"autofuse": extensions} if extensions else {}))


def _describe(part: Path, content: dict[str, object]) -> None:
    (part / "dataset.json").write_text(json.dumps(content, indent=1) + "\n")


def _made(copy: Path, write: Callable[[Path], None]) -> Path:
    """``copy``, written aside first, so that a copy under its name is whole."""
    if not copy.exists():
        part = copy.with_name(f"{copy.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        write(part)
        part.rename(copy)
    return copy


def spread_mm(raw: Path) -> list[float]:
    """Per case, the distance between the centres of both masks, in mm: how far what is sought lies apart."""
    found = []
    for first in sorted((raw / "labelsTr").glob(f"*_0000{ENDING}")):
        centres = []
        for name in (first.name, first.name.replace("_0000", "_0001")):
            label = read_label_image(first.with_name(name))
            centres.append(np.argwhere(label.voxels > 0).mean(0) * label.geometry.spacing_mm)
        found.append(float(np.linalg.norm(centres[0] - centres[1])))
    return found
