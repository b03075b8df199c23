"""The reference names every field that a data set may have, and its example is one."""

from __future__ import annotations

import json
import re
from pathlib import Path

from autofuse.dataset.extensions import Extensions
from autofuse.dataset.grids import SILENT_GAP, TOLERATED_GAP
from autofuse.dataset.inspection import ANISOTROPY_SAID
from autofuse.dataset.raw import MAX_INTENSITY
from autofuse.dataset.subjects import MAX_MEAN_SIZE, MIN_GROUPS
from autofuse.dataset.table import LABEL_FILES_LOOKED_AT, RESERVED
from autofuse.images import SUPPORTED_ENDINGS

PAGE = (Path(__file__).resolve().parents[2] / "documentation" / "reference" / "dataset_format.md").read_text("utf-8")


def test_every_field_is_documented_and_nothing_else() -> None:
    table = PAGE.partition("### The key autofuse")[2].partition("```")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(Extensions.model_fields)
    columns = PAGE.partition("## Table")[2].partition("## Subjects")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", columns, re.MULTILINE)) == set(RESERVED)


def test_example_is_valid() -> None:
    example = json.loads(PAGE.partition("```json")[2].partition("```")[0])
    Extensions.model_validate_json(json.dumps(example["autofuse"]))


def test_numbers_are_those_of_the_code() -> None:
    text = " ".join(PAGE.split())
    assert f"up to {SILENT_GAP:g} voxels" in text and f"up to {TOLERATED_GAP:g} voxels" in text
    assert f"at least {MIN_GROUPS} subjects" in text and f"{MAX_MEAN_SIZE} cases or fewer" in text
    assert f"first {LABEL_FILES_LOOKED_AT} label maps" in text
    assert f"1:{ANISOTROPY_SAID:g}" in text and "1e18" in text and MAX_INTENSITY == 1e18
    assert all(f"`{ending}`" in text for ending in SUPPORTED_ENDINGS)
