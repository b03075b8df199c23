"""Every image of one patient on one grid, registered: a command of its own, for images that belong to no data set."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from autofuse.alignment.types import Rigid
from autofuse.foundation.console import progress, say
from autofuse.foundation.errors import AutofuseError, DataError, ModelError, UsageError
from autofuse.foundation.files import crc32_of_file, sweep_temps, write_bytes
from autofuse.foundation.values import StoredValue, Value, short_hash
from autofuse.plan.types import RegistrationPlan

if TYPE_CHECKING:
    from autofuse.images import Image
    from autofuse.report.blend import Pair
    from autofuse.road.pairs import Gathered

RECORD_FILE = "alignment.json"
PICTURE_FILE = "alignment.png"
ENDING = ".nii.gz"


class AlignedImage(Value):
    """One image, brought onto the reference's grid.

    Attributes:
        source: absolute path of the file that was read; file: name of the one that was written beside this record.
        crc32: of that file.
        rigid: from world positions of the reference to those of the source; None for the reference itself, and where
            registration failed.
        before_mm, after_mm: how far it lies from the reference, measured by header and with ``rigid``; distances below
            ``resolution_mm`` mean nothing; None for the reference.
        certain: whether both distances can be believed.
        cover: share of the reference's voxels that it sees; the others are 0 in the file.
        problem: why it was not registered; None if it was.
    """

    name: str
    source: str
    file: str
    crc32: int
    rigid: Rigid | None = None
    before_mm: float | None = None
    after_mm: float | None = None
    resolution_mm: float | None = None
    certain: bool = True
    cover: float = Field(default=1.0, ge=0, le=1)
    problem: str | None = None


class Alignment(StoredValue):
    """What `autofuse align` made: alignment.json in the folder of the images.

    Attributes:
        asked: hash of the contents of the sources and of the options; the same command again is recognised by it.
        reference: name of the image whose grid all lie on.
    """

    kind: ClassVar[str] = "alignment"

    asked: str
    reference: str
    images: tuple[AlignedImage, ...]
    picture: str = PICTURE_FILE

    @property
    def failed(self) -> tuple[AlignedImage, ...]:
        """Images that could not be registered."""
        return tuple(image for image in self.images if image.problem is not None)


def align(
    images: Sequence[str | Path],
    out: str | Path,
    *,
    reference: str | None = None,
    limits: RegistrationPlan | None = None,
) -> Alignment:
    """Every image of one patient, registered onto the reference and written on its grid into ``out``.

    Args:
        images: files, or one folder of them.
        reference: name of the image whose grid is kept; None for the one with the smallest voxels.
        limits: a transform beyond them is a failure; the image is then resampled by its header alone.

    Raises:
        UsageError: if there are fewer than two images, two of one name, no such reference, or ``out`` holds a source.
        DataError: naming every file that cannot be read.
    """
    from autofuse.road.groundwork import waiting_lock

    limits, folder = limits or RegistrationPlan(), Path(out)
    files = _named_files(images)
    _spare_sources(files, folder)
    _known(reference, files)
    with waiting_lock(folder):
        sweep_temps(folder)
        asked = _asked(files, reference, limits)
        kept = _kept(folder, asked)
        if kept is not None:
            say(f"These images were aligned before; {folder / RECORD_FILE} holds how.")
            return kept
        (folder / RECORD_FILE).unlink(missing_ok=True)
        loaded = _read(files)
        fixed = reference or min(loaded, key=lambda name: (prod(loaded[name].geometry.spacing_mm), name))
        made = _align(files, loaded, fixed, folder, limits)
        record = Alignment(asked=asked, reference=fixed, images=made)
        record.save(folder / RECORD_FILE)
        return record


def _align(
    files: Mapping[str, Path], loaded: Mapping[str, Image], fixed_name: str, folder: Path, limits: RegistrationPlan
) -> tuple[AlignedImage, ...]:
    from autofuse.images import write_image
    from autofuse.report.blend import blend_sheet
    from autofuse.road.pairs import gather, picture_of

    fixed, made = loaded[fixed_name], []
    pairs: list[Pair] = []
    with progress("Aligning images", len(loaded)) as advance:
        for name, image in loaded.items():
            path = folder / f"{name}{ENDING}"
            if name == fixed_name:
                write_image(path, image.voxels, image.geometry)
                made.append(AlignedImage(name=name, source=str(files[name]), file=path.name, crc32=crc32_of_file(path)))
            else:
                gathered = gather(fixed, image, limits)
                write_image(path, gathered.voxels, fixed.geometry)
                made.append(_described(name, files[name], path, gathered))
                pairs.append(picture_of(fixed_name, fixed, name, image, gathered))
            advance(1, name)
    write_bytes(folder / PICTURE_FILE, blend_sheet(f"Brought onto the grid of {fixed_name}", pairs))
    return tuple(made)


def _described(name: str, source: Path, path: Path, gathered: Gathered) -> AlignedImage:
    problem = None
    if gathered.before.overlap == 0:
        problem = "it shares no field of view with the reference; check that both show the same patient and place"
    elif gathered.rigid is None:
        problem = "no rigid transform within the limits was found; it was resampled by its header alone"
    return AlignedImage(
        name=name,
        source=str(source),
        file=path.name,
        crc32=crc32_of_file(path),
        rigid=gathered.rigid,
        before_mm=gathered.before.distance_mm,
        after_mm=gathered.after.distance_mm,
        resolution_mm=gathered.after.resolution_mm,
        certain=gathered.before.reliable and gathered.after.reliable,
        cover=round(float(gathered.covered.mean()), 4),
        problem=problem,
    )


def _named_files(images: Sequence[str | Path]) -> dict[str, Path]:
    """Absolute paths by name, which is the file's name without its ending."""
    from autofuse.images.io import SUPPORTED_ENDINGS, ending_of

    paths = [Path(os.path.abspath(item)) for item in images]  # noqa: PTH100  (resolve() would lose linked names)
    if len(paths) == 1 and paths[0].is_dir():
        found = sorted(path for path in paths[0].iterdir() if not path.name.startswith("."))
        paths = [path for path in found if path.name.lower().endswith(SUPPORTED_ENDINGS)]
    named: dict[str, Path] = {}
    for path in paths:
        name = path.name[: -len(ending_of(path))]
        if name in named:
            raise UsageError(
                "Two images have one name.", found=f"{named[name]} and {path}", remedy="Rename one of them."
            )
        named[name] = path
    if len(named) < 2:
        raise UsageError(
            "There is nothing to align.",
            found=", ".join(map(str, paths)) or "no image",
            expected="two images of one patient or more, or a folder that holds them",
        )
    return named


def _spare_sources(files: Mapping[str, Path], folder: Path) -> None:
    for path in files.values():
        if path.parent.resolve() == folder.resolve():
            raise UsageError(
                "Aligned images would be written among the images that were read.",
                file=folder,
                remedy="Name another folder with --out; files that were read are never changed.",
            )


def _known(reference: str | None, files: Mapping[str, Path]) -> None:
    if reference is not None and reference not in files:
        raise UsageError(f"There is no image {reference!r}.", expected=", ".join(files), remedy="See --reference.")


def _asked(files: Mapping[str, Path], reference: str | None, limits: RegistrationPlan) -> str:
    content = {name: crc32_of_file(path) for name, path in files.items() if path.is_file()}
    return short_hash({"files": content, "reference": reference, "limits": limits.model_dump(mode="json")})


def _kept(folder: Path, asked: str) -> Alignment | None:
    """What the same command made before, if all of it is there and whole."""
    try:
        kept = Alignment.load(folder / RECORD_FILE) if (folder / RECORD_FILE).exists() else None
    except ModelError:
        return None
    if kept is None or kept.asked != asked or not (folder / kept.picture).exists():
        return None
    whole = all(
        (folder / item.file).is_file() and crc32_of_file(folder / item.file) == item.crc32 for item in kept.images
    )
    return kept if whole else None


def _read(files: Mapping[str, Path]) -> dict[str, Image]:
    """The images, (z, y, x) each.

    Raises:
        DataError: naming every file that cannot be used.
    """
    from autofuse.images import read_image

    loaded, problems = {}, []
    for name, path in files.items():
        try:
            loaded[name] = read_image(path)
            if loaded[name].voxels.ndim != 3:
                raise DataError("The file holds several images.", file=path, expected="one image of three axes")
        except AutofuseError as error:
            problems.append(error)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        told = "\n    ".join(f"{error.file}: {error.problem}" for error in problems)
        raise DataError(f"{len(problems)} images cannot be read.", found=f"\n    {told}", remedy="Replace them.")
    return loaded
