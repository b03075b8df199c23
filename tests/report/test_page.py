"""The page: whole, alone, escaped; and what its sections say, from values made by hand."""

from __future__ import annotations

import base64
import hashlib
import re

import numpy as np
from page_checks import read_page
from PIL import Image as PilImage

from autofuse.dataset.types import LabelClass, Labels
from autofuse.evaluation.metrics import score_case
from autofuse.evaluation.summary import summarise
from autofuse.evaluation.types import Failure, Scores
from autofuse.foundation.plain_table import PlainTable
from autofuse.report.aliases import Aliases, numbered, without_folders
from autofuse.report.data_section import data_section
from autofuse.report.embedded import WIDEST, embedded
from autofuse.report.ensemble_section import EnsembleChoice, ensemble_section
from autofuse.report.page import (
    SORTING,
    Commands,
    Heading,
    Numbers,
    Page,
    Pictures,
    Points,
    Reason,
    Reasons,
    Section,
    Words,
    render,
)
from autofuse.report.provenance_section import Artefact, provenance_section
from autofuse.report.scores_section import MOST_CASES, Judged, class_table, dice_strips, scores_section
from autofuse.report.training_section import FoldHistory, RunHistory, training_section
from autofuse.testing.fingerprints import MADE_UP_DATASETS, example_fingerprint
from autofuse.training.state import EpochRecord

EVIL = "</title></script><script>alert(1)</script><img src=x onerror=alert(1)>\"' onload='x"


def page_of(*sections: Section, **changes: object) -> str:
    """A page with these sections."""
    return render(Page("a title", "a line below", (("cases", "3"),), sections, **changes))  # type: ignore[arg-type]


def scores_of(*hits: int, name: str = "liver") -> Scores:
    """Scores of a case per number: of four true voxels so many are found, and nothing else."""
    labels = Labels(classes=(LabelClass(name=name, raw_values=(1,)),))
    truth = np.zeros((1, 4, 4), np.int16)
    truth[0, 1] = 1
    cases = []
    for number, hit in enumerate(hits):
        mask = np.zeros_like(truth)
        mask[0, 1, :hit] = 1
        cases.append(score_case(f"case_{number:02d}", truth, mask, labels, (1.0, 1.0, 1.0)))
    return summarise(cases, labels)


def epoch(number: int, loss: float | None, dice: float | None = None) -> EpochRecord:
    """The record of an epoch of ten steps."""
    return EpochRecord(
        epoch=number, step=10 * number, steps=100, learning_rate=0.1, loss=loss, terms={}, gradient_norm=1.0,
        dice=dice, dice_smooth=dice, elapsed_s=6.0 * number, step_s=0.6, memory_gib=0.5,
    )  # fmt: skip


def test_nothing_from_outside_breaks_out() -> None:
    picture = embedded(PilImage.new("RGB", (8, 8)), EVIL, EVIL)
    table = PlainTable(EVIL, (EVIL, "b"), ((EVIL,),), note=EVIL)
    blocks = (
        Heading(EVIL), Words(EVIL, warns=True), Points((EVIL,)), Commands((EVIL,)), Numbers(table, sortable=True),
        Pictures(EVIL, EVIL, (picture,), ((EVIL, "#ffffff"),)), Reasons((Reason(EVIL, EVIL, EVIL, EVIL, (EVIL,)),)),
    )  # fmt: skip
    run = RunHistory(EVIL, EVIL, EVIL, (FoldHistory(0, False, 10, 100, 0.1, 0.5, (epoch(1, 1.0, 0.5),)),), EVIL)
    sections = (
        Section("made", EVIL, blocks),
        training_section((run,), (EVIL,)),
        scores_section([Judged(EVIL, scores_of(1, 2, 4, name=EVIL), EVIL)]),
    )
    html = render(Page(EVIL, EVIL, ((EVIL, EVIL),), sections, (EVIL,), EVIL))
    page = read_page(html)
    assert page.text.count(EVIL) > 15
    assert html.count("<script") == 1
    assert [item for item in page.all("img") if item.get("alt") == EVIL]


def test_only_the_pages_own_script_may_run() -> None:
    html = page_of()
    written = html[html.index("<script>") + 8 : html.index("</script>")]
    assert written == SORTING
    digest = base64.b64encode(hashlib.sha256(written.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html


def test_short_rows_are_filled_up() -> None:
    page = read_page(page_of(Section("x", "x", (Numbers(PlainTable("t", ("a", "b", "c"), (("1",),))),))))
    assert len(page.all("td")) == len(page.all("th")) == 3


def test_text_stands_out_from_its_ground() -> None:
    """Contrast of text and lines by WCAG 2.1: 4.5 for text, 3 for drawings, in both themes."""
    html = page_of()
    themes = re.findall(r":root \{(.*?)\}", html, re.DOTALL)
    assert len(themes) == 3
    for theme in themes:
        colours = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", theme))
        for name in ("text", "faint", "link"):
            assert contrast(colours[name], colours["ground"]) >= 4.5, name
        assert contrast(colours["faint"], colours["raised"]) >= 4.5
        assert contrast(colours["text"], colours["warn-ground"]) >= 4.5
        for number in range(1, 9):
            assert contrast(colours[f"c{number}"], colours["ground"]) >= 3, number


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours (WCAG 2.1, relative luminance)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_scores_are_told_with_their_intervals() -> None:
    scores = scores_of(0, 2, 4)  # Dice 0, 2/3 and 1
    row, mean = class_table(scores).rows
    assert row[0] == "liver" and row[1] == "0.556" and row[3] == "0.667"
    dice = scores.classes[0].statistics["dice"]
    assert row[2] == f"{dice.low:.3f} to {dice.high:.3f}"
    assert row[8:] == ("0", "1", "0")
    assert mean[0] == "mean" and mean[1] == "0.556"
    (strip,) = dice_strips(scores)
    assert [round(value, 3) for _, value in strip.values] == [0.0, 0.667, 1.0]
    page = read_page(page_of(scores_section([Judged("held-out", scores)])))
    assert "Dice by case, worst first" in page.text
    assert page.text.index("case_00") < page.text.index("case_02")


def test_many_cases_are_listed_in_part_and_that_is_said() -> None:
    scores = scores_of(*[1] * (MOST_CASES + 5))
    text = read_page(page_of(scores_section([Judged("x", scores)]))).text
    assert "Left out, and better: 5 cases" in text


def test_without_scores_or_runs_a_sentence_says_so() -> None:
    text = read_page(page_of(scores_section([]), training_section([]))).text
    assert "Nothing is scored yet." in text and "Nothing is trained yet." in text


def test_failed_cases_are_told_and_can_be_kept_quiet() -> None:
    failed = (Failure(case="case_99", problem="no mask in /home/somebody"),)
    scores = scores_of(1).model_copy(update={"failed": failed})
    loud = read_page(page_of(scores_section([Judged("x", scores)]))).text
    quiet = read_page(page_of(scores_section([Judged("x", scores)], named_problems=False))).text
    assert "case_99: no mask in /home/somebody" in loud
    assert "in no mean: 1 case." in quiet and "case_99" not in quiet and "somebody" not in quiet


def test_folds_share_a_drawing_and_lost_lines_are_told() -> None:
    first = FoldHistory(0, True, 20, 20, 0.2, 0.5, (epoch(1, 2.0, 0.1), epoch(2, 1.0, 0.5)))
    second = FoldHistory(1, False, 10, 100, 0.1, None, (epoch(1, None),), lost=1)
    empty = FoldHistory(2, False, 0, 100, None, None, ())
    page = read_page(page_of(training_section([RunHistory("3d-x-1", "3d", "x", (first, second, empty))])))
    assert len(page.all("svg")) == 2
    assert "fold 0 from 2 to 1 at step 20" in (page.all("svg")[0]["aria-label"] or "")
    assert "1 line of the journal of fold 1 could not be read and is left out." in page.text
    assert "not finished" in page.text and "0 of 100" in page.text
    bare = read_page(page_of(training_section([RunHistory("3d-x-1", "3d", "x", (empty,))])))
    assert not bare.all("svg") and "No epoch is written down yet." in bare.text


def test_the_data_are_told_from_a_fingerprint_alone() -> None:
    made_up = next(item for item in MADE_UP_DATASETS if item.name == "missing modality")
    fingerprint, _ = example_fingerprint(made_up)
    page = read_page(page_of(data_section(fingerprint)))
    assert f"{len(fingerprint.cases)} cases of" in page.text and "is missing in" in page.text
    assert len(page.all("img")) == 2
    whole = fingerprint.model_copy(
        update={"cases": tuple(case.model_copy(update={"present": (True, True)}) for case in fingerprint.cases)}
    )
    assert len(read_page(page_of(data_section(whole))).all("img")) == 1, "presence is drawn where something is missing"
    assert not read_page(page_of(data_section(fingerprint, pictures=False))).all("img")


def test_an_ensemble_is_told_from_rows() -> None:
    members = PlainTable("Members", ("run", "folds", "weight"), (("3d-x-1", "0, 1", "2"), ("2d-x-2", "0, 1", "1")))
    steps = PlainTable("Post-processing", ("class", "step"), (("liver", "largest component"),))
    page = read_page(page_of(ensemble_section(EnsembleChoice(("Chosen on 40 cases.",), members, (steps,)))))
    assert "Chosen on 40 cases." in page.text and "largest component" in page.text
    assert len(page.all("table")) == 2


def test_files_commands_and_what_is_left_out_are_listed() -> None:
    section = provenance_section(
        (("autofuse", "0.1.0"),),
        (Artefact("plan.json", "2026-01-02 03:04:05", "abc123"),),
        ("autofuse plan X",),
        ("y",),
    )
    page = read_page(page_of(section))
    assert "abc123" in page.text and "autofuse plan X" in page.text and "Not in this page" in page.text


def test_numbers_stand_for_cases_everywhere() -> None:
    aliases = numbered(["anna_01", "bob", "anna_010", "anna_01"])
    assert dict(aliases.names) == {"anna_01": "case 1", "bob": "case 2", "anna_010": "case 3"}
    assert aliases.of("bob") == "case 2" and aliases.of("stranger") == "a case"
    assert aliases.text("worst: anna_010 (anna_01), bobbin") == "worst: case 3 (case 1), bobbin"
    assert aliases.within({"anna_01": ["bobbin", 3, {"x": "anna_010"}]}) == {"case 1": ["bobbin", 3, {"x": "case 3"}]}
    assert Aliases().of("bob") == "bob" and Aliases().text("anna_01") == "anna_01" and not Aliases().hide
    fingerprint, _ = example_fingerprint(MADE_UP_DATASETS[0])
    hidden = numbered([case.id for case in fingerprint.cases]).fingerprint(fingerprint)
    assert [case.id for case in hidden.cases][:2] == ["case 1", "case 2"]
    assert all(case.subject.startswith("subject ") for case in hidden.cases)


def test_folders_of_the_machine_are_left_out() -> None:
    words = "no mask in /data/ws/runs/x nor in /home/somebody/masks/a.nii.gz, see 3/4 and a/b/c"
    told = without_folders(words, ["/data/ws"])
    assert told == "no mask in runs/x nor in …/a.nii.gz, see 3/4 and a/b/c"


def test_pictures_are_small_and_flat_ones_exact() -> None:
    flat = PilImage.new("RGB", (300, 200), (10, 200, 30))
    kept = embedded(flat, "a", flat=True)
    assert (kept.width, kept.height, kept.mime) == (300, 200, "image/webp") and len(kept.content) < 500
    noise = PilImage.fromarray(np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8))
    assert len(embedded(noise, "a").content) < 100_000
    assert embedded(PilImage.new("RGB", (2 * WIDEST, 10)), "a").width == WIDEST
