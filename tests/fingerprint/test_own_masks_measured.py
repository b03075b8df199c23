"""What is measured where modalities carry masks of their own: each by its own, sizes in reference voxels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autofuse.dataset.opening import open_dataset
from autofuse.dataset.raw import load_case
from autofuse.fingerprint.case import measure_case
from autofuse.fingerprint.measure import measure
from autofuse.fingerprint.show import tables
from autofuse.fingerprint.sources import source_files
from autofuse.foundation.workspace import Workspace
from autofuse.phantom import PhantomOptions, write_phantom

OPTIONS = PhantomOptions(
    cases=3, test_cases=0, shape=(20, 24, 28), spacing_mm=(2.0, 1.0, 1.5), unlabelled=1, turned=True, shift_mm=4.0,
    labels_per_modality=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom(tmp_path_factory.mktemp("own") / "phantom", OPTIONS)


def test_each_modality_is_measured_inside_its_own_mask(raw: Path) -> None:
    dataset = open_dataset(raw)
    case = load_case(dataset, dataset.cases[0])
    facts = measure_case(dataset, dataset.cases[0])
    assert facts.modality_annotations == ("dense", "dense")
    assert (facts.annotation, facts.labelled_fraction) == ("dense", 1)
    for image, mask, moments in zip(case.images, case.labels, facts.moments, strict=True):
        assert image is not None and mask is not None and moments is not None
        assert moments[0] == (mask > 0).sum() and moments[1] == pytest.approx(image.voxels[mask > 0].mean(), rel=1e-6)
    first = case.labels[0]
    assert first is not None
    assert facts.class_voxels == tuple(int((first == value).sum()) for value in (1, 2, 3))
    assert all(place is not None for place in facts.class_centroids_mm)


def test_a_class_that_only_another_modality_shows_is_counted_there(raw: Path, tmp_path: Path) -> None:
    import shutil

    from autofuse.images import read_label_image, write_labels

    copy = shutil.copytree(raw, tmp_path / "phantom")
    path = copy / "labelsTr" / "phantom_001_0000.nii.gz"
    label = read_label_image(path)
    write_labels(path, np.where(label.voxels == 3, 0, label.voxels), label.geometry)
    dataset = open_dataset(copy)
    facts = measure_case(dataset, dataset.cases[0])
    other = load_case(dataset, dataset.cases[0]).labels[1]
    assert other is not None
    assert facts.class_voxels[2] == (other == 3).sum() > 0 and facts.class_centroids_mm[2] is None


def test_the_fingerprint_counts_masks_by_modality(raw: Path, tmp_path: Path) -> None:
    (raw / "labelsTr" / "phantom_002_0001.nii.gz").rename(tmp_path / "away.nii.gz")
    dataset = open_dataset(raw)
    fingerprint = measure(dataset, Workspace(tmp_path / "ws", dataset.name), workers=0)
    assert fingerprint.labelled_per_modality == (2, 1) and fingerprint.registrations == ()
    assert [case.modality_annotations for case in fingerprint.cases] == [("dense", "dense"), ("dense", "none"), ()]
    assert [case.annotation for case in fingerprint.cases] == ["dense", "dense", "none"]
    (modalities,) = [table for table in tables(fingerprint) if "cases with own masks" in table.columns]
    assert [row[-1] for row in modalities.rows] == ["2", "1"]
    assert source_files(dataset.cases[0])[2:] == (
        "labelsTr/phantom_001_0000.nii.gz",
        "labelsTr/phantom_001_0001.nii.gz",
    )
    (tmp_path / "away.nii.gz").rename(raw / "labelsTr" / "phantom_002_0001.nii.gz")
