"""How the images of one case lie to each other: which grid is the reference, and what the others see of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autofuse.alignment.field_of_view import extent_in_words, overlap
from autofuse.dataset.grids import SILENT_GAP, grid_gap, on_one_grid, reference_channel, same_grid
from autofuse.foundation.errors import DataError
from autofuse.images.geometry import Geometry

if TYPE_CHECKING:
    from autofuse.dataset.raw import CaseFiles

LITTLE_OVERLAP = 0.5
"""A modality that covers a smaller share of the reference grid is pointed out."""


@dataclass(frozen=True)
class Places:
    """The reference grid of one case, the channel that carries it, and what is odd about the others."""

    channel: int
    geometry: Geometry
    warnings: tuple[str, ...] = ()


def place_images(
    files: CaseFiles, geometries: Sequence[Geometry | None], mask: Geometry | None, wanted: int | None
) -> Places:
    """The reference grid among ``geometries``, of which at least one is there; see ``reference_channel``.

    Raises:
        DataError: if a modality sees nothing of it.
    """
    places = choose_reference(files, geometries, mask, wanted)
    warnings = list(places.warnings)
    for channel, geometry in enumerate(geometries):
        if geometry is not None:
            warnings += look_at_place(files, channel, geometry, places)
    return Places(places.channel, places.geometry, tuple(warnings))


def choose_reference(
    files: CaseFiles, geometries: Sequence[Geometry | None], mask: Geometry | None, wanted: int | None
) -> Places:
    """The reference grid, and a warning where it is another than the one that was asked for."""
    channel = reference_channel(geometries, wanted, mask)
    if channel is None:
        channel = reference_channel(geometries, wanted)
    geometry = None if channel is None else geometries[channel]
    if channel is None or geometry is None:
        raise DataError("The case has no image at all.", case=files.case.id)
    named = wanted is not None and (wanted == files.dataset.reference or not on_one_grid(geometries))
    warnings: tuple[str, ...] = ()
    if named and wanted is not None and mask is None and geometries[wanted] is None:
        names = [modality.name for modality in files.dataset.modalities]
        text = f"the case lacks {names[wanted]}, the reference modality: its mask lies on the grid of {names[channel]}"
        warnings = (text,)
    return Places(channel, geometry, warnings)


def look_at_place(files: CaseFiles, channel: int, geometry: Geometry, places: Places) -> tuple[str, ...]:
    """What is odd about where a modality lies: a jittering header, little overlap with the reference grid.

    Raises:
        DataError: if its field of view and the reference grid have nothing in common.
    """
    if same_grid(geometry, places.geometry):
        gap = grid_gap(geometry, places.geometry)
        if gap <= SILENT_GAP:
            return ()
        which = f"{files.name(channel)} lies {gap:.2g} voxels beside the case's reference grid"
        return (f"{which}; taken as the same grid",)
    names = [modality.name for modality in files.dataset.modalities]
    share = overlap(geometry, places.geometry)
    if share == 0:
        raise DataError(
            f"{names[channel]} and {names[places.channel]} of this case show no place in common: "
            "their fields of view do not overlap.",
            case=files.case.id,
            file=files.dataset.path(files.file(channel)),
            found=f"{names[channel]}: {extent_in_words(geometry)}",
            expected=f"{names[places.channel]}: {extent_in_words(places.geometry)}",
            remedy="Check that both images are of the same patient and that their headers (origin, axes) are right; "
            "take the image out if it does not belong to this case.",
        )
    if share < LITTLE_OVERLAP:
        return (f"{files.name(channel)} covers only {share:.0%} of the grid of {names[places.channel]}",)
    return ()
