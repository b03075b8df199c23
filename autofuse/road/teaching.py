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
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
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

    Rounds that are done already are found. Where the first teachers are below ``least_dice`` on held-out cases, or find
    a class nowhere that most labelled cases have, nothing is labelled. Where later ones are, or are worse than those
    before, the labels before are kept. In both cases no further round is made.

    Raises:
        DataError: if there is no unlabelled training case.
        AutofuseError: whatever training or predicting meets.
    """
    school = _School(ground, shared(method, teaching), teaching, configuration, store, fold, workers)
    if not school.cases:
        raise DataError(
            f"There is no unlabelled case among the training cases of fold {fold}, so there is nothing to teach.",
            file=ground.dataset.root,
            remedy="Put images without a label into imagesTr, or choose another trainer.",
        )
    before: _Lesson | None = None
    for number in range(1, teaching.rounds + 1):
        lesson = school.lesson(number, before)
        doubt = lesson.doubt or _worse(lesson, before)
        if doubt is not None:
            kept = "the student learns from labels alone" if before is None else "the labels before them are kept"
            say(f"Teachers of round {number} {doubt}: they are not believed, and {kept}.")
            break
        before = lesson
    return school.nothing_taught() if before is None else before.key


def shared(method: Method, teaching: Teaching) -> Method:
    """``method`` with its time divided evenly among all that is trained; a length in steps is that of each."""
    return replace(method, minutes={name: value / teaching.trainings for name, value in method.minutes.items()})


def to_label(ground: Ground, teaching: Teaching | None, folds: Sequence[int]) -> int:
    """How many cases members of teachers will predict, each counted for each member and fold."""
    if teaching is None:
        return 0
    return sum(len(_unlabelled(ground, fold)) for fold in folds) * teaching.members * teaching.rounds


@dataclass(frozen=True)
class _Lesson:
    """What one round of teachers gave.

    Attributes:
        key: under which name the store keeps it.
        dice: of the teachers on held-out cases; None where nothing is held out.
        doubt: why they cannot be believed, in words; None where nothing speaks against them.
    """

    key: str
    dice: float | None
    doubt: str | None


def _worse(lesson: _Lesson, before: _Lesson | None) -> str | None:
    if before is None or before.dice is None or lesson.dice is None or lesson.dice >= before.dice - WORSE_BY:
        return None
    return f"reach a Dice of {lesson.dice:.3f} on held-out cases, and those before {before.dice:.3f}"


@dataclass(frozen=True)
class _School:
    """Who teaches whom, and where."""

    ground: Ground
    method: Method
    teaching: Teaching
    configuration: Configuration
    store: Store
    fold: int
    workers: int | None

    @cached_property
    def cases(self) -> list[Case]:
        """What is to be labelled."""
        return _unlabelled(self.ground, self.fold)

    def lesson(self, number: int, before: _Lesson | None) -> _Lesson:
        """Teachers of round ``number``, trained on the labels (and on those of the round before), and their labels."""
        members = [self._teacher(number, member, before) for member in range(self.teaching.members)]
        known = [item.finished.dice for item in members if item.finished is not None and item.finished.dice is not None]
        dice = sum(known) / len(known) if known else None
        key = self._key([item.run for item in members], self.teaching.confidence)
        if dice is not None and dice < self.teaching.least_dice:
            least = f"and {self.teaching.least_dice:g} is the least"
            return _Lesson(key, dice, f"reach a Dice of {dice:.3f} on held-out cases, {least}")
        with _in_turn():
            self._label(members, key)
        lost = self._lost_classes(key)
        return _Lesson(key, dice, f"find {', '.join(lost)} in none of {len(self.cases)} cases" if lost else None)

    def nothing_taught(self) -> str:
        """Labels that leave every voxel of every case open; under which name they are kept."""
        import numpy as np

        key = self._key([], None)
        with _in_turn():
            for case in self._missing(key):
                nothing = np.full(self.store.open(case.id).shape, IGNORE, np.int16)
                self.store.write_prior(case.id, key, nothing, self.configuration.dimensions)
        return key

    def _key(self, runs: Sequence[str], confidence: float | None) -> str:
        return f"taught-{short_hash([list(runs), confidence])}-fold_{self.fold}"

    def _teacher(self, number: int, member: int, before: _Lesson | None) -> TrainedFold:
        say(f"Teacher {member + 1} of {self.teaching.members}, round {number} of {self.teaching.rounds}:")
        place = self.ground.workspace
        apart = replace(self.ground, workspace=replace(place, runs_folder=f"{place.runs_folder}/{TEACHERS_RUNS}"))
        method = replace(self.method, seed=self.method.seed + member + 1 + 100 * (number - 1))
        if before is None:
            method = replace(method, trainer=self.teaching.trainer, settings=_common(self.method))
        taught_by = None if before is None else before.key
        return train_fold(apart, method, self.fold, taught_by=taught_by, workers=self.workers)

    def _missing(self, key: str) -> list[Case]:
        return [case for case in self.cases if not (self.store.case_folder(case.id) / f"prior-{key}.json").exists()]

    def _label(self, members: Sequence[TrainedFold], key: str) -> None:
        """Put what the members are sure of into the store, and their masks into the first member's folder."""
        from autofuse.inference.prior import prior_indices
        from autofuse.road.prediction import predict_into

        dataset, missing = self.ground.dataset, self._missing(key)
        folder, predicted = members[0].folder / key, members[0].folder / f"{key}-predicted"
        if missing:
            say(f"Labelling {len(missing)} cases; masks are in {folder}")
        for part in self._parts(missing):
            predict_into(
                dataset,
                members,
                part,
                predicted,
                probabilities=True,
                mirror=True,
                device=self.ground.device,
                workers=self.workers,
                strict=True,
            )
            for case in part:
                native = _sure(predicted, case, dataset.labels, self.teaching.confidence)
                _write_mask(dataset, predicted, folder, case, native)
                prepared = prior_indices(native, self.configuration, self.store.open(case.id).placement)
                self.store.write_prior(case.id, key, prepared, self.configuration.dimensions)
        shutil.rmtree(predicted, ignore_errors=True)

    def _parts(self, cases: Sequence[Case]) -> Iterator[Sequence[Case]]:
        """So many cases at a time that their probabilities do not fill the disk; at least one."""
        largest = max(math.prod(facts.shape) for facts in self.ground.fingerprint.cases)
        size = max(1, _PROBABILITIES_BYTES // (2 * self.ground.dataset.labels.outputs * largest))
        for start in range(0, len(cases), size):
            yield cases[start : start + size]

    def _lost_classes(self, key: str) -> list[str]:
        """Raw label values that more than half of the labelled training cases have, and no taught one."""
        import numpy as np

        training, labels = set(self.ground.splits.folds[self.fold][0]), self.ground.dataset.labels
        having = [
            {index for index, voxels in enumerate(self.store.open(case.id).record.class_voxels) if voxels}
            for case in self.ground.dataset.cases
            if case.id in training and case.labelled
        ]
        found = {int(index) for case in self.cases for index in np.unique(self.store.open(case.id).read_prior(key))}
        usual = [index for index in range(1, len(labels.raw_values) + 1) if 2 * _count(having, index) > len(having)]
        return [f"label {labels.raw_values[index - 1]}" for index in usual if index not in found]


def _in_turn() -> AbstractContextManager[None]:
    from autofuse.sampling.ranks import in_turn

    return in_turn()


def _count(having: Sequence[set[int]], index: int) -> int:
    return sum(index in classes for classes in having)


def _unlabelled(ground: Ground, fold: int) -> list[Case]:
    """Training cases of ``fold`` without a label."""
    training = set(ground.splits.folds[fold][0])
    return [case for case in ground.dataset.cases if case.id in training and not case.labelled]


def _common(method: Method) -> dict[str, object]:
    """The settings that every trainer has: a teacher does not know the student's own."""
    from autofuse.training.trainer import Trainer

    names = {field.name for field in dataclasses.fields(Trainer)}
    return {name: value for name, value in method.settings.items() if name in names}


def _sure(folder: Path, case: Case, labels: Labels, confidence: float) -> NDArray[np.int16]:
    """(z, y, x) class indices on the native grid, IGNORE where the mean probability is below ``confidence``.

    Of regions it is the least sure one that counts. The file of probabilities is taken away: it is many times as large
    as what is kept of it.
    """
    import blosc2
    import numpy as np

    from autofuse.dataset.label_codes import region_indices
    from autofuse.inference.writing import PROBABILITIES_ENDING

    path = folder / f"{case.id}{PROBABILITIES_ENDING}"
    stored = blosc2.open(str(path), mode="r")
    found = np.zeros(stored.shape[1:], np.int16)
    if labels.has_regions:
        certain = np.ones(found.shape, np.float16)
        for output, index in enumerate(region_indices(labels)):
            inside = stored[output]
            found[inside > 0.5] = index
            np.minimum(certain, np.maximum(inside, 1 - inside), out=certain)
    else:
        certain = stored[0]
        for output in range(1, stored.shape[0]):
            inside = stored[output]
            better = inside > certain
            found[better], certain[better] = output, inside[better]
    found[certain < confidence] = IGNORE
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
