"""`autofuse explain` tells and draws once for each plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_road import MEMORY_GIB, draw

from autofuse import road
from autofuse.cli import main as command
from autofuse.fingerprint.types import PairFacts
from autofuse.road.explanation import pictured_cases
from autofuse.testing.fingerprints import MADE_UP_DATASETS, example_fingerprint


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny data set with a plan, and its workspace's root."""
    folder = tmp_path_factory.mktemp("explain")
    raw = draw(folder, cases=4, test_cases=0, shift_mm=3.0, shape=(20, 24, 24))
    road.plan(raw, workspace=folder / "ws", memory_gib=MEMORY_GIB, device="cpu", workers=0)
    return raw, folder / "ws"


def test_pictures_are_drawn_once_for_a_plan(planned: tuple[Path, Path]) -> None:
    raw, root = planned
    assert road.explain(raw, workspace=root, pictures=False, workers=0).pictures == ()
    told = road.explain(raw, workspace=root, workers=0)
    names = [path.name for path in told.pictures]
    assert names[:2] == ["presence.png", "annotation.png"]
    assert len(names) == 5 and all(name.startswith("overlay_phantom_00") for name in names[2:])
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in told.pictures)
    stamps = [path.stat().st_mtime_ns for path in told.pictures]
    again = road.explain(raw, workspace=root, workers=0)
    assert [path.stat().st_mtime_ns for path in again.pictures] == stamps
    told.pictures[0].unlink()
    assert road.explain(raw, workspace=root, workers=0).pictures[0].exists()
    changed = told.plan.model_copy(update={"steps": told.plan.steps + 1})
    changed.save(root / raw.name / "plan.json")
    other = road.explain(raw, workspace=root, workers=0)
    assert other.plan == changed and other.pictures[2].stat().st_mtime_ns > stamps[2]


def test_the_answer_names_story_and_pictures(planned: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    raw, root = planned
    assert command.main(["explain", str(raw), "--workspace", str(root), "--json", "--workers", "0"]) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    assert "4 cases of 4 patients" in result["story"][0]
    assert all(Path(path).exists() for path in result["pictures"])
    assert command.main(["explain", str(raw), "--workspace", str(root), "--workers", "0"]) == 0
    shown = capsys.readouterr().out
    assert shown.index("4 cases of 4 patients") < shown.index("because") < shown.index("presence.png")


def test_the_most_displaced_case_is_shown() -> None:
    fingerprint, _ = example_fingerprint(next(item for item in MADE_UP_DATASETS if item.name == "missing modality"))
    cases = []
    for number, case in enumerate(fingerprint.cases):
        pair = PairFacts(
            fixed=0, moving=1, displacement_mm=(0.0, 0.0, float(number)), distance_mm=float(number),
            agreement=1.2, agreement_unmoved=1.1, resolution_mm=1.0, reliable=number != 11,
        )  # fmt: skip
        cases.append(case.model_copy(update={"pairs": (pair,) if all(case.present) else ()}))
    shown = pictured_cases(fingerprint.model_copy(update={"cases": tuple(cases)}))
    assert shown[0] == "case 10"
    assert len(shown) == 3
    alone = tuple(case.model_copy(update={"present": (True, False)}) for case in cases)
    assert pictured_cases(fingerprint.model_copy(update={"cases": alone})) == ()
