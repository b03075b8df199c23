"""Pages of scores and comparisons: they say what was found, load nothing, and take no name for markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from autofuse.dataset.types import LabelClass, Labels
from autofuse.evaluation.comparable import Values, chosen_metrics
from autofuse.evaluation.comparison import compare_scores
from autofuse.evaluation.comparison_types import Comparison
from autofuse.evaluation.metrics import score_case
from autofuse.evaluation.scoring import LESION_RULES, Scoring
from autofuse.evaluation.summary import summarise
from autofuse.evaluation.types import Failure, Scores
from autofuse.report.comparison_page import comparison_page
from autofuse.report.paired_chart import Panel, paired_chart, spread_cases
from autofuse.report.scores_page import scores_page

LABELS = Labels(classes=(LabelClass(name="<b>tumour", raw_values=(1,)),))
RULES = Scoring(
    regions=(LabelClass(name="<b>tumour & edge", raw_values=(1,)),), tolerance_mm=2.0, lesions=LESION_RULES["brats-met"]
)


def scores(shift: int, missing: tuple[str, ...] = ()) -> Scores:
    """Eight cases of a run of voxels, predicted so far off."""
    cases = []
    for k in range(8):
        truth, mask = (np.zeros((1, 1, 40), np.int16) for _ in range(2))
        truth[0, 0, 5 : 15 + k], mask[0, 0, 5 + shift : 15 + k + shift] = 1, 1
        if f"case{k}" not in missing:
            cases.append(score_case(f"case{k}", truth, mask, LABELS, (1, 1, 1), scoring=RULES))
    failed = [Failure(case=case, problem="<script>no mask") for case in missing]
    return summarise(cases, LABELS, scoring=RULES, failed=failed)


@pytest.fixture(scope="module")
def compared() -> tuple[Comparison, list[Values]]:
    folders = {"near": Path("/masks/near"), 'f"ar': Path("/masks/far")}
    parts = [scores(1), scores(3, missing=("case7",))]
    return compare_scores("Data", folders, parts, chosen_metrics(None, lesions=True), {})


class Outward(HTMLParser):
    """Everything in a page that could be loaded from elsewhere, and every tag."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "action", "data", "poster", "srcset") and not (value or "").startswith("#"):
                self.found.append(f"{tag} {name}={value}")


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_a_comparison_says_what_was_found(compared: tuple[Comparison, list[Values]]) -> None:
    comparison, values = compared
    text = text_of(comparison_page(comparison, values))
    dice = next(pair for pair in comparison.pairs if pair.metric == "dice")
    for said in (f"{dice.first_mean:.3f}", f"{dice.second_mean:.3f}", f"{dice.difference:+.3f}", f"{dice.p_holm:.3f}"):
        assert said in text
    assert "worse in 8 of 8 cases" in text
    assert "1 mask is missing" in text and "case7" in text and "counts as worst" in text
    assert "Holm" in text and "374 mm" in text and "NSD within 2 mm" in text and "/masks/near" in text


def test_pages_load_nothing_and_take_names_as_words(compared: tuple[Comparison, list[Values]]) -> None:
    pages = (comparison_page(*compared), scores_page(scores(2, missing=("case1",)), "Data <i>"))
    for page in pages:
        outward = Outward(page)
        assert outward.found == []
        assert not {"b", "i", "link", "iframe", "object", "img"} & set(outward.tags)
        assert outward.tags.count("script") <= 1
        assert not re.search(r"url\(|@import|https?://", page)
        assert "&lt;b&gt;tumour &amp; edge" in page


def test_every_case_has_a_dot_in_every_folder(compared: tuple[Comparison, list[Values]]) -> None:
    page = comparison_page(*compared)
    for case in range(8):
        assert page.count(f"<title>case{case}, near:") == len(compared[0].metrics)
    assert "@media print" in page


def test_the_scores_of_one_folder_have_a_page() -> None:
    made = scores(2)
    text = text_of(scores_page(made, "Data"))
    assert f"{made.mean_dice:.3f}" in text and "Lesion by lesion (brats-met)" in text
    assert "&lt;b&gt;tumour &amp; edge = 1" in text


def test_lines_show_better_and_worse_and_many_cases_are_spread() -> None:
    rows = {"up": (0.2, 0.4), "down": (0.9, 0.1), "same": (0.5, 0.5)}
    panel = Panel("liver", rows, ((0.53, None, None), (0.33, 0.1, 0.5)))
    svg = str(paired_chart([panel], ["a", "b"], label="Dice", higher_is_better=True, limits=(0.0, 1.0)))
    assert [svg.count(f'"line thin {style}"') for style in ("s3", "s2", "s7")] == [1, 1, 1]
    turned = str(paired_chart([panel], ["a", "b"], label="mm", higher_is_better=False, limits=(0.0, 1.0)))
    assert turned.count('"line thin s2"') == 1
    many = {f"{index:04d}": (index / 1000, index / 1000) for index in range(1000)}
    chosen = spread_cases(many, 11)
    assert (len(set(chosen)), chosen[0], chosen[-1]) == (11, "0000", "0999")
