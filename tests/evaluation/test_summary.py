"""Scores over cases: what enters a mean, intervals, tables."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from autofuse.dataset.types import LabelClass, Labels
from autofuse.evaluation.metrics import score_case
from autofuse.evaluation.summary import statistic, summarise
from autofuse.evaluation.table import case_table, summary_table, to_csv
from autofuse.evaluation.types import CaseScore, Failure, Scores

LABELS = Labels(classes=(LabelClass(name="liver", raw_values=(1,)), LabelClass(name="tumour", raw_values=(2,))))


def scores() -> Scores:
    def one(case: str, reference: list[int], prediction: list[int]) -> CaseScore:
        return score_case(case, *(np.array(x).reshape(1, 1, -1) for x in (reference, prediction)), LABELS, (1, 1, 1))

    cases = [
        one("b", [1, 1, 0, 0], [1, 1, 0, 0]),
        one("a", [1, 1, 0, 2], [1, 0, 0, 0]),
        one("c", [0, 0, 0, 0], [1, 0, 0, 0]),
    ]
    return summarise(cases, LABELS, failed=[Failure(case="d", problem="unreadable")])


def test_means_leave_out_what_is_not_defined() -> None:
    liver, tumour = scores().classes
    assert liver.statistics["dice"].mean == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert (liver.n_cases, liver.n_empty, liver.n_false_positive) == (3, 0, 1)
    assert (tumour.statistics["dice"].n, tumour.n_empty, tumour.n_missed) == (1, 2, 1)
    assert tumour.statistics["dice"].low is None
    assert scores().mean_dice == pytest.approx((5 / 9 + 0) / 2)


def test_cases_are_ordered_and_the_value_survives_its_file(tmp_path: Path) -> None:
    made = scores()
    assert [case.case for case in made.cases] == ["a", "b", "c"]
    made.save(tmp_path / "scores.json")
    assert Scores.load(tmp_path / "scores.json") == made


def test_bootstrap_is_seeded_and_covers_the_mean() -> None:
    values = np.random.default_rng(0).normal(0.8, 0.1, 40)
    numbers = {f"{index:02d}": float(value) for index, value in enumerate(values)}
    found = statistic(numbers, {})
    assert found == statistic(dict(reversed(numbers.items())), {})
    low, high = found.low, found.high
    half_width = 1.96 * values.std() / np.sqrt(40)
    assert low == pytest.approx(values.mean() - half_width, abs=0.01)
    assert high == pytest.approx(values.mean() + half_width, abs=0.01)


def test_nothing_to_average() -> None:
    assert statistic({"a": None, "b": None}, {}).n == 0
    assert statistic({"a": None, "b": None}, {}).mean is None


def test_scans_of_one_person_are_drawn_together() -> None:
    """Four scans of one person and one of another: the mean is that of five cases, the interval that of two persons."""
    numbers: dict[str, float | None] = {"a1": 0.8, "a2": 0.8, "a3": 0.8, "a4": 0.8, "b": 0.3, "c": None}
    alone = statistic(numbers, {})
    together = statistic(numbers, dict.fromkeys(("a1", "a2", "a3", "a4"), "a"))
    assert alone.mean == together.mean == pytest.approx(0.7)
    assert (together.low, together.high) == pytest.approx((0.3, 0.8))
    assert alone.low is not None and alone.low > 0.3
    assert statistic({"a1": 0.5, "a2": 0.7}, {"a1": "a", "a2": "a"}).low is None


def test_csv_has_a_row_per_case_and_class_and_names_failures() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(scores()))))
    assert len(rows) == 3 * 2 + 1
    assert rows[0]["case"] == "a" and rows[0]["class"] == "liver" and float(rows[0]["dice"]) == pytest.approx(2 / 3)
    assert rows[-1]["case"] == "d" and rows[-1]["note"] == "unreadable"


def test_tables_show_every_class_and_the_worst_case_first() -> None:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(summary_table(scores()))
    text = console.export_text()
    assert "liver" in text and "tumour" in text and "0.556" in text and "1 failed" in text
    assert list(case_table(scores()).columns[0].cells) == ["c", "a", "b"]
    assert list(case_table(scores(), worst=1).columns[0].cells) == ["c"]
