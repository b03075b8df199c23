"""Whatever stands in dataset.json, a check answers with problems and never with an exception."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_dataset import CASES, build, description, write_json

from autofuse.dataset import check_dataset, open_dataset
from autofuse.foundation.errors import DataError

ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    10**400,
    1e300,
    "",
    "x",
    "0",
    "../..",
    "a\0b",
    "²",
    "\ud800",
    [],
    {},
    [[]],
    [{}],
)

NNUNET = description(
    labels={"background": 0, "whole": [1, 2], "core": 2, "ignore": 4},
    regions_class_order=[1, 2],
    dataset={
        case: {"images": [f"imagesTr/{case}_{k:04d}.nii.gz" for k in (0, 1)], "label": f"labelsTr/{case}.nii.gz"}
        for case in CASES
    },
    autofuse={
        "optional_modalities": ["FLAIR"],
        "subject_pattern": "(case_.)",
        "splits": [{"train": ["case_a"], "val": ["case_b"]}],
        "evaluation_labels": "labelsTr",
        "outside_files": True,
    },
)
DECATHLON = {
    "modality": {"0": "T1"},
    "labels": {"0": "background", "1": "a", "2": "b"},
    "training": [{"image": f"imagesTr/{case}_0000.nii.gz", "label": f"labelsTr/{case}.nii.gz"} for case in CASES],
    "test": ["imagesTr/case_a_0001.nii.gz"],
}


def _places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from _places(value, (*path, key))


def _with(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(content)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


def _opens_or_is_refused(folder: Path) -> None:
    try:
        open_dataset(folder)
    except DataError as error:
        assert error.remedy
        json.dumps(error.fields(), ensure_ascii=False).encode()


@pytest.mark.parametrize("base", [NNUNET, DECATHLON], ids=["nnU-Net", "Decathlon"])
def test_any_value_anywhere_is_a_result(base: dict[str, Any], tmp_path: Path) -> None:
    folder = build(tmp_path / "Dataset001_Tiny")
    write_json(folder, base)
    assert check_dataset(folder, workers=0).ok
    for path in _places(base):
        for odd in ODD:
            write_json(folder, _with(base, path, odd))
            _opens_or_is_refused(folder)


@pytest.mark.parametrize("base", [NNUNET, DECATHLON], ids=["nnU-Net", "Decathlon"])
def test_every_key_can_be_named_oddly(base: dict[str, Any], tmp_path: Path) -> None:
    folder = build(tmp_path / "Dataset001_Tiny")
    for path in [path for path in _places(base) if isinstance(path[-1], str)]:
        for odd in ("", "..", "a/b", "a\nb", "\ud800", "x" * 300):
            changed = copy.deepcopy(base)
            place = changed
            for key in path[:-1]:
                place = place[key]
            place[odd] = place.pop(path[-1])
            write_json(folder, changed)
            _opens_or_is_refused(folder)
