"""The images and the label of one case as they are stored, read and found to fit together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autofuse.dataset.grids import (
    SILENT_GAP,
    TOLERATED_GAP,
    describe,
    differences,
    grid_gap,
    on_one_grid,
    same_grid,
)
from autofuse.dataset.label_codes import encode_labels
from autofuse.dataset.places import place_images
from autofuse.dataset.types import IGNORE, Case, Dataset, ImageFile
from autofuse.foundation.errors import AutofuseError, DataError
from autofuse.images.geometry import Geometry

if TYPE_CHECKING:
    from autofuse.images.image import Image

MAX_INTENSITY = 1e18
"""Larger intensities overflow single precision when they are squared."""


@dataclass(frozen=True)
class RawCase:
    """One case in memory, every image on its native grid.

    Attributes:
        case: what was read.
        images: per modality (z, y, x) with its own geometry, or None where the case lacks it.
        label: (z, y, x) int16 class indices, IGNORE where nobody labelled; None for an unlabelled case, and where
            modalities carry masks of their own.
        geometry: the reference grid, on which the label lies and masks are written.
        warnings: what was odd but could be used.
        reference: the channel whose grid it is; None where nothing says so and all images lie on it.
        labels: where modalities carry masks of their own, per modality its label, as ``label`` but on the grid of that
            modality's image; None where it has none. () otherwise, and where labels were not read.
    """

    case: Case
    images: tuple[Image | None, ...]
    label: NDArray[np.int16] | None
    geometry: Geometry
    warnings: tuple[str, ...] = ()
    reference: int | None = None
    labels: tuple[NDArray[np.int16] | None, ...] = ()

    @property
    def masks(self) -> tuple[NDArray[np.int16], ...]:
        """All its label maps: one for all modalities, or those that modalities have."""
        return tuple(label for label in (self.label, *self.labels) if label is not None)

    @property
    def shown_label(self) -> NDArray[np.int16] | None:
        """A label on the reference grid, for pictures: the one for all, or that of the reference modality."""
        return self.labels[self.reference] if self.labels and self.reference is not None else self.label

    def on_reference(self, channel: int) -> bool:
        """Whether a modality is there and lies on the reference grid."""
        image = self.images[channel]
        return image is not None and same_grid(image.geometry, self.geometry)


def load_case(dataset: Dataset, case: Case, *, with_label: bool = True, reference: int | None = None) -> RawCase:
    """The images (and the label) of a case, finite, with declared label values only.

    The reference grid is that of the modality on which the case's label lies; of an unlabelled case, and where
    modalities carry masks of their own, that of channel ``reference``, else of the one that the data set names, else of
    the first that is there. Modalities on other grids stay on them, and so do their masks.

    Raises:
        DataError: naming case and file, if a file is damaged or the parts do not fit together.
    """
    files = CaseFiles(dataset, case)
    if len(case.images) != len(dataset.modalities):
        raise DataError(
            "The case has another number of channels than the data set.",
            case=case.id,
            found=", ".join(image.path for image in case.images if image is not None),
            expected=f"{len(dataset.modalities)}: " + ", ".join(item.name for item in dataset.modalities),
            remedy="Keep the files of those channels only, numbered from _0000 in that order.",
        )
    images = tuple(files.image(channel) for channel in range(len(case.images)))
    present = [image for image in images if image is not None]
    if not present:
        raise DataError("The case has no image at all.", case=case.id, remedy="Add its images or remove the case.")
    warnings = [text for image in present for text in image.warnings]
    geometries = tuple(None if image is None else image.geometry for image in images)
    label, grid = None, None
    odd: tuple[str, ...] = ()
    if with_label and case.label is not None:
        label, grid, odd = files.label(case.label)
    elif case.label is not None and not on_one_grid(geometries):
        grid = files.label_grid(case.label)
    places = place_images(files, geometries, grid, dataset.reference if reference is None else reference)
    warnings += [*places.warnings, *odd]
    if label is not None:
        warnings += files.fit(grid or places.geometry, places.geometry, "The label", case.label or "")
        if not (label != IGNORE).any():
            warnings.append("every voxel of the label is ignored: the case teaches nothing")
    labels: tuple[NDArray[np.int16] | None, ...] = ()
    if with_label and case.labels:
        labels, odd = _own_labels(files, geometries)
        warnings += odd
    return RawCase(case, images, label, places.geometry, tuple(dict.fromkeys(warnings)), places.channel, labels)


def _own_labels(
    files: CaseFiles, geometries: tuple[Geometry | None, ...]
) -> tuple[tuple[NDArray[np.int16] | None, ...], tuple[str, ...]]:
    """The label of each modality, on the grid of its image, or None; and what was odd about them."""
    labels: list[NDArray[np.int16] | None] = []
    warnings: list[str] = []
    for channel, (path, geometry) in enumerate(zip(files.case.labels, geometries, strict=True)):
        labels.append(None)
        if path is None or geometry is None:
            continue
        label, odd = files.own_label(channel, path, geometry)
        labels[-1] = label
        warnings += odd
        if not (label != IGNORE).any():
            warnings.append(f"every voxel of the label of {files.dataset.modalities[channel].name} is ignored")
    return tuple(labels), tuple(warnings)


def load_truth(dataset: Dataset, case: Case) -> tuple[NDArray[np.int16], Geometry] | None:
    """What a case's one mask is judged by: its evaluation label, else its label, as class indices; None without.

    Raises:
        DataError: naming case and file, if the file is damaged or has undeclared values.
    """
    path = case.truths.get(case.id)
    if path is None:
        return None
    label, geometry, _ = CaseFiles(dataset, case).label(path)
    return label, geometry


class CaseFiles:
    """Reads the files of one case; a file that holds several modalities is read once."""

    def __init__(self, dataset: Dataset, case: Case) -> None:
        self.dataset = dataset
        self.case = case
        self._read: dict[str, Image] = {}

    def name(self, channel: int) -> str:
        """The modality's name, as a message begins with it."""
        return f"Channel {channel}, {self.dataset.modalities[channel].name},"

    def file(self, channel: int) -> str:
        """The relative path of a channel's file; empty where the case lacks it."""
        image = self.case.images[channel]
        return "" if image is None else image.path

    def image(self, channel: int) -> Image | None:
        """One modality, (z, y, x), or None where the case lacks it.

        Raises:
            DataError: if the file is damaged, has another number of components, or intensities that cannot be used.
        """
        source = self.case.images[channel]
        if source is None:
            return None
        from autofuse.images import read_image

        path = self.dataset.path(source.path)
        if source.path not in self._read:
            with _named(self.case.id):
                self._read[source.path] = read_image(path)
        image = self._component(self._read[source.path], source)
        _check_intensities(image.voxels, self.case.id, str(path))
        return image

    def label(self, relative: str) -> tuple[NDArray[np.int16], Geometry, tuple[str, ...]]:
        """A label map as class indices (z, y, x), its grid, and what was odd about the file.

        Raises:
            DataError: if the file is damaged, has values that are no labels, or undeclared ones.
        """
        from autofuse.images import read_label_image

        path = self.dataset.path(relative)
        with _named(self.case.id, str(path)):
            image = read_label_image(path)
            return encode_labels(image.voxels, self.dataset.labels), image.geometry, image.warnings

    def own_label(self, channel: int, relative: str, grid: Geometry) -> tuple[NDArray[np.int16], tuple[str, ...]]:
        """The label map of one modality, found to lie on the grid of its image, and what was odd about it.

        Raises:
            DataError: as ``label``, and naming the modality if it lies on another grid.
        """
        name = self.dataset.modalities[channel].name
        label, found, odd = self.label(relative)
        gap = grid_gap(found, grid) if found.shape == grid.shape else float("inf")
        if gap > TOLERATED_GAP:
            raise DataError(
                f"The label of {name} does not lie on the grid of its image: {differences(found, grid)} differ.",
                case=self.case.id,
                file=self.dataset.path(relative),
                found=describe(found),
                expected=describe(grid),
                remedy=f"Resample the label onto the grid of the {name} image (by nearest neighbour); "
                "if only a header is wrong, correct it.",
            )
        beside = f"the label of {name} lies {gap:.2g} voxels beside its image's grid; taken as the same grid"
        return label, (*(f"{name}: {text}" for text in odd), *((beside,) if gap > SILENT_GAP else ()))

    def label_grid(self, relative: str) -> Geometry:
        """The grid of a label map, without reading its voxels.

        Raises:
            DataError: if the file's header is damaged.
        """
        from autofuse.images import read_header

        path = self.dataset.path(relative)
        with _named(self.case.id, str(path)):
            return read_header(path).geometry

    def fit(self, found: Geometry, reference: Geometry, what: str, file: str) -> tuple[str, ...]:
        """Nothing if two grids are the same, a warning if their headers jitter.

        Raises:
            DataError: if they are different grids.
        """
        gap = grid_gap(found, reference) if found.shape == reference.shape else float("inf")
        if gap <= SILENT_GAP:
            return ()
        if gap <= TOLERATED_GAP:
            return (f"{what} lies {gap:.2g} voxels beside the case's reference grid; taken as the same grid",)
        raise DataError(
            f"{what} lies on the grid of none of the case's images: {differences(found, reference)} differ.",
            case=self.case.id,
            file=self.dataset.path(file),
            found=describe(found),
            expected=describe(reference),
            remedy="Resample the label onto the grid of one of the case's images (by nearest neighbour); "
            "if only a header is wrong, correct it.",
        )

    def _component(self, image: Image, source: ImageFile) -> Image:
        """The wanted component; the file must hold as many as the case takes from it."""
        held = image.voxels.shape[0] if image.voxels.ndim == 4 else 1
        wanted = sum(other is not None and other.path == source.path for other in self.case.images)
        if held != wanted or (source.component or 0) >= held:
            raise DataError(
                "The file holds another number of images (channels, components or time points) than it should.",
                case=self.case.id,
                file=self.dataset.path(source.path),
                found=f"{held}, voxels {' x '.join(map(str, image.voxels.shape))}",
                expected=f"{wanted}",
                remedy="Save one 3-D image per channel, or declare as many channels as the file holds.",
            )
        if image.voxels.ndim == 4:
            return replace(image, voxels=image.voxels[source.component or 0])
        return image


def _check_intensities(voxels: NDArray[Any], case: str, file: str) -> None:
    # NaN and infinity travel through minimum and maximum, so no mask of the whole image is needed.
    low, high = float(voxels.min()), float(voxels.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(
            "The image has voxels that are not finite numbers.",
            case=case,
            file=file,
            found=f"{int((~np.isfinite(voxels)).sum())} of {voxels.size} voxels",
            remedy="Find out what they stand for and replace them (often: outside the field of view, 0).",
        )
    if max(-low, high) > MAX_INTENSITY:
        raise DataError(
            "The image has intensities that no arithmetic survives.",
            case=case,
            file=file,
            found=f"{low:.3g} to {high:.3g}",
            expected=f"at most {MAX_INTENSITY:g}",
            remedy="Find out what these voxels stand for and replace them.",
        )


@contextmanager
def _named(case: str, file: str | None = None) -> Iterator[None]:
    """Adds the case (and the file) to errors raised inside the block."""
    try:
        yield
    except AutofuseError as error:
        error.case = error.case or case
        error.file = error.file or file
        raise
