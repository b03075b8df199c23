"""A folder of masks against its references: files, grids, failures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from autofuse.dataset.types import LabelClass, Labels
from autofuse.evaluation.folder import SCORES_FILE, TABLE_FILE, evaluate_folder, require_complete
from autofuse.evaluation.types import Scores
from autofuse.foundation import console
from autofuse.foundation.errors import DataError, PartialError
from autofuse.images.geometry import Geometry
from autofuse.images.write import write_labels

LABELS = Labels(
    classes=(LabelClass(name="whole", raw_values=(1, 4)), LabelClass(name="core", raw_values=(4,))),
    region_values=(1, 4),
    ignore=9,
)
GEOMETRY = Geometry((3, 8, 8), (3.0, 1.0, 1.0), (5.0, -7.0, 2.0))


@pytest.fixture(autouse=True)
def quiet() -> None:
    console.configure(quiet=True)


def masks(*, hole: bool = False) -> np.ndarray:
    mask = np.zeros(GEOMETRY.shape, dtype=np.int16)
    mask[1, 2:6, 2:6] = 1
    mask[1, 3:5, 3:5] = 0 if hole else 4
    return mask


def write_pairs(tmp_path: Path, cases: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, Path]:
    references = {}
    for case, (reference, prediction) in cases.items():
        references[case] = tmp_path / "truth" / f"{case}.nii.gz"
        write_labels(references[case], reference, GEOMETRY)
        write_labels(tmp_path / "masks" / f"{case}.nii.gz", prediction, GEOMETRY)
    return references


def test_scores_of_regions_are_written_as_json_and_csv(tmp_path: Path) -> None:
    references = write_pairs(tmp_path, {"b": (masks(), masks()), "a": (masks(), masks(hole=True))})
    scores = evaluate_folder(tmp_path / "masks", references, LABELS, tmp_path / "scores", workers=0)
    require_complete(scores)
    assert [case.case for case in scores.cases] == ["a", "b"]
    whole, core = scores.cases[0].classes
    assert whole.dice == pytest.approx(2 * 12 / (2 * 12 + 4)) and core.status == "missed"
    assert scores.mean_dice == pytest.approx(((24 / 28 + 1) / 2 + 0.5) / 2)
    assert Scores.load(tmp_path / "scores" / SCORES_FILE) == scores
    assert len((tmp_path / "scores" / TABLE_FILE).read_text().splitlines()) == 5
    assert (
        json.loads((tmp_path / "scores" / SCORES_FILE).read_text())["value"]["cases"][0]["classes"][1]["hd95_mm"]
        is None
    )


def test_a_sparse_reference_is_scored_where_it_is_labelled(tmp_path: Path) -> None:
    sparse = masks()
    sparse[0], sparse[2] = 9, 9
    wrong_elsewhere = masks()
    wrong_elsewhere[0] = 4
    references = write_pairs(tmp_path, {"a": (sparse, wrong_elsewhere)})
    (case,) = evaluate_folder(tmp_path / "masks", references, LABELS, tmp_path / "scores", workers=0).cases
    assert [row.dice for row in case.classes] == [1.0, 1.0]
    assert case.classes[0].nsd is None and case.labelled_fraction == pytest.approx(1 / 3)


def test_failures_are_named_and_in_no_mean(tmp_path: Path) -> None:
    pairs = {name: (masks(), masks()) for name in "abcd"}
    references = write_pairs(tmp_path, pairs)
    (tmp_path / "masks" / "b.nii.gz").unlink()
    shifted = Geometry(GEOMETRY.shape, GEOMETRY.spacing_mm, (5.0, -7.0, 4.0))
    write_labels(tmp_path / "masks" / "c.nii.gz", masks(), shifted)
    write_labels(tmp_path / "masks" / "d.nii.gz", masks() + 2, GEOMETRY)
    scores = evaluate_folder(tmp_path / "masks", references, LABELS, tmp_path / "scores", workers=0)
    assert [case.case for case in scores.cases] == ["a"] and scores.mean_dice == 1.0
    problems = {item.case: item.problem for item in scores.failed}
    assert "no mask" in problems["b"]
    assert "origin differ" in problems["c"]
    assert str(tmp_path / "masks" / "c.nii.gz") in problems["c"] and str(references["c"]) in problems["c"]
    assert "does not declare" in problems["d"] and "d.nii.gz" in problems["d"]
    with pytest.raises(PartialError, match="3 of 4"):
        require_complete(scores)


def test_nothing_to_score_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No case"):
        evaluate_folder(tmp_path, {"a": tmp_path / "a.nii.gz"}, LABELS, tmp_path / "scores", workers=0)
