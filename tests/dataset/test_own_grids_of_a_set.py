"""Data sets whose modalities lie on several grids: what is loaded, what a check says, what is refused."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from autofuse.dataset import check_dataset, load_case, open_dataset
from autofuse.foundation.errors import DataError
from autofuse.images import read_image, write_image
from autofuse.phantom.options import PhantomOptions
from autofuse.phantom.write import write_phantom

OPTIONS = PhantomOptions(cases=4, test_cases=1, shape=(24, 26, 28), coarse=2.0, narrow=0.8, turned=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "Dataset001_Phantom"
    write_phantom(root, OPTIONS)
    return root


def _declare(folder: Path, **extensions: object) -> None:
    path = folder / "dataset.json"
    content = json.loads(path.read_text())
    content["autofuse"] = {**content.get("autofuse", {}), **extensions}
    path.write_text(json.dumps(content))


def test_each_image_stays_on_its_grid_and_the_label_names_the_reference(folder: Path) -> None:
    dataset = open_dataset(folder)
    raw = load_case(dataset, dataset.cases[0])
    first, second = raw.images
    assert first is not None and second is not None and raw.label is not None
    assert raw.reference == 0 and raw.geometry == first.geometry and raw.label.shape == OPTIONS.shape
    assert raw.on_reference(0) and not raw.on_reference(1)
    assert second.geometry.spacing_mm == pytest.approx((2.0, 2.0, 2.0), rel=0.1) and raw.warnings == ()
    # Neither the argument nor the data set overrules a label, whether its voxels are read or not.
    assert load_case(dataset, dataset.cases[0], reference=1).reference == 0
    assert load_case(dataset, dataset.cases[0], reference=1, with_label=False).reference == 0


def test_without_a_label_the_reference_is_asked_for_named_or_the_first(folder: Path) -> None:
    (case,) = open_dataset(folder).test_cases
    case = case.model_copy(update={"label": None, "evaluation_label": None})
    assert load_case(open_dataset(folder), case).reference == 0
    assert load_case(open_dataset(folder), case, reference=1).reference == 1
    _declare(folder, reference_modality="FLAIR")
    dataset = open_dataset(folder)
    assert dataset.reference == 1
    raw = load_case(dataset, case)
    assert raw.reference == 1 and raw.images[1] is not None and raw.geometry == raw.images[1].geometry
    assert load_case(dataset, case, reference=0).reference == 0
    lacking = load_case(dataset, case.model_copy(update={"images": (case.images[0], None)}))
    assert lacking.reference == 0 and "lacks FLAIR, the reference modality" in " ".join(lacking.warnings)


def test_a_check_says_it_in_one_line(folder: Path) -> None:
    report = check_dataset(folder, workers=0)
    assert report.ok and not report.warnings and report.facts is not None
    assert [modality.own_grids for modality in report.facts.modalities] == [0, 5]
    assert report.facts.modalities[1].grids_in_words == "FLAIR lies on a grid of its own in 5 of 5 cases"
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(report.to_rich())
    assert "FLAIR lies on a grid of its own in 5 of 5 cases" in console.export_text()


def _moved(folder: Path, case: str, by_mm: float) -> None:
    path = folder / "imagesTr" / f"{case}_0001.nii.gz"
    image = read_image(path)
    x, y, z = image.geometry.origin_mm
    write_image(path, image.voxels, replace(image.geometry, origin_mm=(x + by_mm, y, z)))


def test_images_without_a_place_in_common_are_refused_with_both_extents(folder: Path) -> None:
    dataset = open_dataset(folder)
    _moved(folder, dataset.cases[1].id, 300.0)
    with pytest.raises(DataError, match="FLAIR and T1 of this case show no place in common") as caught:
        load_case(dataset, dataset.cases[1])
    error = caught.value
    assert error.case == dataset.cases[1].id and error.remedy
    assert str(error.found).startswith("FLAIR: x ") and str(error.expected).startswith("T1: x ")
    (problem,) = check_dataset(folder, workers=0).errors
    assert problem.case == error.case and problem.found == error.found


def test_little_overlap_is_a_warning(folder: Path) -> None:
    dataset = open_dataset(folder)
    _moved(folder, dataset.cases[1].id, 16.0)
    report = check_dataset(folder, workers=0)
    (problem,) = report.warnings
    assert report.ok and problem.case == dataset.cases[1].id and "covers only" in problem.cause
    assert any("covers only" in text for text in load_case(dataset, dataset.cases[1]).warnings)


def test_a_label_on_the_grid_of_no_image_is_refused(folder: Path) -> None:
    dataset = open_dataset(folder)
    label = dataset.path(dataset.cases[0].label or "")
    image = read_image(label)
    write_image(label, image.voxels[1:], replace(image.geometry, shape=(23, 26, 28)))
    with pytest.raises(DataError, match="grid of none of the case's images: shape"):
        load_case(dataset, dataset.cases[0])
    assert not check_dataset(folder, workers=0).ok
