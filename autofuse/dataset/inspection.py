"""Everything that can be said about one case after reading all of its files once; nothing is raised."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from autofuse.dataset.grids import axes, differences, same_grid
from autofuse.dataset.places import choose_reference, look_at_place
from autofuse.dataset.problems import Findings, Problem
from autofuse.dataset.raw import CaseFiles
from autofuse.dataset.types import IGNORE, Case, Dataset
from autofuse.foundation.errors import AutofuseError
from autofuse.foundation.values import Value

if TYPE_CHECKING:
    from autofuse.images.geometry import Geometry

PLAUSIBLE_EXTENT_MM = (2.0, 3000.0)
"""An image whose longest side lies outside this range has its spacing in another unit."""
ANISOTROPY_SAID = 100.0
"""Voxels more elongated than this are worth a word; 1:50 is not rare."""
_BLOCK_VOXELS = 1 << 20


class ImageFacts(Value):
    """One image, read: its range, and a digest by which copies are found."""

    minimum: float
    maximum: float
    voxels_digest: str

    @property
    def constant(self) -> bool:
        """Whether every voxel has the same value."""
        return self.minimum == self.maximum


class CaseInspection(Value):
    """One case, read.

    Attributes:
        id, subject: as in the case; test: whether it is one to predict.
        problems: what is wrong or odd about it.
        shape, spacing_mm, axes: of the reference grid, array order; None and "" where no image could be read.
        own_grids: per modality, how its grid differs from the reference grid, in words; "" where it does not.
        images: per modality, or None where it is absent or could not be read.
        annotation: "none" (no label), "sparse" (some voxels ignored), "dense", or "broken" (it could not be read).
        index_voxels: voxels of each class index, background first; empty without a label. Of labels of single
            modalities the mean, in voxels of the reference grid, rounded up.
        ignored: voxels that nobody labelled.
        label_digest: digest of a label that has foreground, else "".
        labels: where modalities carry labels of their own, whether each has one that can be used; else ().
    """

    id: str
    subject: str
    test: bool
    problems: tuple[Problem, ...] = ()
    shape: tuple[int, int, int] | None = None
    spacing_mm: tuple[float, float, float] | None = None
    axes: str = ""
    own_grids: tuple[str, ...] = ()
    images: tuple[ImageFacts | None, ...] = ()
    annotation: Literal["none", "sparse", "dense", "broken"] = "none"
    index_voxels: tuple[int, ...] = ()
    ignored: int = 0
    label_digest: str = ""
    labels: tuple[bool, ...] = ()


def inspect_case(dataset: Dataset, item: tuple[Case, bool]) -> CaseInspection:
    """What is true of one case; ``item`` is the case and whether it is a test case."""
    case, test = item
    findings = Findings(dataset.path(""))
    files = CaseFiles(dataset, case)
    facts: list[ImageFacts | None] = []
    grids: list[Geometry | None] = []
    for channel, source in enumerate(case.images):
        facts.append(None)
        grids.append(None)
        if source is None:
            continue
        with findings.caught("image", case=case.id, file=source.path):
            image = files.image(channel)
            assert image is not None
            _warn_all(image.warnings, case.id, source.path, findings)
            facts[-1], grids[-1] = _image_facts(image.voxels), image.geometry
            _look_at_range(facts[-1], case.id, source.path, files.name(channel), findings)
    told: dict[str, Any] = {}
    geometry = _reference_grid(files, grids, findings)
    if geometry is not None:
        told = {"shape": geometry.shape, "spacing_mm": geometry.spacing_mm, "axes": axes(geometry)}
        told["own_grids"] = tuple(
            "" if grid is None or same_grid(grid, geometry) else differences(grid, geometry) for grid in grids
        )
        _look_at_size(geometry, case, findings)
    if case.label is not None:
        told["annotation"] = "broken"
        with findings.caught("label", case=case.id, file=case.label):
            told |= _label_facts(files, case.label, geometry, findings)
    if case.evaluation_label is not None:
        with findings.caught("label", case=case.id, file=case.evaluation_label):
            _label_facts(files, case.evaluation_label, geometry, findings)
    if case.labels:
        told |= _own_labels(files, case.labels, grids, geometry, findings)
    if case.evaluation_labels:
        _own_labels(files, case.evaluation_labels, grids, geometry, findings)
    problems = tuple(dict.fromkeys(findings.problems))
    return CaseInspection(id=case.id, subject=case.subject, test=test, problems=problems, images=tuple(facts), **told)


def _reference_grid(files: CaseFiles, grids: list[Geometry | None], findings: Findings) -> Geometry | None:
    """The case's reference grid after looking at where every image lies; None where none could be read."""
    if not any(grids):
        return None
    mask, case = None, files.case
    if case.label is not None:
        with suppress(AutofuseError):  # a label that cannot be read is told of when it is looked at
            mask = files.label_grid(case.label)
    places = choose_reference(files, grids, mask, files.dataset.reference)
    _warn_all(places.warnings, case.id, files.file(places.channel), findings)
    for channel, grid in enumerate(grids):
        if grid is not None:
            with findings.caught("grid", case=case.id, file=files.file(channel)):
                _warn_all(look_at_place(files, channel, grid, places), case.id, files.file(channel), findings)
    return places.geometry


def _label_facts(files: CaseFiles, path: str, reference: Geometry | None, findings: Findings) -> dict[str, Any]:
    """Fields of ``CaseInspection`` that a label fills."""
    label, geometry, odd = files.label(path)
    case = files.case.id
    _warn_all(odd, case, path, findings)
    if reference is not None:
        with findings.caught("grid", case=case, file=path):
            _warn_all(files.fit(geometry, reference, "The label", path), case, path, findings)
    return _told_of(files, label, path, findings)


def _own_labels(
    files: CaseFiles,
    paths: tuple[str | None, ...],
    grids: list[Geometry | None],
    reference: Geometry | None,
    findings: Findings,
) -> dict[str, Any]:
    """The same fields, of the labels of all modalities together, and which of them can be used."""
    voxel_mm3 = 1.0 if reference is None else math.prod(reference.spacing_mm)
    parts: list[dict[str, Any] | None] = []
    case = files.case.id
    for channel, (path, grid) in enumerate(zip(paths, grids, strict=True)):
        parts.append(None)
        if path is not None and grid is not None:
            with findings.caught("label", case=case, file=path):
                label, odd = files.own_label(channel, path, grid)
                _warn_all(odd, case, path, findings)
                parts[-1] = _told_of(files, label, path, findings) | {"share": math.prod(grid.spacing_mm) / voxel_mm3}
    good = [part for part in parts if part is not None]
    told: dict[str, Any] = {"labels": tuple(part is not None for part in parts)}
    broken = len(good) < sum(path is not None for path in paths)
    if broken or not good:
        return told | ({"annotation": "broken"} if broken else {})
    told["annotation"] = "sparse" if any(part["annotation"] == "sparse" for part in good) else "dense"
    shares = [part["share"] / len(good) for part in good]
    by_class = zip(*(part["index_voxels"] for part in good), strict=True)
    told["index_voxels"] = tuple(_mean(counts, shares) for counts in by_class)
    told["ignored"] = _mean([part["ignored"] for part in good], shares)
    told["label_digest"] = "".join(part["label_digest"] for part in good)
    return told


def _mean(counts: Sequence[int], shares: Sequence[float]) -> int:
    return math.ceil(sum(count * share for count, share in zip(counts, shares, strict=True)))


def _told_of(files: CaseFiles, label: NDArray[np.int16], path: str, findings: Findings) -> dict[str, Any]:
    """Fields of ``CaseInspection`` that the voxels of a label fill."""
    case = files.case.id
    counts = _index_counts(label, len(files.dataset.labels.raw_values) + 2)
    ignored, voxels = counts[0], counts[1:]
    if ignored == label.size:
        findings.warn(
            "only ignore",
            "Every voxel of the label is ignored, so the case teaches nothing.",
            case=case,
            file=path,
            remedy="Annotate something in it, or remove the label to have the case counted as unlabelled.",
        )
    elif not any(voxels[1:]):
        findings.warn(
            "no foreground",
            "The label has no foreground.",
            case=case,
            file=path,
            remedy="Nothing, if there is nothing to see in this case; else mend the label.",
        )
    return {
        "annotation": "sparse" if ignored else "dense",
        "index_voxels": tuple(voxels),
        "ignored": ignored,
        "label_digest": _digest(label) if any(voxels[1:]) else "",
    }


def _index_counts(label: NDArray[np.int16], size: int) -> list[int]:
    """Voxels per class index, IGNORE first."""
    total = np.zeros(size, np.int64)
    flat = label.reshape(-1)
    for start in range(0, flat.size, _BLOCK_VOXELS):
        total += np.bincount(flat[start : start + _BLOCK_VOXELS] - IGNORE, minlength=size)
    return [int(count) for count in total]


def _image_facts(voxels: NDArray[Any]) -> ImageFacts:
    return ImageFacts(minimum=float(voxels.min()), maximum=float(voxels.max()), voxels_digest=_digest(voxels))


def _digest(voxels: NDArray[Any]) -> str:
    digest = hashlib.blake2b(repr(voxels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(voxels).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _look_at_range(facts: ImageFacts | None, case: str, file: str, what: str, findings: Findings) -> None:
    if facts is not None and facts.constant:
        findings.warn(
            "blank image",
            f"{what} has the same value everywhere.",
            case=case,
            file=file,
            found=f"{facts.minimum:g}",
            remedy="Replace the image; or remove the file, if this modality was not acquired.",
        )


def _look_at_size(geometry: Geometry, case: Case, findings: Findings) -> None:
    file = next(image.path for image in case.images if image is not None)
    shape, spacing = geometry.shape, geometry.spacing_mm
    if max(shape) == 1:
        findings.error("size", "The image is a single voxel.", case=case.id, file=file, remedy="Replace the image.")
    extents = [count * step for count, step in zip(shape, spacing, strict=True) if count > 1]
    longest = max(extents, default=PLAUSIBLE_EXTENT_MM[0])
    if not PLAUSIBLE_EXTENT_MM[0] <= longest <= PLAUSIBLE_EXTENT_MM[1]:
        findings.warn(
            "size",
            "The field of view is implausible, as if the spacing were in another unit than millimetres.",
            case=case.id,
            file=file,
            found=f"{longest:.3g} mm along its longest side, spacing {' x '.join(f'{s:.3g}' for s in spacing)}",
            expected=f"{PLAUSIBLE_EXTENT_MM[0]:g} to {PLAUSIBLE_EXTENT_MM[1]:g} mm",
            remedy="Correct the spacing in the header if its unit is wrong.",
        )
    if max(shape) > 1 and max(spacing) / min(spacing) > ANISOTROPY_SAID:
        findings.warn(
            "size",
            "Voxels are extremely elongated.",
            case=case.id,
            file=file,
            found=" x ".join(f"{step:.4g}" for step in spacing) + " mm",
            remedy="Check the spacing in the header.",
        )


def _warn_all(texts: tuple[str, ...], case: str, file: str, findings: Findings) -> None:
    for text in texts:
        findings.warn(
            "oddity",
            text[0].upper() + text[1:] + ".",
            case=case,
            file=file,
            remedy="Look whether that is meant; the file is used as described.",
        )
