"""The parts of the report, each from what the workspace holds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from autofuse.fingerprint.oddities import NAMED_AT_MOST
from autofuse.foundation.errors import AutofuseError
from autofuse.foundation.plain_table import PlainTable
from autofuse.foundation.values import canonical_json
from autofuse.plan.story import tell
from autofuse.plan.types import Decision, Plan
from autofuse.road.judging import kept_scores
from autofuse.road.page_sources import Sources
from autofuse.road.results import REPORT_FILE, RunReport
from autofuse.road.runs import TrainedFold, read_plan
from autofuse.road.spreading import evenly

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autofuse.dataset.types import Case
    from autofuse.report.page import Pictures, Section
    from autofuse.report.training_section import FoldHistory, RunHistory

MOST_SHOWN = 3
"""Cases of the data whose slices are shown, evenly spread, and cases whose predictions are."""
RANKS: dict[int, tuple[str, ...]] = {0: (), 1: ("the only one",), 2: ("worst", "best"), 3: ("worst", "median", "best")}
"""What so many cases stand for, the worst first."""
MOST_CALIBRATED = 40
"""Held-out cases whose probabilities are read, evenly spread."""
NO_PROBABILITIES = (
    "No probabilities of held-out cases are kept in this workspace, so nothing can be said about how far they can be "
    "believed."
)
ABOUT_DATA = 2
"""Paragraphs of the plan's story that are on the data."""


def data(sources: Sources) -> Section:
    """What was measured, with slices of a few cases."""
    from autofuse.report.data_section import data_section

    fingerprint = sources.shown_fingerprint
    story = tell(sources.plan, fingerprint)[:ABOUT_DATA] if sources.plan is not None and sources.plan_fits else ()
    shown = [*_slices(sources), *_laid_over(sources)] if sources.pictures else []
    return data_section(fingerprint, story, shown, pictures=sources.pictures)


def plan(sources: Sources) -> Section | None:
    """What was decided; None before anything was."""
    from autofuse.report.plan_section import plan_section

    if sources.plan is None:
        return None
    story = tell(sources.plan, sources.shown_fingerprint)[ABOUT_DATA:] if sources.plan_fits else ()
    return plan_section(_with_aliases(sources.plan, sources), story, _trials(sources))


def training(sources: Sources) -> Section:
    """Runs with their learning curves; those of a pilot and of teachers too."""
    from autofuse.report.training_section import training_section
    from autofuse.road.runs import all_runs

    runs, damaged = list(_histories(sources.runs, "")), dict(sources.damaged)
    for name, note in (("pilot", "of the pilot"), ("teachers", "teacher")):
        others, bad = all_runs(replace(sources.place, runs_folder=f"runs/{name}"))
        runs = [*_histories(others, note), *runs]
        damaged |= bad
    problems = [
        f"{folder.relative_to(sources.place.folder).as_posix()} cannot be read: {error.problem}"
        for folder, error in damaged.items()
    ]
    return training_section(runs, problems)


def scores(sources: Sources) -> Section:
    """Scores of held-out cases of every run and of all other masks, those of the main run first."""
    from autofuse.report.scores_section import Judged, scores_section

    first = sources.main[0].run if sources.main else ""
    judged: list[tuple[bool, Judged]] = []
    for name, found in sources.held_out.items():
        note = f"Each case was judged by the fold that held it out: {_counted(sources.runs[name])}."
        judged.append((name == first, Judged(f"Held-out cases, {name}", sources.shown_scores(found), note)))
    for place, found in sources.other_scores.items():
        run, _, what = place.rpartition("/")
        title = f"Test cases, {run}" if what == "test" else sources.aliases.text(place)
        note = _about_tests(sources, run) if what == "test" else ""
        judged.append((run == first, Judged(title, sources.shown_scores(found), note)))
    judged.sort(key=lambda item: not item[0])
    return scores_section([item for _, item in judged], named_problems=not sources.aliases.hide)


def cases(sources: Sources) -> Section | None:
    """The best, the median and the worst held-out case of the main run; None without pictures or predictions."""
    from autofuse.report.cases_section import PredictedCase, cases_section
    from autofuse.report.page import counted
    from autofuse.road.pictures import Shown, pictured, spread

    dataset = sources.dataset
    found = sources.held_out.get(sources.main[0].run) if sources.main else None
    if not sources.pictures or dataset is None or found is None:
        return None
    dice = {case.case: case.mean_dice for case in found.cases if case.mean_dice is not None}
    masks = {case: fold.held_out for fold in sources.main for case in fold.plan.held_out if case in dice}
    shown = [Shown(case, masks[case.id], dice[case.id]) for case in dataset.cases if case.id in masks]
    if not shown:  # each modality has a mask of its own
        return None
    chosen = spread(shown, MOST_SHOWN)
    reference, made = read_plan(sources.main[0]).reference, []
    for rank, item in reversed(list(zip(RANKS[len(chosen)], chosen, strict=True))):
        try:
            case = replace(pictured(dataset, item, reference), name=sources.aliases.of(item.case.id))
        except (AutofuseError, OSError) as error:
            sources.left_out.append(_without(sources, item.case, error))
            continue
        made.append(PredictedCase(rank, case))
    if not made:
        return None
    about = (
        f"By mean Dice, of {counted(len(shown), 'held-out case')} of {sources.main[0].run}; each was predicted by "
        "the fold that never saw it. The slice is the one that shows most of every class."
    )
    return cases_section(made, dataset.labels, [item.name for item in dataset.modalities], about)


def calibration(sources: Sources) -> Section | None:
    """How far probabilities of held-out cases of the main run can be believed; None before any was predicted."""
    from autofuse.report.calibration_section import calibration_section
    from autofuse.report.page import counted
    from autofuse.road.page_calibration import measure_calibration

    if sources.dataset is None or not sources.main or sources.main[0].run not in sources.held_out:
        return None
    found, read, problems = measure_calibration(sources.dataset, sources.main, MOST_CALIBRATED)
    damaged = f"The probabilities of {counted(problems, 'held-out case')} could not be read"
    note = f"{damaged} and are left out." if problems else ""
    absent = f"{damaged}." if problems else NO_PROBABILITIES
    return calibration_section(found, read, note, absent=absent)


def ensemble(sources: Sources) -> Section | None:
    """What was chosen from all runs for new cases, and why; None before anything was chosen."""
    from autofuse.evaluation.ensemble import Ensemble
    from autofuse.evaluation.selection_table import selection_told
    from autofuse.report.ensemble_section import EnsembleChoice, ensemble_section

    chosen = sources.read(Ensemble, sources.place.ensemble)
    if chosen is None:
        return None
    tables, lines = selection_told(chosen)
    rule = () if chosen.evidence is None else (chosen.evidence.rule,)
    words = (f"New cases are predicted by {chosen.in_words()}.", *rule, *lines)
    rows = tuple(
        (item.run, ", ".join(str(fold.fold) for fold in item.folds), item.configuration, item.trainer, str(item.weight))
        for item in chosen.members
    )
    columns = ("run", "folds", "configuration", "trainer", "weight")
    members = PlainTable("Members", columns, rows, words=frozenset({0, 1, 2, 3}))
    return ensemble_section(EnsembleChoice(tuple(map(sources.aliases.text, words)), members, tables))


def provenance(sources: Sources) -> Section:
    """Versions, files, commands, and what is left out."""
    from autofuse.report.provenance_section import provenance_section
    from autofuse.road.page_provenance import artefacts, commands, versions

    files, more = artefacts(sources)
    if more:
        sources.left_out.append(f"{more} more files of the workspace.")
    if not sources.pictures:
        sources.left_out.append("Pictures of voxels: they were not asked for.")
    return provenance_section(versions(), files, commands(sources), sources.left_out)


def _slices(sources: Sources) -> list[Pictures]:
    """A few cases of the data, with what is annotated in them."""
    if sources.dataset is None:
        return []
    made = []
    names = [item.name for item in sources.dataset.modalities]
    for case in evenly(sources.dataset.cases, MOST_SHOWN):
        try:
            made.append(_slice(sources, case, names))
        except (AutofuseError, OSError, ValueError) as error:
            sources.left_out.append(_without(sources, case, error))
    return made


def _slice(sources: Sources, case: Case, modalities: Sequence[str]) -> Pictures:
    from autofuse.dataset.raw import load_case
    from autofuse.report.cases_section import case_pictures
    from autofuse.report.overlays import Pictured
    from autofuse.road.pictures import on_reference_grid

    dataset = sources.dataset
    assert dataset is not None
    raw = load_case(dataset, case, reference=sources.fingerprint.reference)
    images = [on_reference_grid(raw, channel) for channel in range(len(raw.images))]
    name = sources.aliases.of(case.id)
    kind = {item.id: item.annotation for item in sources.fingerprint.cases}.get(case.id, "")
    note = {"dense": "Outlined in full.", "sparse": "Labelled in part.", "none": "Without a label."}.get(kind, "")
    shown = Pictured(name, images, raw.shown_label, None, raw.geometry, note)
    return case_pictures(shown, dataset.labels, modalities, name)


def _laid_over(sources: Sources) -> list[Pictures]:
    """Images laid over each other, where they were drawn for this plan; names are drawn into them."""
    from autofuse.report.embedded import embedded_png
    from autofuse.report.page import Pictures
    from autofuse.road.explanation import FOLDER, kept_pictures

    if sources.plan is None or len(sources.fingerprint.modalities) == 1:
        return []
    drawn = kept_pictures(sources.place.report / FOLDER, sources.plan)
    overlays = [path for path in drawn or () if path.name.startswith("overlay_")]
    if not overlays:
        sources.left_out.append("Images laid over each other: `autofuse explain` draws them; this page then has them.")
        return []
    if sources.aliases.hide:
        sources.left_out.append("Images laid over each other: names of cases are drawn into them.")
        return []
    alt = "The other images in blue on the reference in orange, and as a checkerboard; coloured edges are displacement."
    shown = tuple(
        embedded_png(path.read_bytes(), f"{path.stem.removeprefix('overlay_')}: {alt}", "", flat=False)
        for path in overlays
    )
    return [Pictures("Images laid over each other", alt, shown)]


def _with_aliases(value: Plan, sources: Sources) -> Plan:
    """The plan with no case named in its decisions, where names are hidden."""
    if not sources.aliases.hide:
        return value
    told = [sources.aliases.within(item.model_dump(mode="json")) for item in value.decisions]
    decisions = tuple(Decision.model_validate_json(canonical_json(item)) for item in told)
    return value.model_copy(update={"decisions": decisions})


def _trials(sources: Sources) -> PlainTable | None:
    """How challengers did in a pilot; None without one."""
    from autofuse.road.pilot_record import Pilot

    pilot = sources.read(Pilot, sources.place.pilot)
    if pilot is None:
        return None
    rows = []
    for trial in pilot.trials:
        gain = trial.gain
        told = "" if gain is None else f"{gain.difference:+.3f} ({gain.lower:+.3f} to {gain.upper:+.3f})"
        dice = "" if trial.mean_dice is None else f"{trial.mean_dice:.3f}"
        rows.append((trial.name, str(trial.steps), dice, told, sources.aliases.text(trial.problem or trial.because)))
    rows += [(item.name, "", "", "", sources.aliases.text(item.problem)) for item in pilot.left_out]
    note = f"{pilot.verdict} Gains in mean Dice with their {pilot.confidence:.0%} intervals."
    columns = ("candidate", "steps", "mean Dice", "gain", "about it")
    return PlainTable("The pilot", columns, tuple(rows), words=frozenset({0, 4}), note=note)


def _histories(runs: dict[str, list[TrainedFold]], note: str) -> list[RunHistory]:
    from autofuse.report.training_section import RunHistory

    return [
        RunHistory(
            name, folds[0].plan.configuration, folds[0].plan.trainer, tuple(_history(fold) for fold in folds), note
        )
        for name, folds in runs.items()
    ]


def _history(fold: TrainedFold) -> FoldHistory:
    from autofuse.report.training_section import FoldHistory
    from autofuse.training.journal import LOG_NAME, read_log

    history, lost = read_log(fold.folder / LOG_NAME)
    last = history[-1] if history else None
    if fold.finished is not None:
        ended = fold.finished
        return FoldHistory(
            fold.fold, True, ended.steps, ended.steps, ended.seconds / 60, ended.best_dice, history, lost
        )
    smooth = [record.dice_smooth for record in history if record.dice_smooth is not None]
    return FoldHistory(
        fold=fold.fold,
        finished=False,
        steps=0 if last is None else last.step,
        planned=fold.plan.steps if last is None else last.steps,
        minutes=None if last is None else last.elapsed_s / 60,
        best_dice=max(smooth, default=None),
        history=history,
        lost=lost,
    )


def _counted(folds: Sequence[TrainedFold]) -> str:
    """Which of the folds are judged, in words."""
    done = [str(fold.fold) for fold in folds if kept_scores(fold) is not None]
    return f"fold {done[0]} of {len(folds)}" if len(done) == 1 else f"folds {', '.join(done)}"


def _about_tests(sources: Sources, run: str) -> str:
    """How many test cases have no mask, or were predicted from less than all modalities, as the last run says."""
    from autofuse.report.page import counted

    ended = sources.read(RunReport, sources.place.folder / REPORT_FILE)
    if ended is None or ended.run != run:
        return ""
    told = []
    if ended.failed:
        told.append(f"Not predicted: {counted(len(ended.failed), 'test case')}.")
    if ended.incomplete:
        cases = ", ".join(sources.aliases.of(item.case) for item in ended.incomplete[:NAMED_AT_MOST])
        more = "" if len(ended.incomplete) <= NAMED_AT_MOST else " and others"
        told.append(f"Predicted from less than all modalities, whole: {cases}{more}.")
    return " ".join(told)


def _without(sources: Sources, case: Case, error: Exception) -> str:
    """Why a case is not shown."""
    why = "" if sources.aliases.hide else f" ({sources.said(str(error))})"
    return f"Pictures of {sources.aliases.of(case.id)}: a file of it cannot be used{why}."
