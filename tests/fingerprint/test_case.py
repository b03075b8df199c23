"""One case, measured: every number against a count by hand or by numpy."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from measured_set import SPACING_ZYX, one_case, write_set

from autofuse.dataset.opening import open_dataset
from autofuse.dataset.types import IGNORE, LabelClass, Labels
from autofuse.fingerprint.case import measure_case
from autofuse.fingerprint.classes import measure_classes
from autofuse.fingerprint.sources import source_digest, source_stamp
from autofuse.fingerprint.types import CaseFacts
from autofuse.foundation.errors import DataError


def test_grid_crop_classes_and_intensities(tmp_path: Path) -> None:
    (image,), label = one_case()
    dataset = open_dataset(write_set(tmp_path / "Dataset001_Tiny", {"a": ([image], label)}))
    facts = measure_case(dataset, dataset.cases[0])
    assert (facts.shape, facts.spacing_mm) == ((6, 8, 10), SPACING_ZYX)
    assert facts.cropped_shape == (4, 6, 8)
    assert facts.crop_fraction == pytest.approx(4 * 6 * 8 / (6 * 8 * 10))
    assert (facts.annotation, facts.labelled_fraction) == ("dense", 1.0)
    assert (facts.class_voxels, facts.class_components) == ((16, 3), (2, 1))
    assert facts.class_centroids_mm[1] == pytest.approx((1 * 3.0, 5 * 2.0, 2 * 1.0))
    inside = image[label > 0]
    assert facts.moments[0] == pytest.approx((19, inside.mean(), inside.std()))
    assert facts.minmax[0] == (image.min(), image.max())
    assert len(facts.quantiles[0]) == CaseFacts.QUANTILES
    assert (facts.quantiles[0][0], facts.quantiles[0][-1]) == (inside.min(), inside.max())
    assert facts.quantiles[0][200] == np.sort(inside)[9]


def test_ignored_voxels_are_not_foreground(tmp_path: Path) -> None:
    (image,), label = one_case()
    label[:, :, 5:] = 3
    labels = {"background": 0, "organ": 1, "lesion": 2, "ignore": 3}
    dataset = open_dataset(write_set(tmp_path / "Dataset001_Tiny", {"a": ([image], label)}, labels=labels))
    facts = measure_case(dataset, dataset.cases[0])
    assert facts.annotation == "sparse"
    assert facts.labelled_fraction == pytest.approx(0.5)
    assert facts.class_voxels == (8, 3)
    assert facts.moments[0] is not None
    assert facts.moments[0][1] == pytest.approx(image[(label == 1) | (label == 2)].mean())


def test_absent_modality_and_absent_label(tmp_path: Path) -> None:
    (image,), label = one_case()
    cases = {"a": ([image, image], label), "b": ([None, image], label), "c": ([image, image], None)}
    dataset = open_dataset(write_set(tmp_path / "Dataset001_Tiny", cases))
    without_image, without_label = (measure_case(dataset, dataset.cases[index]) for index in (1, 2))
    assert without_image.present == (False, True)
    assert (without_image.moments[0], without_image.minmax[0], without_image.quantiles[0]) == (None, None, ())
    assert without_image.moments[1] is not None
    assert (without_label.annotation, without_label.labelled_fraction) == ("none", 0.0)
    assert without_label.class_voxels == (0, 0)
    assert without_label.cropped_shape == (4, 6, 8)


def test_regions_count_all_their_values() -> None:
    labels = Labels(
        classes=(LabelClass(name="whole", raw_values=(1, 7)), LabelClass(name="core", raw_values=(7,))),
        region_values=(1, 7),
    )
    index = np.zeros((4, 4, 4), np.int16)
    index[0, 0, 0], index[0, 0, 1], index[3, 3, 3], index[2, 0, 0] = 1, 2, 2, IGNORE
    whole, core = measure_classes(index, labels)
    assert (whole.voxels, whole.components) == (3, (1, 2))
    assert (core.voxels, core.components) == (2, (1, 1))


def test_digest_follows_contents_and_stamp_follows_files(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "Dataset001_Tiny", {"a": one_case()})
    copy = tmp_path / "copy" / folder.name
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)
    dataset, copied = open_dataset(folder), open_dataset(copy)
    case = dataset.cases[0]
    assert source_digest(dataset, case) == source_digest(copied, case)
    assert source_stamp(dataset, case) != source_stamp(copied, case)
    file = copy / "labelsTr" / "a.nii.gz"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    assert source_digest(dataset, case) != source_digest(copied, case)
    file.unlink()
    with pytest.raises(DataError, match="cannot be found") as caught:
        source_digest(copied, case)
    assert caught.value.case == "a" and str(file) == caught.value.file
