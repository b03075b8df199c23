"""A folder of masks scored against their references, case by case in parallel."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from autofuse.dataset.types import Labels
from autofuse.evaluation.metrics import score_case
from autofuse.evaluation.scoring import Scoring
from autofuse.evaluation.summary import summarise
from autofuse.evaluation.table import lesions_to_csv, to_csv
from autofuse.evaluation.types import CaseScore, Failure, Scores
from autofuse.foundation.errors import DataError, ModelError, PartialError
from autofuse.foundation.files import crc32_of_file, sweep_temps, write_bytes
from autofuse.foundation.values import StoredValue, short_hash
from autofuse.foundation.workers import run_units

SCORES_FILE = "scores.json"
TABLE_FILE = "scores.csv"
LESIONS_FILE = "lesions.csv"
KEPT_FOLDER = "cases"
"""Folder with the scores of single cases, so that an interrupted evaluation goes on."""


class Pair(NamedTuple):
    """A mask and its reference."""

    case: str
    prediction: Path
    reference: Path


class KeptCase(StoredValue):
    """The score of a case, kept for the next call. ``key`` names the files and the rules that it was made from.

    The schema's number rises whenever a formula changes, so that no score of another formula is taken over.
    """

    kind: ClassVar[str] = "kept_case"
    schema_number: ClassVar[int] = 1

    key: str
    score: CaseScore


def evaluate_folder(
    predictions: Path,
    references: Mapping[str, Path],
    labels: Labels,
    out: Path,
    *,
    scoring: Scoring | None = None,
    surfaces: bool = True,
    subjects: Mapping[str, str] | None = None,
    keep: bool = False,
    workers: int | None = None,
    modalities: Mapping[str, str] | None = None,
) -> Scores:
    """Scores of the masks in ``predictions``; written to ``out`` as scores.json, scores.csv and lesions.csv.

    A case that has no mask, cannot be read or lies on another grid is listed in ``failed`` and is in no mean;
    ``require_complete`` turns that into an error.

    Args:
        predictions: folder of masks named ``<case><ending>``, raw label values.
        references: per case its reference file.
        scoring: regions, tolerances, lesions; None for the labels' own classes.
        surfaces: False leaves NSD and HD95 out.
        subjects: case id -> subject, for the intervals; a case that is not in it is a subject of its own.
        keep: also write each case's score at once, and take those that an earlier call wrote for the same files.
        workers: processes; 0 for this process, None to decide by itself.
        modalities: by name of a mask, whose it is, where each modality has masks of its own.

    Raises:
        DataError: if no case at all could be scored.
    """
    pairs, failed = pair_up(predictions, references)
    score = partial(score_pair, labels=labels, scoring=scoring, surfaces=surfaces)
    if keep:
        sweep_temps(out / KEPT_FOLDER)
        score = partial(_score_or_take, labels=labels, scoring=scoring, surfaces=surfaces, folder=out / KEPT_FOLDER)
    outcomes = run_units(score, [(pair.case, pair) for pair in pairs], label="evaluate", workers=workers)
    failed += [Failure(case=item.name, problem=str(item.error)) for item in outcomes if item.error is not None]
    scored = [item.value for item in outcomes if item.error is None and item.value is not None]
    if modalities:
        scored = [item.model_copy(update={"modality": modalities.get(item.case, "")}) for item in scored]
    if not scored:
        raise DataError(
            "No case could be scored.",
            file=predictions,
            found="; ".join(f"{item.case}: {item.problem.splitlines()[0]}" for item in failed[:5]) or "no references",
            remedy="Predict these cases first, or give the folder that holds their masks.",
        )
    scores = summarise(scored, labels, scoring=scoring, subjects=subjects, failed=failed)
    write_scores(scores, out)
    return scores


def write_scores(scores: Scores, out: Path) -> None:
    """Put scores.json and scores.csv into ``out``, and lesions.csv if lesions were scored; else that is removed."""
    scores.save(out / SCORES_FILE)
    write_bytes(out / TABLE_FILE, to_csv(scores).encode())
    if scores.lesions is not None:
        write_bytes(out / LESIONS_FILE, lesions_to_csv(scores).encode())
    else:
        (out / LESIONS_FILE).unlink(missing_ok=True)


def require_complete(scores: Scores) -> None:
    """Nothing, if every case was scored.

    Raises:
        PartialError: naming the cases that were not.
    """
    if scores.failed:
        raise PartialError(
            f"{len(scores.failed)} of {len(scores.failed) + len(scores.cases)} cases could not be scored.",
            case=", ".join(item.case for item in scores.failed),
            found="\n".join(item.problem for item in scores.failed),
        )


def pair_up(predictions: Path, references: Mapping[str, Path]) -> tuple[list[Pair], list[Failure]]:
    """Masks with their references, and the cases that have no mask."""
    from autofuse.images import SUPPORTED_ENDINGS

    pairs, failed = [], []
    for case, reference in sorted(references.items()):
        found = [path for path in (predictions / f"{case}{ending}" for ending in SUPPORTED_ENDINGS) if path.is_file()]
        if found:
            pairs.append(Pair(case, found[0], reference))
        else:
            failed.append(Failure(case=case, problem=f"There is no mask of this case in {predictions}."))
    return pairs, failed


def score_pair(pair: Pair, *, labels: Labels, scoring: Scoring | None = None, surfaces: bool = True) -> CaseScore:
    """Scores of one mask file against one reference file.

    Raises:
        DataError: if either cannot be read, holds undeclared values, or the grids differ.
    """
    from autofuse.dataset.grids import TOLERATED_GAP, describe, differences, grid_gap
    from autofuse.images import read_label_image

    prediction, reference = read_label_image(pair.prediction), read_label_image(pair.reference)
    here, there = prediction.geometry, reference.geometry
    if here.shape != there.shape or grid_gap(here, there) > TOLERATED_GAP:
        raise DataError(
            f"The mask and its reference lie on different grids: {differences(here, there)} differ.",
            case=pair.case,
            file=pair.prediction,
            found=f"{describe(here)} in {pair.prediction}",
            expected=f"{describe(there)} as in {pair.reference}",
            remedy="Predict again with the images that belong to this reference.",
        )
    return score_case(
        pair.case,
        _indices(pair.case, pair.reference, reference.voxels, labels),
        _indices(pair.case, pair.prediction, prediction.voxels, labels),
        labels,
        there.spacing_mm,
        scoring=scoring,
        surfaces=surfaces,
    )


def _score_or_take(pair: Pair, *, labels: Labels, scoring: Scoring | None, surfaces: bool, folder: Path) -> CaseScore:
    """The kept score of the pair if it is of the same files and rules; else a new one, which is kept."""
    path = folder / f"{pair.case}.json"
    key = _key(pair, labels, scoring or Scoring(), surfaces)
    try:
        kept = KeptCase.load(path) if path.exists() else None
    except ModelError:
        kept = None
    if kept is not None and kept.key == key:
        return kept.score
    score = score_pair(pair, labels=labels, scoring=scoring, surfaces=surfaces)
    KeptCase(key=key, score=score).save(path)
    return score


def _key(pair: Pair, labels: Labels, scoring: Scoring, surfaces: bool) -> str:
    """What names the contents of both files, and the rules."""
    try:
        files = [[path.stat().st_size, crc32_of_file(path)] for path in (pair.prediction, pair.reference)]
    except OSError as problem:
        raise DataError("A mask cannot be read.", case=pair.case, found=str(problem)) from None
    return short_hash([pair.case, labels.digest(), scoring.digest(), surfaces, files])


def _indices(case: str, file: Path, voxels: NDArray[Any], labels: Labels) -> NDArray[np.int16]:
    from autofuse.dataset.label_codes import encode_labels

    try:
        return encode_labels(voxels, labels)
    except DataError as error:
        error.case, error.file = error.case or case, error.file or str(file)
        raise
