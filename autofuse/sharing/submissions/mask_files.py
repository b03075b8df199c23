"""Masks as a folder or a zip, named, typed and checked as file challenges want them: folder, brats, flare.

BraTS: one ``<case>.nii.gz`` a case, on the 240 x 240 x 155 grid of 1 mm that its images come on, values 0, 1, 2, 3
(since 2023) or 0, 1, 2, 4 (before); ids such as BraTS-GLI-00001-000. FLARE: one ``<case>.nii.gz`` a case, 8-bit, on the
image's own grid.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from autofuse.dataset.types import Case
from autofuse.foundation.console import progress
from autofuse.foundation.errors import AutofuseError, UsageError
from autofuse.foundation.files import folder_atomically
from autofuse.images import SUPPORTED_ENDINGS, Geometry, read_header, read_label_image, write_labels
from autofuse.sharing.submissions.archive import write_zip
from autofuse.sharing.submissions.mask_check import case_grids, mask_faults, mask_values
from autofuse.sharing.submissions.target import Material, refuse

NIFTI = ".nii.gz"
_INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "int64")
_REMEDY = "Predict these cases again, or mend the masks; nothing was written."


@dataclass(frozen=True)
class Folder:
    """Masks in a folder, or a zip where the name that is given ends so.

    Attributes:
        ending: of the masks; None for that of the data set.
    """

    takes: ClassVar[Literal["masks", "model"]] = "masks"

    ending: str | None = None

    def faults(self, material: Material) -> Sequence[str]:
        """What is wrong with the data set's labels, names and grids before anything is predicted."""
        if self.ending is not None and self.ending not in SUPPORTED_ENDINGS:
            raise UsageError("Masks cannot have this ending.", found=self.ending, expected=", ".join(SUPPORTED_ENDINGS))
        return ()

    def place(self, name: str) -> str:
        """A folder."""
        return name

    def values(self, material: Material) -> tuple[int, ...]:
        """That masks may hold."""
        return mask_values(material.dataset.labels)

    def stored_as(self) -> tuple[str, ...]:
        """Types of voxels that the challenge takes; masks of another one are written anew in the first that fits."""
        return _INTEGERS

    def grid_fault(self, grid: Geometry) -> str | None:
        """What is wrong with the grid of an image."""
        return None

    def write(self, material: Material, out: Path) -> Sequence[str]:
        """All masks, checked; a zip where ``out`` ends so, else a folder."""
        with _gathered(self, material) as files:
            if out.suffix == ".zip":
                write_zip(out, files)
            else:
                with folder_atomically(out) as temp:
                    for name, source in files.items():
                        shutil.copyfile(source, temp / name)
        return ()


@dataclass(frozen=True)
class Brats(Folder):
    """A zip for the BraTS challenges."""

    ending: str | None = NIFTI

    def faults(self, material: Material) -> Sequence[str]:
        """Labels, ids and grids that BraTS has not."""
        values = set(mask_values(material.dataset.labels))
        faults = [] if values <= {0, 1, 2, 3} or values <= {0, 1, 2, 4} else [_labels_of_brats(values)]
        cases = material.dataset.test_cases
        modern = [case for case in cases if _MODERN.fullmatch(case.id)]
        for case in cases:
            if modern and case not in modern:
                faults.append(f"{case.id}: no id such as BraTS-GLI-00001-000, though others are")
        return faults + _grid_faults(self, material)

    def place(self, name: str) -> str:
        """A zip."""
        return f"{name}-brats.zip"

    def stored_as(self) -> tuple[str, ...]:
        """8 bits."""
        return ("uint8",)

    def grid_fault(self, grid: Geometry) -> str | None:
        """BraTS images are 240 x 240 x 155 voxels of 1 mm."""
        if grid.shape == (155, 240, 240) and np.allclose(grid.spacing_mm, 1.0, atol=1e-3):
            return None
        shape, spacing = " x ".join(map(str, grid.shape[::-1])), " x ".join(f"{mm:.4g}" for mm in grid.spacing_mm[::-1])
        return f"{shape} voxels of {spacing} mm; expected 240 x 240 x 155 of 1 x 1 x 1 mm"


@dataclass(frozen=True)
class Flare(Folder):
    """A zip for the FLARE challenges."""

    ending: str | None = NIFTI

    def faults(self, material: Material) -> Sequence[str]:
        """Labels that 8 bits do not hold."""
        large = [str(value) for value in mask_values(material.dataset.labels) if not 0 <= value <= 255]
        return [f"labels {', '.join(large)}; FLARE's masks have 8 bits"] if large else []

    def place(self, name: str) -> str:
        """A zip."""
        return f"{name}-flare.zip"

    def stored_as(self) -> tuple[str, ...]:
        """8 bits."""
        return ("uint8",)


_MODERN = re.compile(r"BraTS-[A-Za-z]+-\d{5}-\d{3}")


def _labels_of_brats(values: set[int]) -> str:
    return f"labels {', '.join(map(str, sorted(values)))}; BraTS has 0, 1, 2, 3 (since 2023) or 0, 1, 2, 4 (before)"


def _grid_faults(target: Folder, material: Material) -> list[str]:
    """Headers of the test cases' images, read; no voxel is."""
    faults = []
    for case in material.dataset.test_cases:
        try:
            grids = case_grids(material.dataset, case, material.reference)
        except AutofuseError as error:
            faults.append(f"{case.id}: {error.problem}")
            continue
        wrong = {fault for grid in grids if (fault := target.grid_fault(grid)) is not None}
        faults += [f"{case.id}: its images are {fault}" for fault in sorted(wrong)]
    return faults


@contextmanager
def _gathered(target: Folder, material: Material) -> Iterator[dict[str, Path]]:
    """The files of the submission by name, checked; those that are written anew vanish afterwards.

    Raises:
        DataError: listing every mask that is missing or must not be submitted.
    """
    cases, folder = material.dataset.test_cases, material.masks
    if folder is None:
        raise UsageError("This submission is made from masks, and there are none.")
    files: dict[str, Path] = {}
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="autofuse-submit-") as scratch:
        with progress("check masks", len(cases)) as advance:
            for case in cases:
                name = f"{case.id}{target.ending or material.dataset.file_ending}"
                try:
                    found, file = _one_mask(target, material, case, folder, Path(scratch) / name)
                except AutofuseError as error:
                    found, file = [f"{error.problem} {error.found or ''}".rstrip()], None
                faults += [f"{case.id}: {fault}" for fault in found]
                files |= {} if file is None else {name: file}
                advance(1, note=case.id)
        refuse(faults, "These masks cannot be submitted.", _REMEDY, folder)
        yield files


def _one_mask(
    target: Folder, material: Material, case: Case, folder: Path, fresh: Path
) -> tuple[list[str], Path | None]:
    """Faults of one case's mask, and the file to submit: as it is, or written anew to ``fresh`` in type or format."""
    source = folder / f"{case.id}{material.dataset.file_ending}"
    if not source.is_file():
        return ["there is no mask"], None
    grids = case_grids(material.dataset, case, material.reference)
    faults = mask_faults(source, grids, target.values(material), _INTEGERS)
    if faults:
        return faults, None
    if fresh.name == source.name and read_header(source).dtype.name in target.stored_as():
        return [], source
    mask = read_label_image(source)
    write_labels(fresh, mask.voxels, mask.geometry)
    return mask_faults(fresh, grids, target.values(material), target.stored_as()), fresh
