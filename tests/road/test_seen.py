"""What a prediction was made from reaches people and programs; pictures show every modality on one grid."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from rich.console import Console

from autofuse.cli import tables
from autofuse.dataset import load_case, open_dataset
from autofuse.foundation.errors import DataError
from autofuse.foundation.workers import Outcome
from autofuse.inference.folder import PredictedCase
from autofuse.inference.prediction import Seen
from autofuse.phantom.options import PhantomOptions
from autofuse.phantom.write import write_phantom
from autofuse.road.pictures import on_reference_grid
from autofuse.road.prediction import _incomplete
from autofuse.road.results import Predicted


def test_cases_that_lacked_something_are_named_with_what_it_was() -> None:
    def outcome(name: str, seen: Seen) -> Outcome[PredictedCase]:
        return Outcome(name, PredictedCase(Path(f"{name}.nii.gz"), None, False, seen), None, 0.1)

    outcomes = [
        outcome("whole", Seen(grid="T1")),
        outcome("lacking", Seen(absent=("FLAIR",))),
        outcome("narrow", Seen(partly=(("T2", 0.63),))),
        Outcome("bad", None, DataError("broken"), 0.1),
    ]
    told = _incomplete(outcomes)
    assert [item.case for item in told] == ["lacking", "narrow"]
    masks = Predicted(run="r", folds=(0,), folder="/out", cases=("whole", "lacking", "narrow"), incomplete=told)
    content = json.loads(masks.to_json())["value"]["incomplete"]
    assert content[0]["absent"] == ["FLAIR"] and content[1]["partly"] == [["T2", 0.63]]
    console = Console(width=150, file=io.StringIO(), record=True)
    console.print(tables.predicted(masks))
    text = console.export_text()
    assert "predicted without FLAIR" in text and "predicted with T2 in 63% of the image" in text


def test_pictures_show_a_modality_from_another_grid_where_it_lies(tmp_path: Path) -> None:
    root = tmp_path / "Dataset001_Phantom"
    plain, own = (PhantomOptions(cases=2, test_cases=0, shape=(20, 22, 24), noise=0.0, coarse=c) for c in (1.0, 2.0))
    write_phantom(root / "plain", plain)
    write_phantom(root / "own", own)
    there, here = (load_case(d, d.cases[0]) for d in (open_dataset(root / "own"), open_dataset(root / "plain")))
    shown, original = on_reference_grid(there, 1), here.images[1]
    assert shown is not None and original is not None and shown.shape == original.voxels.shape
    assert np.corrcoef(shown.ravel(), original.voxels.ravel())[0, 1] > 0.9
    first = there.images[0]
    assert first is not None and on_reference_grid(there, 0) is first.voxels
