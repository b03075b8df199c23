"""Masks judged: which reference belongs to which case, and where the tables go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autofuse.dataset.types import Case, Dataset, Labels
from autofuse.evaluation.folder import SCORES_FILE, evaluate_folder, write_scores
from autofuse.evaluation.scoring import Scoring
from autofuse.evaluation.summary import summarise
from autofuse.evaluation.types import Scores
from autofuse.foundation.errors import DataError, ModelError
from autofuse.foundation.workspace import Workspace
from autofuse.plan.types import Plan
from autofuse.road.runs import TrainedFold

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from autofuse.images.geometry import Geometry


def references_of(dataset: Dataset, cases: Iterable[Case]) -> dict[str, Path]:
    """Per case (per mask, where each modality has its own) the file that judges it: the dense truth where there is one,
    else the label; cases with neither are left out."""
    return {name: dataset.path(path) for case in cases for name, path in case.truths.items()}


def subjects_of(dataset: Dataset) -> Mapping[str, str]:
    """Per case (or mask) the person whom it shows: intervals are drawn over persons."""
    cases = (*dataset.cases, *dataset.test_cases)
    own = {name: case.subject for case in cases for name in case.truths} if dataset.labels_per_modality else {}
    return {case.id: case.subject for case in cases} | own


def modalities_of(dataset: Dataset) -> Mapping[str, str]:
    """By name of a mask, the modality whose it is; empty where one mask is for all."""
    if not dataset.labels_per_modality:
        return {}
    cases = (*dataset.cases, *dataset.test_cases)
    names = [modality.name for modality in dataset.modalities]
    return {case.mask_name(channel): name for case in cases for channel, name in enumerate(names)}


def taught_references(dataset: Dataset, cases: Iterable[Case], plan: Plan, folder: Path) -> dict[str, Path]:
    """Per labelled case what training under ``plan`` takes for true: the label, never a dense truth kept for judging.

    Where far background is taught, that stands in copies which are written to ``folder``: else a network that finds
    structures where nobody drew is judged like one that does not.
    """
    from autofuse.dataset.label_codes import decode_labels
    from autofuse.images import write_labels

    found: dict[str, Path] = {}
    for case in cases:
        found |= {name: dataset.path(path) for name, path in case.taught.items()}
        if case.label is None:
            continue
        if plan.far_background:
            marked, geometry = taught_label(dataset, case, plan)
            found[case.id] = folder / f"{case.id}{dataset.file_ending}"
            write_labels(found[case.id], decode_labels(marked, dataset.labels), geometry)
    return found


def taught_label(dataset: Dataset, case: Case, plan: Plan) -> tuple[NDArray[np.int16], Geometry]:
    """The label (z, y, x) of a labelled case as training under ``plan`` sees it, class indices, and its grid.

    Raises:
        DataError: naming case and file, if the file is damaged or has undeclared values.
    """
    from autofuse.dataset.raw import CaseFiles
    from autofuse.preprocessing.far import with_far_background

    assert case.label is not None
    label, geometry, _ = CaseFiles(dataset, case).label(case.label)
    if plan.far_background:
        label = with_far_background(label, geometry.spacing_mm, len(dataset.labels.raw_values), case.id)
    return label, geometry


def references_in(folder: Path) -> dict[str, Path]:
    """Masks in ``folder`` by case id.

    Raises:
        DataError: if there are none.
    """
    from autofuse.images import SUPPORTED_ENDINGS

    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        fits = [ending for ending in SUPPORTED_ENDINGS if path.name.endswith(ending)]
        if fits and not path.name.startswith(".") and path.is_file():
            found[path.name.removesuffix(max(fits, key=len))] = path
    if not found:
        raise DataError(
            "There are no masks in this folder.", file=folder, expected="files named <case>" + SUPPORTED_ENDINGS[0]
        )
    return found


def judge_held_out(
    dataset: Dataset,
    fold: TrainedFold,
    *,
    scoring: Scoring | None = None,
    folder: Path | None = None,
    workers: int | None = None,
) -> Scores | None:
    """Scores of the masks of the fold's held-out cases; None where nothing is held out or known.

    They are kept beside the masks, or in ``folder`` where they are made by other rules than the usual ones.
    """
    references = references_of(dataset, [case for case in dataset.cases if case.id in set(fold.plan.held_out)])
    if not references:
        return None
    return evaluate_folder(
        fold.held_out,
        references,
        dataset.labels,
        folder or fold.held_out_scores,
        scoring=scoring,
        subjects=subjects_of(dataset),
        keep=folder is not None,
        workers=workers,
        modalities=modalities_of(dataset),
    )


def score_folder(
    dataset: Dataset,
    workspace: Workspace,
    masks: Path,
    references: Path | None,
    out: Path | None,
    scoring: Scoring | None,
    workers: int | None,
) -> tuple[Scores, Path]:
    """Scores of the masks in a folder, against those in another or the data set's own; and where their tables are."""
    if references is not None:
        wanted = references_in(references)
    else:
        there = references_in(masks)
        known = references_of(dataset, (*dataset.cases, *dataset.test_cases))
        wanted = {name: path for name, path in known.items() if name in there}
    folder = workspace.scores / masks.absolute().name if out is None else out
    scores = evaluate_folder(
        masks,
        wanted,
        dataset.labels,
        folder,
        scoring=scoring,
        subjects=subjects_of(dataset),
        keep=True,
        workers=workers,
        modalities=modalities_of(dataset),
    )
    return scores, folder


def join_scores(dataset: Dataset, parts: Sequence[Scores], folder: Path, *, scoring: Scoring | None = None) -> Scores:
    """The scores of all folds as one; written to ``folder``."""
    joined = joined_scores(dataset.labels, parts, scoring=scoring, subjects=subjects_of(dataset))
    write_scores(joined, folder)
    return joined


def joined_scores(
    labels: Labels,
    parts: Sequence[Scores],
    *,
    scoring: Scoring | None = None,
    subjects: Mapping[str, str] | None = None,
) -> Scores:
    """The scores of all folds as one, each case from the fold that held it out."""
    cases = {case.case: case for part in parts for case in part.cases}
    failed = {item.case: item for part in parts for item in part.failed if item.case not in cases}
    return summarise(list(cases.values()), labels, scoring=scoring, subjects=subjects, failed=list(failed.values()))


def kept_scores(fold: TrainedFold) -> Scores | None:
    """Scores of the fold's held-out cases that were written before; None where there are none."""
    path = fold.held_out_scores / SCORES_FILE
    try:
        return Scores.load(path) if path.exists() else None
    except ModelError:
        return None
