"""The names of segments come from a model that was imported, as they come from a data set."""

from __future__ import annotations

from pathlib import Path

from autofuse import road
from autofuse.road.dicom import read_label_names


def test_an_imported_model_says_what_its_masks_mean(good_bundle: Path, tmp_path: Path) -> None:
    made = road.import_model(good_bundle, workspace=tmp_path)
    labels = read_label_names(made.name, tmp_path)
    assert labels.classes
    assert tuple(item.name for item in labels.classes) == made.classes
