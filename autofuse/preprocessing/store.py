"""Prepared cases on disk, one folder each, whole or absent, every file with a checksum.

<store>/<case>/
    case.json         what it is, where it came from, CRC-32 of the other files
    images.b2nd       (M, z, y, x) float16 (float32 where float16 would overflow); NaN outside a field of view
    label.b2nd        (z, y, x) int16 class indices with IGNORE; absent for an unlabelled case; (M, z, y, x) where
                          modalities carry masks of their own, all IGNORE for one without a mask
    foreground.npy    (n, 4) int16: class index, z, y, x of sampled labelled voxels, of any mask
    prior-<run>.b2nd  (z, y, x) int8 masks of a cascade's earlier stage, or of teachers (int16 beyond class 127), with
                          prior-<run>.json for its CRC-32
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from autofuse.alignment.types import Rigid
from autofuse.fingerprint.types import Annotation
from autofuse.foundation.errors import AutofuseError, DataError
from autofuse.foundation.files import TEMP_PREFIX, crc32_of_file, folder_atomically, sweep_temps, write_atomically
from autofuse.foundation.values import StoredValue, is_empty, short_hash
from autofuse.preprocessing.arrays import read_array, write_array
from autofuse.preprocessing.labelled_voxels import class_voxels, sampled_of_all
from autofuse.preprocessing.placement import Placement
from autofuse.preprocessing.prepare import PreparedCase

RECORD = "case.json"
IMAGES, LABEL, FOREGROUND = "images.b2nd", "label.b2nd", "foreground.npy"
_HALF_LIMIT = 30_000.0
"""Larger values are stored as float32: float16 ends at 65504."""
_LONGEST_NAME = 150

Box = tuple[slice, slice, slice]


class CaseRecord(StoredValue):
    """What is known about a prepared case without opening its arrays.

    Attributes:
        preparation: hash of everything in the plan that the arrays depend on.
        source_stamp: of the raw files when they were read.
        shape: prepared (z, y, x) after transpose.
        class_voxels: labelled voxels per class index, background first, of all masks; empty for an unlabelled case.
        files: CRC-32 of each file beside this one.
        partial_view: whether a modality that is there does not see all of the grid; it is NaN where it does not.
        rigids: per modality what brought it onto the reference; None where nothing did.
        annotations: where modalities carry masks of their own, how each is annotated; () otherwise.
    """

    kind: ClassVar[str] = "prepared_case"

    id: str
    preparation: str
    source_stamp: str
    shape: tuple[int, int, int]
    present: tuple[bool, ...]
    annotation: Annotation
    placement: Placement
    class_voxels: tuple[int, ...]
    files: dict[str, int]
    partial_view: bool = False
    rigids: tuple[Rigid | None, ...] = ()
    annotations: tuple[Annotation, ...] = Field(default=(), exclude_if=is_empty)


class PriorRecord(StoredValue):
    """Checksum of masks that models made of one case for others to learn from, and the run that predicted them."""

    kind: ClassVar[str] = "prior"

    run: str
    crc32: int


@dataclass(frozen=True)
class StoredCase:
    """A prepared case whose arrays stay on disk; any box can be read without the rest."""

    folder: Path
    record: CaseRecord

    @property
    def id(self) -> str:
        """Name of the case."""
        return self.record.id

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels per axis, prepared."""
        return self.record.shape

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size per axis, prepared."""
        return self.record.placement.prepared_spacing_mm

    @property
    def present(self) -> NDArray[np.bool_]:
        """(M,) which modalities the case has."""
        return np.array(self.record.present, dtype=np.bool_)

    @property
    def placement(self) -> Placement:
        """The way back to the raw grid."""
        return self.record.placement

    @property
    def annotation(self) -> Annotation:
        """Whether the label is absent, sparse or dense."""
        return self.record.annotation

    @property
    def whole(self) -> Box:
        """The box of everything."""
        return slice(0, self.shape[0]), slice(0, self.shape[1]), slice(0, self.shape[2])

    def read(self, box: Box | None = None) -> tuple[NDArray[np.float32], NDArray[np.int16] | None]:
        """Images (M, *box) and label (*box) inside ``box``, or all of it; no label for an unlabelled case, labels
        (M, *box) where modalities carry masks of their own.

        Images are NaN where a modality that is there sees nothing (``CaseRecord.partial_view``).

        Raises:
            DataError: if a file cannot be decompressed.
        """
        box = self.whole if box is None else box
        label = None if self.annotation == "none" else self._part(LABEL, box).astype(np.int16, copy=False)
        return self.read_images(box), label

    def read_images(self, box: Box) -> NDArray[np.float32]:
        """Images (M, *box); NaN where a modality that is there sees nothing.

        Raises:
            DataError: if the file cannot be decompressed.
        """
        # torch converts half precision 20 times as fast as numpy.
        images: NDArray[np.float32] = torch.from_numpy(self._part(IMAGES, box)).float().numpy()
        return images

    def read_prior(self, run: str, box: Box | None = None) -> NDArray[np.integer]:
        """Class indices (*box) that ``run`` predicted for this case, ``IGNORE`` where it was not sure."""
        indices: NDArray[Any] = self._part(f"prior-{run}.b2nd", self.whole if box is None else box)
        return indices

    @cached_property
    def foreground(self) -> Mapping[int, NDArray[np.int16]]:
        """Coordinates (n, 3) of sampled voxels by class index; background only where labels are sparse."""
        if self.annotation == "none":
            return {}
        try:
            rows = np.load(self.folder / FOREGROUND, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise self._unreadable(FOREGROUND, error) from error
        return {int(value): rows[rows[:, 0] == value, 1:] for value in np.unique(rows[:, 0])}

    def _part(self, name: str, box: Box) -> NDArray[np.generic]:
        try:
            return read_array(self.folder / name, box)
        except (OSError, RuntimeError, ValueError) as error:
            raise self._unreadable(name, error) from error

    def _unreadable(self, name: str, error: Exception) -> DataError:
        return DataError(
            "A prepared file of this case cannot be read.",
            case=self.id,
            file=self.folder / name,
            found=str(error)[:200],
            remedy="Run `autofuse preprocess` again; it makes this case anew.",
        )


class Store:
    """All prepared cases of one configuration. Building it reads nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._opened: dict[str, StoredCase] = {}

    @property
    def case_ids(self) -> tuple[str, ...]:
        """Ids of the cases whose record is valid, sorted."""
        found = []
        for path in sorted(self.folder.glob(f"*/{RECORD}")):
            if not path.parent.name.startswith(TEMP_PREFIX):
                try:
                    found.append(CaseRecord.load(path).id)
                except AutofuseError:
                    continue
        return tuple(sorted(found))

    def case_folder(self, case_id: str) -> Path:
        """Where the case stands, or would."""
        return self.folder / _folder_name(case_id)

    def open(self, case_id: str) -> StoredCase:
        """The case, its arrays still on disk; the same object each time.

        Raises:
            ModelError: if it was not prepared, or its record is damaged.
        """
        if case_id not in self._opened:
            folder = self.case_folder(case_id)
            self._opened[case_id] = StoredCase(folder, CaseRecord.load(folder / RECORD))
        return self._opened[case_id]

    def damaged(self, case_ids: Sequence[str], threads: int = 4) -> dict[str, str]:
        """What is wrong, by case id, for those cases that are missing or whose files fail their checksums."""
        with ThreadPoolExecutor(threads) as pool:
            findings = pool.map(self._finding, case_ids)
            return {case_id: finding for case_id, finding in zip(case_ids, findings, strict=True) if finding}

    def verify(self, case_ids: Sequence[str]) -> None:
        """Check every file of the cases against its checksum.

        Raises:
            DataError: naming all cases that are missing or damaged.
        """
        found = self.damaged(case_ids)
        if found:
            raise DataError(
                f"{len(found)} of {len(case_ids)} prepared cases are missing or damaged.",
                case=", ".join(found),
                file=self.folder,
                found="; ".join(f"{case_id}: {finding}" for case_id, finding in list(found.items())[:8]),
                remedy="Run `autofuse preprocess` again; it makes these cases anew.",
            )

    def _finding(self, case_id: str) -> str | None:
        folder = self.case_folder(case_id)
        try:
            record = CaseRecord.load(folder / RECORD)
        except AutofuseError as error:
            return error.problem
        checksums = dict(record.files)
        for sidecar in folder.glob("prior-*.json"):
            try:
                checksums[f"{sidecar.stem}.b2nd"] = PriorRecord.load(sidecar).crc32
            except AutofuseError as error:
                return error.problem
        for name, expected in checksums.items():
            try:
                if crc32_of_file(folder / name) != expected:
                    return f"{name} was changed after it was written"
            except OSError as error:
                return f"{name}: {error.strerror}"
        return None

    def write(self, case: PreparedCase, *, preparation: str, source_stamp: str, dimensions: int) -> None:
        """Put ``case`` in its folder, replacing what is there, whole or not at all."""
        with folder_atomically(self.case_folder(case.id)) as temp:
            # Images beyond float16's range (no normalisation was planned) keep float32.
            images = torch.from_numpy(case.images)
            low, high = (images.nan_to_num() if case.partial_view else images).aminmax()
            fits = max(-low, high) < _HALF_LIMIT
            write_array(temp / IMAGES, (images.half() if fits else images).numpy(), dimensions)
            counts: tuple[int, ...] = ()
            if case.label is not None:
                write_array(temp / LABEL, case.label, dimensions)
                counts = class_voxels(case)
                np.save(temp / FOREGROUND, sampled_of_all(case), allow_pickle=False)
            CaseRecord(
                id=case.id,
                preparation=preparation,
                source_stamp=source_stamp,
                shape=case.placement.prepared_shape,
                present=tuple(bool(flag) for flag in case.present),
                annotation=case.annotation,
                placement=case.placement,
                class_voxels=counts,
                files={file.name: crc32_of_file(file) for file in sorted(temp.iterdir())},
                partial_view=case.partial_view,
                rigids=case.rigids,
                annotations=case.annotations,
            ).save(temp / RECORD)
        self._opened.pop(case.id, None)

    def write_prior(self, case_id: str, run: str, labels: NDArray[np.integer], dimensions: int = 3) -> None:
        """Keep the class indices (z, y, x) that ``run`` predicted for this case, for those that learn from them."""
        folder = self.case_folder(case_id)
        sweep_temps(folder)
        path = folder / f"prior-{run}.b2nd"
        (folder / f"prior-{run}.json").unlink(missing_ok=True)
        kind = np.int8 if labels.max(initial=0) <= np.iinfo(np.int8).max else np.int16
        write_atomically(path, lambda temp: write_array(temp, labels.astype(kind), dimensions))
        PriorRecord(run=run, crc32=crc32_of_file(path)).save(folder / f"prior-{run}.json")


def _folder_name(case_id: str) -> str:
    """The id itself wherever a file system takes it; what is too long, hidden or a path gets a hash of it."""
    plain = len(case_id.encode()) <= _LONGEST_NAME and not case_id.startswith(".")
    if plain and case_id and not any(sign in case_id for sign in "/\\\0"):
        return case_id
    safe = "".join(sign if sign.isalnum() else "_" for sign in case_id)[:40]
    return f"{safe}-{short_hash(case_id)}"
