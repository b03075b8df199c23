"""Modalities against each other: own grids, displacement, registration, and what of it is unusual."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from measured_set import one_case, write_set
from rich.console import Console

from autofuse.dataset.opening import open_dataset
from autofuse.dataset.types import IGNORE, LabelClass, Labels
from autofuse.fingerprint import measure as measure_module
from autofuse.fingerprint import trials as trials_module
from autofuse.fingerprint.case import CaseRecord, measure_case
from autofuse.fingerprint.classes import measure_classes
from autofuse.fingerprint.measure import measure
from autofuse.fingerprint.oddities import oddities
from autofuse.fingerprint.show import to_rich
from autofuse.fingerprint.types import Fingerprint
from autofuse.foundation.errors import DataError
from autofuse.foundation.workspace import Workspace
from autofuse.phantom.options import PhantomOptions
from autofuse.phantom.write import TRUTH_FILE, write_phantom
from autofuse.testing.fingerprints import MADE_UP_DATASETS, example_fingerprint

SMALL = (40, 44, 48)


def phantom(folder: Path, **options: object) -> Path:
    return write_phantom(folder, PhantomOptions(**{"test_cases": 0, "shape": SMALL} | options))  # type: ignore[arg-type]


def measured(folder: Path, place: Path, workers: int = 0) -> Fingerprint:
    dataset = open_dataset(folder)
    return measure(dataset, Workspace(place, dataset.name), workers=workers)


def printed(found: Fingerprint) -> str:
    stream = io.StringIO()
    Console(file=stream, width=160).print(to_rich(found))
    return stream.getvalue()


def test_displacement_is_the_one_that_was_put_in_and_registration_removes_it(tmp_path: Path) -> None:
    folder = phantom(tmp_path / "Dataset901_Apart", cases=3, shift_mm=6.0)
    found = measured(folder, tmp_path / "work")
    truth = json.loads((folder / TRUTH_FILE).read_text())["cases"]
    for case in found.cases:
        (pair,) = case.pairs
        assert (pair.fixed, pair.moving, pair.reliable) == (0, 1, True)
        assert pair.displacement_mm == pytest.approx(truth[case.id]["shift_mm"][1], abs=1.0)
        assert pair.agreement > pair.agreement_unmoved > 1
    assert {item.case for item in found.registrations} == {case.id for case in found.cases}
    assert all(item.after_mm < 1.5 and item.shift_mm == pytest.approx(6.0, abs=1.5) for item in found.registrations)
    (sentence,) = [line for line in oddities(found) if "apart" in line]
    assert "A rigid transform brings 3 of 3 tried cases below 2.0 mm" in sentence
    text = printed(found)
    assert text.index("Unusual") < text.index("How far modalities lie apart") < text.index("Classes")


def test_trials_are_kept_and_not_made_where_modalities_are_aligned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    original = trials_module.try_case

    def counted(dataset, case, pairs):
        tried.append(case.id)
        return original(dataset, case, pairs)

    monkeypatch.setattr(trials_module, "try_case", counted)
    aligned = measured(phantom(tmp_path / "Dataset902_Aligned", cases=2), tmp_path / "work")
    assert (tried, aligned.registrations, oddities(aligned)) == ([], (), ())
    assert "Nothing unusual" in printed(aligned)
    folder = phantom(tmp_path / "Dataset901_Apart", cases=2, shift_mm=6.0)
    first = measured(folder, tmp_path / "work")
    assert tried == ["phantom_001", "phantom_002"] or tried == ["phantom_002", "phantom_001"]
    assert measured(folder, tmp_path / "work") == first
    assert len(tried) == 2


def test_own_grids_are_told_and_foreground_is_found_on_them(tmp_path: Path) -> None:
    options = {"cases": 2, "coarse": 2.0, "narrow": 0.6, "turned": True, "noise": 0.05, "bias": 0.0}
    found = measured(phantom(tmp_path / "Dataset903_Grids", **options), tmp_path / "work")
    plain = measured(phantom(tmp_path / "Dataset904_Plain", cases=2, noise=0.05, bias=0.0), tmp_path / "work")
    assert found.reference == 0
    for case, same in zip(found.cases, plain.cases, strict=True):
        own = case.grids[1]
        assert case.mask_modality == 0 and own is not None and case.grids[0] is not None
        assert case.grids[0].same and not own.same
        assert own.overlap == pytest.approx(0.6, abs=0.05) and case.overlap(1) == own.overlap
        assert case.pairs[0].distance_mm < 2.0
        assert (case.shape, case.class_voxels) == (same.shape, same.class_voxels)
        # The same organs, imaged coarsely and in part: fewer voxels, much the same intensities.
        assert case.moments[1] is not None and same.moments[1] is not None
        assert case.moments[1][0] < same.moments[1][0] / 8
        assert case.moments[1][1] == pytest.approx(same.moments[1][1], rel=0.1)
    assert any("FLAIR lies on a grid of its own in 2 of 2 cases" in line for line in oddities(found))
    assert "T1 (reference)" in printed(found)


def test_an_image_of_somebody_else_is_pointed_out(tmp_path: Path) -> None:
    folder = phantom(tmp_path / "Dataset905_Swapped", cases=6, shape=(56, 56, 56))
    first, second = (folder / "imagesTr" / f"phantom_00{number}_0001.nii.gz" for number in (2, 5))
    shutil.copyfile(second, first)
    found = measured(folder, tmp_path / "work")
    (sentence,) = [line for line in oddities(found) if "Two different patients" in line]
    assert sentence.startswith("phantom_002: T1 and FLAIR agree far less")
    assert sentence in " ".join(printed(found).split()).replace("• ", "")


def test_modalities_without_a_common_field_of_view_are_refused(tmp_path: Path) -> None:
    import SimpleITK

    folder = phantom(tmp_path / "Dataset906_Far", cases=2)
    file = folder / "imagesTr" / "phantom_002_0001.nii.gz"
    image = SimpleITK.ReadImage(str(file))
    image.SetOrigin((500.0, 0.0, 0.0))
    SimpleITK.WriteImage(image, str(file))
    with pytest.raises(DataError) as caught:
        measured(folder, tmp_path / "work")
    text = str(caught.value)
    assert all(part in text for part in ("phantom_002", "T1", "FLAIR", "x 500 to 548"))


def test_records_of_an_earlier_version_are_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (image,), label = one_case()
    folder = write_set(tmp_path / "Dataset001_Tiny", {"a": ([image, image], label)})
    first = measured(folder, tmp_path / "work")
    file = Workspace(tmp_path / "work", "Dataset001_Tiny").fingerprint_cases / "a.json"
    file.write_text(file.read_text().replace(f'"schema": {CaseRecord.schema_number}', '"schema": 1'))
    seen = []
    original = measure_module.examine
    monkeypatch.setattr(measure_module, "examine", lambda *args: seen.append(args) or original(*args))
    assert measured(folder, tmp_path / "work") == first
    assert len(seen) == 1


def test_components_and_how_far_strokes_cover_a_class() -> None:
    labels = Labels(classes=(LabelClass(name="a", raw_values=(1,)), LabelClass(name="b", raw_values=(2,))), ignore=3)
    index = np.full((3, 6, 6), IGNORE, np.int16)
    index[0, 1, 0:4] = 1  # a stroke in a box of 1 x 4
    index[1, 0:3, 0], index[1, 2, 1:4] = 1, 1  # an angle in a box of 3 x 4
    index[2, 5, 5] = 1  # a piece of its own
    stroke, absent = measure_classes(index, labels, (5.0, 1.0, 2.0))
    assert (stroke.voxels, stroke.components) == (11, (1, 10))
    assert stroke.cover == pytest.approx(11 / (4 + 12 + 1))
    assert stroke.component_ml((5.0, 1.0, 2.0)) == pytest.approx((0.01, 0.055, 0.1))
    assert (absent.component_ml((5.0, 1.0, 2.0)), absent.cover) == ((0.0, 0.0, 0.0), 0.0)
    across_x, _ = measure_classes(index, labels, (1.0, 1.0, 2.0))
    assert across_x.cover == pytest.approx(11 / (2 * 3 + 3 * 2 * 2 + 1))


def test_sparse_cases_tell_cover_and_dense_ones_do_not(tmp_path: Path) -> None:
    (image,), label = one_case()
    sparse = label.copy()
    sparse[:, :, 5:] = 3
    labels = {"background": 0, "organ": 1, "lesion": 2, "ignore": 3}
    cases = {"dense": ([image], label), "sparse": ([image], sparse)}
    dataset = open_dataset(write_set(tmp_path / "Dataset001_Tiny", cases, labels=labels))
    dense, drawn = (measure_case(dataset, case) for case in dataset.cases)
    assert dense.class_cover == (0.0, 0.0)
    assert drawn.class_cover == (1.0, 1.0)
    assert dense.class_component_ml[0] == pytest.approx((8 * 0.006, 8 * 0.006, 8 * 0.006))


@pytest.mark.parametrize("made_up", MADE_UP_DATASETS, ids=lambda made_up: made_up.name)
def test_every_kind_of_data_can_be_shown(made_up) -> None:
    found, _ = example_fingerprint(made_up)
    text = printed(found)
    expected = {
        "missing modality": "T2 is missing in 4 of 12 cases",
        "unpaired": "No case has two modalities",
        "hardly comparable": "say too little about each other",
        "displaced rigidly": "10 of 10 tried cases below 2.0 mm",
        "displaced for good": "brings 0 of 10 tried cases",
        "few labels": "8 of 12 cases have no label",
        "seen in part": "sees 70% of the reference field of view",
    }
    assert expected.get(made_up.name, made_up.name) in " ".join(text.split())
