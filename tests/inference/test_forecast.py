"""What predicting needs is stated before it begins, from headers alone, and refused with the numbers if need be."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from inference_fakes import Voxelwise, class_labels, make_model, make_task

from autofuse.dataset.types import Case, Dataset, ImageFile, Modality
from autofuse.foundation import console
from autofuse.foundation.errors import ResourceError
from autofuse.images.geometry import Geometry
from autofuse.images.write import write_image
from autofuse.inference import folder
from autofuse.inference.folder import predict_cases, require_predicted
from autofuse.inference.forecast import case_reading_gib, forecast, grids_of, headers_of, loads_of
from autofuse.inference.memory import GIB, Load, held_gib, reading_gib, require_room
from autofuse.inference.prediction import PredictOptions

LABELS = class_labels(2)


def make_dataset(root: Path, shapes: dict[str, tuple[int, int, int]]) -> Dataset:
    """A case a shape, int16, one modality."""
    for name, shape in shapes.items():
        write_image(root / f"{name}_0000.nii.gz", np.ones(shape, dtype=np.int16), Geometry(shape))
    cases = tuple(Case(id=name, subject=name, images=(ImageFile(path=f"{name}_0000.nii.gz"),)) for name in shapes)
    return Dataset(
        name="fake",
        root=str(root),
        layout="images",
        modalities=(Modality(name="modality 0"),),
        labels=LABELS,
        cases=(),
        test_cases=cases,
    )


def make_models(**changes: object) -> list[folder.Model]:
    return [make_model(make_task(LABELS, **changes), Voxelwise())]  # type: ignore[arg-type]


def test_reading_is_counted_by_hand() -> None:
    million = (100, 100, 100)
    # Raw int16, and six bytes a voxel: float32 with masks, or float32 with its halves.
    same = Load(million, million, inputs=1, outputs=3, raw_bytes=2_000_000)
    assert reading_gib(same) * GIB == pytest.approx(8_000_000)
    # On twice the grid: raw, masks on both, prepared float32, its source, and two products of the larger size.
    finer = Load((200, 100, 100), million, inputs=1, outputs=3, raw_bytes=2_000_000)
    assert reading_gib(finer) * GIB == pytest.approx((2 + 1 + 2 + 8 + 4 + 16) * 1e6)


def test_the_largest_case_is_foretold_from_its_header(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"small": (8, 9, 10), "large": (40, 30, 20)})
    models = make_models()
    loads = {case.id: loads_of(grids_of(models), headers_of(dataset, case)) for case in dataset.test_cases}
    (load,) = loads["large"].values()
    assert (load.native, load.prepared, load.raw_bytes) == ((40, 30, 20), (40, 30, 20), 2 * 24_000)
    told = forecast(models, loads, PredictOptions(), overlap=True)
    assert told is not None and (told.case, told.shape) == ("large", (40, 30, 20))
    alone = forecast(models, {"large": loads["large"]}, PredictOptions(), overlap=False)
    assert alone is not None
    next_gib = case_reading_gib(loads["large"])
    assert told.computing_gib - alone.computing_gib == pytest.approx(next_gib + 2 * 24_000 / GIB, abs=2e-2)
    assert held_gib(load) * GIB == pytest.approx(4 * 24_000), "not normalised, so it may be beyond half floats"


def test_axes_are_named_as_the_file_has_them(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (8, 9, 10)})
    models = make_models(transpose=(2, 0, 1))
    loads = {"a": loads_of(grids_of(models), headers_of(dataset, dataset.test_cases[0]))}
    (load,) = loads["a"].values()
    assert load.native == (10, 8, 9)
    told = forecast(models, loads, PredictOptions(), overlap=True)
    assert told is not None and told.shape == (8, 9, 10)


def test_it_is_said_before_the_first_image_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = make_dataset(tmp_path / "raw", {"a": (8, 9, 10), "b": (9, 9, 10)})
    dataset.path("a_0000.nii.gz").write_bytes(b"no image")
    console.configure(quiet=False)
    console._settings.stderr = None
    predict_cases(make_models(), dataset, dataset.test_cases, tmp_path / "out")
    console._settings.stderr = None
    first = capsys.readouterr().err.splitlines()[0]
    assert re.search(r"needs at most [\d.]+ GiB of memory \(b, 9 x 9 x 10 voxels\)", first), first


def test_a_case_for_which_there_is_no_room_is_refused_with_the_numbers() -> None:
    require_room(0.001)
    with pytest.raises(ResourceError, match=r"up to 1000000\.0 GiB"):
        require_room(1e6)


def test_what_did_not_fit_beside_another_case_is_read_when_its_turn_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    console.configure(quiet=True)
    dataset = make_dataset(tmp_path / "raw", {"a": (8, 9, 10), "b": (9, 9, 10), "c": (8, 8, 8)})
    asked: list[float] = []

    def tight(gib: float) -> None:
        asked.append(gib)
        if len(asked) == 2:  # the second case, while the first is computed
            raise ResourceError("too much beside the first")

    monkeypatch.setattr(folder, "require_room", tight)
    require_predicted(predict_cases(make_models(), dataset, dataset.test_cases, tmp_path / "out"))
    assert len(asked) == 4
