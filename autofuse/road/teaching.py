"""Teachers: models that label the unlabelled cases of a training fold, before a method learns from these labels.

Teachers are trained on the cases of the fold that is to be trained, and on nothing else: the models of the other folds
have seen the cases that this fold holds out, and what they teach would carry that into its scores.

Everything stands in the workspace and is found again: teachers below ``runs/teachers``, their masks beside them, to be
looked at, and the labels on the prepared grid in the store.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from autofuse.dataset.types import IGNORE, Case, Dataset, Labels
from autofuse.foundation.console import say
from autofuse.foundation.errors import DataError
from autofuse.foundation.values import short_hash
from autofuse.plan.types import Configuration
from autofuse.road.fold import Method, train_fold
from autofuse.road.groundwork import Ground
from autofuse.road.runs import TrainedFold

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from autofuse.preprocessing.store import Store
    from autofuse.training.trainer import Teaching

TEACHERS_RUNS = "teachers"
"""Folder of the teachers' runs, below that of the others: prediction never takes one of them."""
WORSE_BY = 0.02
"""Held-out Dice that a round of teachers may lose against the one before; more, and the one before is believed."""
_PROBABILITIES_BYTES = 2 << 30
"""What probabilities of cases that are labelled together take on disk, about."""


@dataclass(frozen=True)
class Taught:
    """What one round of teachers gave: under which name the store keeps it, and how good they are on held-out cases."""

    key: str
    dice: float | None


def teach(
    ground: Ground,
    method: Method,
    teaching: Teaching,
    configuration: Configuration,
    store: Store,
    fold: int,
    workers: int | None,
) -> str:
    """Under which name the store keeps what teachers found in the unlabelled training cases of ``fold``.

    Rounds that are done already are found. Where teachers are no better than ``least_dice`` on held-out cases, nothing
    is labelled; where a later round is worse than the one before, the one before is kept, and no further one is made.

    Raises:
        DataError: if there is no unlabelled training case.
        AutofuseError: whatever training or predicting meets.
    """
    method = shared(method, teaching)
    cases = _unlabelled(ground, fold)
    if not cases:
        raise DataError(
            f"There is no unlabelled case among the training cases of fold {fold}, so there is nothing to teach.",
            file=ground.dataset.root,
            remedy="Put images without a label into imagesTr, or choose another trainer.",
        )
    chosen: Taught | None = None
    for number in range(1, teaching.rounds + 1):
        found = _round(ground, method, teaching, number, chosen, (configuration, store), fold, cases, workers)
        if chosen is None:
            chosen = found
            if found.dice is not None and found.dice < teaching.least_dice:
                break
        elif found.dice is not None and chosen.dice is not None and found.dice < chosen.dice - WORSE_BY:
            say(
                f"Teachers of round {number} reach {found.dice:.3f} on held-out cases, less than {chosen.dice:.3f} "
                f"before: the labels of round {number - 1} are kept."
            )
            break
        else:
            chosen = found
    assert chosen is not None, "there is at least one round"
    return chosen.key


def shared(method: Method, teaching: Teaching) -> Method:
    """``method`` with its time divided evenly among all that is trained; a length in steps is that of each."""
    return replace(method, minutes={name: value / teaching.trainings for name, value in method.minutes.items()})


def to_label(ground: Ground, teaching: Teaching | None, folds: Sequence[int]) -> int:
    """How many cases members of teachers will predict, each counted for each member and fold."""
    if teaching is None:
        return 0
    return sum(len(_unlabelled(ground, fold)) for fold in folds) * teaching.members * teaching.rounds


def _unlabelled(ground: Ground, fold: int) -> list[Case]:
    """Training cases of ``fold`` without a label."""
    training = set(ground.splits.folds[fold][0])
    return [case for case in ground.dataset.cases if case.id in training and case.label is None]


def _round(
    ground: Ground,
    method: Method,
    teaching: Teaching,
    number: int,
    before: Taught | None,
    where: tuple[Configuration, Store],
    fold: int,
    cases: Sequence[Case],
    workers: int | None,
) -> Taught:
    """Teachers trained, and the cases labelled by them."""
    apart = replace(
        ground, workspace=replace(ground.workspace, runs_folder=f"{ground.workspace.runs_folder}/{TEACHERS_RUNS}")
    )
    members = []
    for member in range(teaching.members):
        say(f"Teacher {member + 1} of {teaching.members}, round {number} of {teaching.rounds}:")
        seeded = replace(method, seed=method.seed + member + 1 + 100 * (number - 1))
        if before is None:
            seeded = replace(seeded, trainer=teaching.trainer, settings=_common(method))
        members.append(
            train_fold(apart, seeded, fold, taught_by=None if before is None else before.key, workers=workers)
        )
    known = [item.finished.dice for item in members if item.finished is not None and item.finished.dice is not None]
    dice = sum(known) / len(known) if known else None
    believed = before is not None or dice is None or dice >= teaching.least_dice
    if not believed:
        say(
            f"Teachers reach a Dice of {dice:.3f} on held-out cases, less than {teaching.least_dice:g}: they are not "
            "believed, and the student learns from labels alone."
        )
    runs = [item.run for item in members]
    key = f"taught-{short_hash([runs, teaching.confidence, believed])}-fold_{fold}"
    _label(ground, members, teaching.confidence if believed else None, key, where, cases, workers)
    return Taught(key, dice)


def _common(method: Method) -> dict[str, object]:
    """The settings that every trainer has: a teacher does not know the student's own."""
    from autofuse.training.trainer import Trainer

    names = {field.name for field in dataclasses.fields(Trainer)}
    return {name: value for name, value in method.settings.items() if name in names}


def _label(
    ground: Ground,
    members: Sequence[TrainedFold],
    confidence: float | None,
    key: str,
    where: tuple[Configuration, Store],
    cases: Sequence[Case],
    workers: int | None,
) -> None:
    """Put what the members are sure of into the store, and their masks into the first member's folder.

    Args:
        confidence: None labels nothing.
    """
    from autofuse.inference.prior import prior_indices
    from autofuse.road.prediction import predict_into

    configuration, store = where
    folder, predicted = members[0].folder / key, members[0].folder / f"{key}-predicted"
    missing = [case for case in cases if not (store.case_folder(case.id) / f"prior-{key}.json").exists()]
    if missing:
        say(f"Labelling {len(missing)} cases; masks are in {folder}")
    for part in _parts(ground, missing):
        predict_into(
            ground.dataset,
            members,
            part,
            predicted,
            probabilities=True,
            mirror=True,
            device=ground.device,
            workers=workers,
            strict=True,
        )
        for case in part:
            native = _sure(predicted, case, ground.dataset.labels, confidence)
            _write_mask(ground.dataset, predicted, folder, case, native)
            placement = store.open(case.id).placement
            store.write_prior(case.id, key, prior_indices(native, configuration, placement), configuration.dimensions)

    shutil.rmtree(predicted, ignore_errors=True)


def _parts(ground: Ground, cases: Sequence[Case]) -> Iterator[Sequence[Case]]:
    """So many cases at a time that their probabilities do not fill the disk; at least one."""
    largest = max(math.prod(facts.shape) for facts in ground.fingerprint.cases)
    size = max(1, _PROBABILITIES_BYTES // (2 * ground.dataset.labels.outputs * largest))
    for start in range(0, len(cases), size):
        yield cases[start : start + size]


def _sure(folder: Path, case: Case, labels: Labels, confidence: float | None) -> NDArray[np.int16]:
    """(z, y, x) class indices on the native grid, IGNORE where the mean probability is below ``confidence``.

    The file of probabilities is taken away: it is many times as large as what is kept of it.
    """
    import blosc2
    import numpy as np

    from autofuse.dataset.label_codes import region_indices
    from autofuse.inference.writing import PROBABILITIES_ENDING

    path = folder / f"{case.id}{PROBABILITIES_ENDING}"
    stored = blosc2.open(str(path), mode="r")
    shape = stored.shape[1:]
    if confidence is None:
        found = np.full(shape, IGNORE, np.int16)
    elif labels.has_regions:
        found, certain = np.zeros(shape, np.int16), np.ones(shape, np.float16)
        for output, index in enumerate(region_indices(labels)):
            inside = stored[output]
            found[inside > 0.5] = index
            np.minimum(certain, np.maximum(inside, 1 - inside), out=certain)
        found[certain < confidence] = IGNORE
    else:
        found, best = np.zeros(shape, np.int16), stored[0]
        for output in range(1, stored.shape[0]):
            inside = stored[output]
            better = inside > best
            found[better], best[better] = output, inside[better]
        found[best < confidence] = IGNORE
    path.unlink()
    return found


def _write_mask(dataset: Dataset, predicted: Path, folder: Path, case: Case, native: NDArray[np.int16]) -> None:
    """The labels as a mask to look at; uncertain voxels have the ignore value, or the next free one."""
    from autofuse.dataset.label_codes import decode_labels
    from autofuse.images import read_label_image, write_labels

    labels, name = dataset.labels, f"{case.id}{dataset.file_ending}"
    if labels.ignore is None:
        labels = labels.model_copy(update={"ignore": max(labels.raw_values) + 1})
    write_labels(folder / name, decode_labels(native, labels), read_label_image(predicted / name).geometry)
