"""What only shows when all cases are seen together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from autofuse.dataset.inspection import CaseInspection
from autofuse.dataset.label_codes import region_membership
from autofuse.dataset.problems import Findings
from autofuse.dataset.types import Dataset

SPACING_RATIO = 10.0
"""A case whose voxels are this many times larger or smaller than the median case's is pointed out."""
EXTENT_RATIO = 8.0
"""So is one whose field of view is this many times longer or shorter."""
MIN_CASES_FOR_MEDIAN = 3
ODD_GRIDS = 0.25
"""Where at most this share of the cases has a modality on a grid of its own, each of them is pointed out."""


def compare_cases(dataset: Dataset, seen: Sequence[CaseInspection], findings: Findings) -> None:
    """Apply every rule of this file; ``seen`` holds training and test cases."""
    train = [case for case in seen if not case.test]
    _identical_images(dataset, seen, findings)
    _identical_channels(dataset, seen, findings)
    _identical_labels(train, findings)
    _blank_everywhere(dataset, train, findings)
    _nothing_to_learn(dataset, train, findings)
    _odd_sizes(seen, findings)
    _mixed_axes(seen, findings)
    _odd_grids(dataset, seen, findings)
    _subjects_on_both_sides(seen, findings)


def _identical_images(dataset: Dataset, seen: Sequence[CaseInspection], findings: Findings) -> None:
    owners: dict[tuple[int, str], list[CaseInspection]] = defaultdict(list)
    for case in seen:
        for channel, image in enumerate(case.images):
            if image is not None and not image.constant:
                owners[channel, image.voxels_digest].append(case)
    for (channel, _), cases in owners.items():
        for copy in cases[1:]:
            first = cases[0]
            sides = " One of them is a test case: its score would be too good." if copy.test != first.test else ""
            findings.warn(
                "identical cases",
                f"Two cases have the same {dataset.modalities[channel].name} image, voxel by voxel.{sides}",
                case=copy.id,
                found=f"the same as in {first.id}",
                remedy="Remove one of the cases, or replace the image that was copied by mistake.",
            )


def _identical_channels(dataset: Dataset, seen: Sequence[CaseInspection], findings: Findings) -> None:
    for case in seen:
        first: dict[str, int] = {}
        for channel, image in enumerate(case.images):
            if image is None or image.constant:
                continue
            other = first.setdefault(image.voxels_digest, channel)
            if other != channel:
                names = [dataset.modalities[k].name for k in (other, channel)]
                findings.warn(
                    "identical channels",
                    "Two modalities of a case are the same image, voxel by voxel.",
                    case=case.id,
                    found=f"channels {other} and {channel} ({names[0]} and {names[1]})",
                    remedy="Replace the image that was copied by mistake, or remove one of the files.",
                )


def _identical_labels(train: Sequence[CaseInspection], findings: Findings) -> None:
    first: dict[str, CaseInspection] = {}
    for case in train:
        other = first.setdefault(case.label_digest, case) if case.label_digest else case
        if other is not case:
            findings.warn(
                "identical labels",
                "Two cases have the same label, voxel by voxel.",
                case=case.id,
                found=f"the same as in {other.id}",
                remedy="Replace the label that was copied by mistake.",
            )


def _blank_everywhere(dataset: Dataset, train: Sequence[CaseInspection], findings: Findings) -> None:
    for channel, modality in enumerate(dataset.modalities):
        images = [case.images[channel] for case in train if case.images and case.images[channel] is not None]
        if images and all(image is not None and image.constant for image in images):
            findings.error(
                "blank image",
                f"Channel {channel}, {modality.name}, has no contrast in any case.",
                found=f"constant in {len(images)} images",
                remedy="Replace the images, or take the channel out of the data set.",
            )


def _nothing_to_learn(dataset: Dataset, train: Sequence[CaseInspection], findings: Findings) -> None:
    labelled = [case for case in train if case.annotation in ("sparse", "dense")]
    if not labelled or len(labelled) < sum(case.annotation != "none" for case in train):
        return  # broken labels are told one by one
    totals = np.sum([case.index_voxels for case in labelled], axis=0)
    if not totals.any():
        findings.error(
            "only ignore",
            "No voxel of any case is labelled: everything is ignored.",
            remedy="Annotate something; or correct the value of ignore in dataset.json.",
        )
        return
    if not totals[1:].any():
        findings.error(
            "no foreground",
            "No case has any foreground, so there is nothing to learn.",
            remedy="Check that the label maps are the right ones and hold the declared values.",
        )
        return
    for name, voxels in zip(
        [item.name for item in dataset.labels.classes], region_membership(dataset.labels) @ totals, strict=True
    ):
        if not voxels:
            findings.warn(
                "no foreground",
                f"The label {name!r} is declared but occurs in no training case.",
                found="0 voxels",
                remedy="Correct the label maps, or take it out of dataset.json.",
            )


def _odd_sizes(seen: Sequence[CaseInspection], findings: Findings) -> None:
    sized = [case for case in seen if case.shape is not None and case.spacing_mm is not None]
    if len(sized) < MIN_CASES_FOR_MEDIAN:
        return
    # Axes are sorted, so that a sagittal and an axial acquisition compare fairly.
    spacings = np.array([sorted(case.spacing_mm or ()) for case in sized])
    extents = np.array(
        [sorted(np.multiply(case.shape, case.spacing_mm)) for case in sized]  # type: ignore[arg-type]
    )
    for values, limit, what in ((spacings, SPACING_RATIO, "spacing"), (extents, EXTENT_RATIO, "field of view")):
        middle = np.median(values, axis=0)
        ratios = np.maximum(values / middle, middle / values).max(axis=1)
        for case, own, ratio in zip(sized, values, ratios, strict=True):
            if ratio > limit:
                findings.warn(
                    "odd one out",
                    f"The case's {what} is far from that of the others.",
                    case=case.id,
                    found=" x ".join(f"{value:.3g}" for value in own) + " mm (sorted axes)",
                    expected=" x ".join(f"{value:.3g}" for value in middle) + " mm, the median",
                    remedy="Check that its header is right and that it is of the same kind as the others.",
                )


def _mixed_axes(seen: Sequence[CaseInspection], findings: Findings) -> None:
    kinds = Counter(case.axes for case in seen if case.axes)
    if len(kinds) > 1:
        usual, _ = kinds.most_common(1)[0]
        others = [case.id for case in seen if case.axes and case.axes != usual]
        findings.warn(
            "mixed axes",
            "Cases are stored with their axes in different orders or directions.",
            case=others[0],
            found=", ".join(f"{count} towards {letters}" for letters, count in kinds.most_common()),
            expected="one order for all cases",
            remedy=f"Reorient the {len(others)} deviating cases and their labels alike, if anatomy has a direction.",
        )


def _odd_grids(dataset: Dataset, seen: Sequence[CaseInspection], findings: Findings) -> None:
    """A modality on a grid of its own in a few cases only: rather a wrong header than another protocol."""
    images = {case.id: case.images for case in (*dataset.test_cases, *dataset.cases)}
    for channel, modality in enumerate(dataset.modalities):
        having = [case for case in seen if case.own_grids and case.images[channel] is not None]
        own = [case for case in having if case.own_grids[channel]]
        for case in own if len(own) <= ODD_GRIDS * len(having) else ():
            image = images[case.id][channel]
            findings.warn(
                "odd grid",
                f"{modality.name} lies on a grid of its own in few cases only.",
                case=case.id,
                file=None if image is None else image.path,
                found=f"{case.own_grids[channel]} differ from the case's reference grid",
                remedy="Check that its header is right; if it is, nothing: it is brought onto the reference grid.",
            )


def _subjects_on_both_sides(seen: Sequence[CaseInspection], findings: Findings) -> None:
    train = {case.subject: case.id for case in seen if not case.test}
    for case in seen:
        if case.test and case.subject in train and case.id != train[case.subject]:
            findings.warn(
                "subject in test",
                "A test case is of a subject who has training cases too.",
                case=case.id,
                found=f"subject {case.subject}, training case {train[case.subject]}",
                remedy="Do not report its score as that of an unseen person.",
            )
