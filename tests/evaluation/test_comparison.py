"""Folders side by side: what counts as worst, differences, tests, corrections and ranks on numbers known by hand."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from autofuse.dataset.types import IGNORE, LabelClass, Labels
from autofuse.evaluation.comparable import COMPARABLE, Metric, Values, chosen_metrics, comparable_values
from autofuse.evaluation.comparison import compare_scores
from autofuse.evaluation.comparison_table import cases_to_csv, comparison_tables, pairs_to_csv
from autofuse.evaluation.comparison_types import Comparison
from autofuse.evaluation.metrics import score_case
from autofuse.evaluation.ranks import case_ranks, ranking
from autofuse.evaluation.scoring import LESION_RULES, Scoring
from autofuse.evaluation.significance import holm, signed_rank
from autofuse.evaluation.summary import summarise
from autofuse.evaluation.types import Failure, Scores
from autofuse.foundation.errors import DataError, UsageError

LABELS = Labels(classes=(LabelClass(name="liver", raw_values=(1,)), LabelClass(name="tumour", raw_values=(2,))))
DICE, HD95 = COMPARABLE["dice"], COMPARABLE["hd95_mm"]
PLAIN = Scoring(lesions=LESION_RULES["plain"])


def folder(masks: dict[str, tuple[str, str]], scoring: Scoring | None = None, missing: tuple[str, ...] = ()) -> Scores:
    """Scores of lines of voxels, each written as its class indices, truth first; ``?`` is ignored."""

    def voxels(line: str) -> np.ndarray:
        return np.array([IGNORE if letter == "?" else int(letter) for letter in line], np.int16).reshape(1, 1, -1)

    cases = [score_case(case, *map(voxels, pair), LABELS, (1, 1, 1), scoring=scoring) for case, pair in masks.items()]
    return summarise(cases, LABELS, scoring=scoring, failed=[Failure(case=case, problem="no mask") for case in missing])


def liver(*scores: Scores, metric: Metric = DICE) -> dict[str, tuple[float, ...]]:
    return dict(comparable_values(scores, [metric])[0].by_case)


def test_a_missing_mask_counts_as_worst_and_distances_as_the_diagonal() -> None:
    good = folder({"a": ("0110", "0110"), "b": ("0110", "0100")})
    bad = folder({"a": ("0110", "0000")}, missing=("b",))
    assert liver(good, bad) == {"a": (1.0, 0.0), "b": (2 / 3, 0.0)}
    diagonal = float(np.sqrt(4**2 + 1 + 1))
    distances = liver(good, bad, metric=HD95)
    assert distances["a"] == (0.0, pytest.approx(diagonal))
    assert distances["b"][0] < 1.1 and distances["b"][1] == pytest.approx(diagonal)


def test_what_nobody_has_says_nothing_and_a_false_alarm_costs() -> None:
    quiet = folder({"a": ("0220", "0220"), "b": ("0220", "0220")})
    alarm = folder({"a": ("0220", "0220"), "b": ("0220", "1220")})
    assert liver(quiet, alarm) == {"b": (1.0, 0.0)}
    assert liver(quiet, alarm, metric=HD95)["b"] == (0.0, pytest.approx(np.sqrt(18)))


def test_a_missing_mask_is_worst_where_the_truth_is_empty_too() -> None:
    assert liver(folder({"a": ("0220", "0220")}), folder({}, missing=("a",))) == {"a": (1.0, 0.0)}


def test_distances_to_a_sparse_truth_are_left_out() -> None:
    one, other = folder({"a": ("01?", "010")}), folder({"a": ("01?", "100")})
    assert liver(one, other) == {"a": (1.0, 0.0)}
    assert liver(one, other, metric=HD95) == {}
    one, other = (folder({"a": ("01?", line)}, PLAIN) for line in ("010", "100"))
    assert [liver(one, other, metric=COMPARABLE[name]) for name in ("lesion_dice", "lesion_f1")] == [{}, {}]


def test_lesions_that_nobody_has_to_find_are_no_fault() -> None:
    small = Scoring(lesions=LESION_RULES["brats-met"])
    one, other = folder({"a": ("0110", "0110")}, small), folder({"a": ("0110", "0000")}, small)
    assert liver(one, other, metric=COMPARABLE["lesion_f1"]) == {"a": (1.0, 1.0)}
    assert liver(one, other, metric=COMPARABLE["lesion_hd95_mm"]) == {"a": (0.0, 0.0)}


def test_a_missing_mask_is_no_better_than_an_empty_one() -> None:
    """The rule's 374 mm are longer than the diagonal of this image."""
    small = Scoring(lesions=LESION_RULES["brats-met"])
    empty, absent = folder({"a": ("1110", "0000")}, small), folder({}, small, missing=("a",))
    assert liver(empty, absent, metric=COMPARABLE["lesion_hd95_mm"]) == {"a": (374.0, 374.0)}


def test_metrics_are_chosen_by_name() -> None:
    assert [metric.name for metric in chosen_metrics(None, lesions=False)] == ["dice", "nsd", "hd95_mm"]
    assert [metric.name for metric in chosen_metrics(None, lesions=True)][3:] == [
        "lesion_dice",
        "lesion_hd95_mm",
        "lesion_f1",
    ]
    assert [metric.name for metric in chosen_metrics(["nsd", "dice", "nsd"], lesions=False)] == ["nsd", "dice"]
    with pytest.raises(UsageError, match="no such metric"):
        chosen_metrics(["iou"], lesions=False)
    with pytest.raises(UsageError, match="Lesions are not scored"):
        chosen_metrics(["lesion_f1"], lesions=False)


def test_holm_by_hand() -> None:
    """Smallest first: 3 times 0.01, 2 times 0.03, then 1 times 0.04, which may not fall below what came before."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_signed_rank_by_hand() -> None:
    """Six subjects, all of one sign: 2 of 64 patterns. The smallest one against the others: 4 of 64."""
    all_up = {f"{index}": 0.1 * (index + 1) for index in range(6)}
    assert signed_rank(all_up, {}).p == pytest.approx(2 / 64)
    assert signed_rank(all_up | {"0": -0.1}, {}).p == pytest.approx(4 / 64)
    assert signed_rank(all_up | {"equal": 0.0}, {}).p == pytest.approx(2 / 64)


def test_too_few_subjects_get_no_p_value_but_the_reason() -> None:
    five = {f"{index}": 0.1 * (index + 1) for index in range(5)}
    assert signed_rank(five, {}) == (None, "too few for a test: 5 subjects differ, 6 are needed")
    assert signed_rank({"a": 0.5}, {}).note == "too few for a test: 1 subject differs, 6 are needed"
    assert signed_rank({"a": 0.0, "b": 0.0}, {}) == (None, "no subject differs")
    ten_scans_of_five = {f"{case}{scan}": gap for case, gap in five.items() for scan in "ab"}
    assert signed_rank(ten_scans_of_five, {case: case[0] for case in ten_scans_of_five}).p is None


def test_ranks_within_a_case_then_their_mean() -> None:
    """Case a: Dice ranks 1, 2, 3 and distance ranks 1.5, 1.5, 3; case b: Dice only, all equal."""
    values = [
        Values("liver", DICE, {"a": (0.9, 0.8, 0.1), "b": (0.5, 0.5, 0.5)}),
        Values("liver", HD95, {"a": (2.0, 2.0, 9.0)}),
    ]
    ranks = case_ranks(values, 3)
    assert ranks["a"].tolist() == [1.25, 1.75, 3.0] and ranks["b"].tolist() == [2.0, 2.0, 2.0]
    first, second, third = ranking(values, ["x", "y", "z"], {}, resamples=1000, seed=1)
    assert [(item.name, item.place, item.mean_rank) for item in (first, second, third)] == [
        ("x", 1, 1.625),
        ("y", 2, 1.875),
        ("z", 3, 2.5),
    ]
    # A draw of two cases has no a in one of four: then all are equal and take the first place.
    assert third.places == pytest.approx((0.25, 0.0, 0.75), abs=0.05)
    assert first.places == (1.0, 0.0, 0.0)
    assert (third.lower, third.upper) == (2.0, 3.0)


def test_a_single_subject_has_no_stability() -> None:
    (first, _) = ranking([Values("liver", DICE, {"a": (0.9, 0.8)})], ["x", "y"], {}, resamples=10, seed=1)
    assert (first.lower, first.upper, first.places) == (None, None, ())


def compared(missing: tuple[str, ...] = ()) -> tuple[Comparison, list[Values]]:
    """Eight cases: the truth is 8 voxels of liver; x finds 4 + k/2 of them, y one more in each."""
    truth = "1" * 8 + "0" * 4
    lines = {f"case{k}": ("1" * (4 + k // 2)).ljust(12, "0") for k in range(8)}
    x = folder({case: (truth, line) for case, line in lines.items()})
    y = {case: (truth, line.replace("10", "11", 1)) for case, line in lines.items() if case not in missing}
    folders = {"x": Path("/x"), "y": Path("/y")}
    return compare_scores("D", folders, [x, folder(y, missing=missing)], [DICE], {})


def dice(found: int) -> float:
    return 2 * found / (8 + found)


def test_differences_intervals_and_tests_of_a_whole_comparison() -> None:
    found, _ = compared()
    liver_pair = found.pairs[0]
    gaps = [dice(5 + k // 2) - dice(4 + k // 2) for k in range(8)]
    assert liver_pair.difference == pytest.approx(np.mean(gaps))
    assert min(gaps) < (liver_pair.lower or 0) < np.mean(gaps) < (liver_pair.upper or 1) < max(gaps)
    assert (liver_pair.better, liver_pair.worse, liver_pair.equal) == (8, 0, 0)
    assert liver_pair.p == pytest.approx(2 / 2**8, abs=0.01)
    assert (found.tests, liver_pair.p_holm) == (1, liver_pair.p)
    assert liver_pair.significant
    assert [item.name for item in found.ranks] == ["y", "x"]
    assert {(item.name, item.cases): item.mean for item in found.means}[("x", 8)] == pytest.approx(
        np.mean([dice(4 + k // 2) for k in range(8)])
    )


def test_missing_cases_are_named_and_change_the_difference() -> None:
    found, values = compared(missing=("case0",))
    assert [item.case for item in found.folders[1].missing] == ["case0"] and not found.folders[0].missing
    assert values[0].by_case["case0"] == (pytest.approx(dice(4)), 0.0)
    assert found.pairs[0].worse == 1
    assert found.cases == 8


def test_a_comparison_survives_its_file_and_is_the_same_each_time(tmp_path: Path) -> None:
    found, _ = compared()
    found.save(tmp_path / "comparison.json")
    assert Comparison.load(tmp_path / "comparison.json") == found == compared()[0]


def test_nothing_to_compare_is_an_error() -> None:
    empty = folder({"a": ("0000", "0000")})
    with pytest.raises(DataError, match="nothing to compare"):
        compare_scores("D", {"x": Path("/x"), "y": Path("/y")}, [empty, empty], [DICE], {})


def test_tables_hold_every_pair_and_every_case() -> None:
    found, values = compared(missing=("case0",))
    row, of_the_missing_mask = list(csv.DictReader(io.StringIO(pairs_to_csv(found))))
    assert (of_the_missing_mask["class"], of_the_missing_mask["cases"]) == ("tumour", "1")
    assert (row["first"], row["second"], row["class"], row["metric"]) == ("x", "y", "liver", "dice")
    assert float(row["difference"]) == found.pairs[0].difference
    rows = list(csv.DictReader(io.StringIO(cases_to_csv(["x", "y"], values))))
    assert len(rows) == 8 + 1 and rows[0] == {
        "case": "case0",
        "class": "liver",
        "metric": "dice",
        "x": str(dice(4)),
        "y": "0.0",
    }
    console = Console(width=160, record=True, file=io.StringIO())
    for table in comparison_tables(found):
        console.print(table.to_rich())
    text = console.export_text()
    assert "y compared with x" in text and "liver" in text and "counts as worst" in text
