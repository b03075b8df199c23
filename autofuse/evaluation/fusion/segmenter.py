"""A frozen segmenter as a judge: what a network that was trained on neither fused nor trivially fused images makes of
both. It says what image metrics do not: whether what matters is still to be seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autofuse.dataset.raw import load_truth
from autofuse.dataset.subjects import guess_subjects
from autofuse.dataset.types import Case, Dataset, Labels
from autofuse.evaluation.fusion.case import Sources, Windows, load_sources, read_fused, rows_of
from autofuse.evaluation.fusion.folder import DICE_RECORDS, FusedCase, made_from
from autofuse.evaluation.fusion.greys import Unit
from autofuse.evaluation.fusion.types import CaseDice
from autofuse.evaluation.metrics import score_case
from autofuse.foundation.errors import AutofuseError, DataError, ModelError
from autofuse.foundation.files import crc32_of_file
from autofuse.foundation.values import short_hash

if TYPE_CHECKING:
    from autofuse.training.model import Model
    from autofuse.training.run import RunPlan

_SEPARATORS = " _.-"
_FIXED_SCALES = ("ct", "none")


@dataclass(frozen=True)
class Member:
    """One fold of the segmenter: its folder's name, its model, a hash of its weights, and the names that it knows."""

    name: str
    model: Model
    digest: str
    known: frozenset[str]

    def saw(self, case: Case) -> bool:
        """Whether it was trained on an image of this subject, as far as the names tell.

        That is so if a training case or subject is called like this case or its subject, or like one of these with more
        behind a separator, such as p01_FLAIR for p01.
        """
        names = {case.id, case.subject}
        return any(
            known == name or (known.startswith(name) and known[len(name)] in _SEPARATORS)
            for name in names
            for known in self.known
        )


@dataclass(frozen=True)
class Segmenter:
    """Folds of a run on one modality."""

    folder: Path
    modality: str
    members: tuple[Member, ...]

    def unseeing(self, case: Case) -> tuple[Member, ...]:
        """The folds that were not trained on this subject."""
        return tuple(member for member in self.members if not member.saw(case))


def load_segmenter(folder: Path, folds: Sequence[Path], labels: Labels, device: str = "cpu") -> Segmenter:
    """The models in ``folds``, fit to judge images of a data set with these labels.

    Raises:
        ModelError: if a model is damaged, takes several modalities or earlier masks, scales intensities by fixed
            numbers, or predicts other classes.
    """
    from autofuse.inference.record import model_digest
    from autofuse.training.model import load_model

    members = []
    for fold in folds:
        model = load_model(fold, device=device)
        _require_fit(model, fold, labels)
        members.append(Member(fold.name, model, model_digest(model), known_names(model.run)))
    return Segmenter(folder, members[0].model.task.plan.modalities[0], tuple(members))


def known_names(run: RunPlan) -> frozenset[str]:
    """Ids of the cases that a run was trained on, with or without labels, and their subjects as far as ids tell."""
    trained = [*run.labelled, *run.unlabelled]
    guessed = guess_subjects(sorted({*trained, *run.held_out})).of
    subjects = [run.subjects.get(case, guessed[case]) for case in trained]
    return frozenset((*trained, *subjects))


def segment_case(
    item: FusedCase,
    dataset: Dataset,
    segmenter: Segmenter,
    out: Path,
    windows: Windows,
    *,
    device: str = "cpu",
    tell: Callable[[str], None] | None = None,
) -> CaseDice:
    """Dice of every row of one case, by the mean of the folds that did not see its subject; written to ``out`` too.

    Args:
        tell: called with the name of each row before it is segmented.

    Raises:
        DataError: if the case has no label, or no fold can judge it.
    """
    members = segmenter.unseeing(item.case)
    if not members:
        raise DataError("Every fold of the segmenter was trained on this subject.", case=item.case.id)
    truth = load_truth(dataset, item.case)
    if truth is None:
        raise DataError("The case has no label.", case=item.case.id)
    images, judged_by = made_from(dataset, item, windows), item.case.evaluation_label or item.case.label or ""
    label = crc32_of_file(dataset.path(judged_by))
    stamp = short_hash([images, label, [member.digest for member in members], device.split(":")[0]])
    record = out / DICE_RECORDS / f"{item.case.id}.json"
    kept = _kept(record, stamp)
    if kept is not None:
        return kept
    sources = load_sources(dataset, item.case, windows)
    fused = None if item.fused is None else read_fused(item.fused, item.case.id, sources.geometry)
    dice = {}
    for name, row in rows_of(sources, fused, windows).items():
        if tell is not None:
            tell(name)
        dice[name] = _dice(item.case.id, row, sources, truth[0], dataset.labels, members, device)
    made = CaseDice(case=item.case.id, made_from=stamp, folds=tuple(member.name for member in members), dice=dice)
    made.save(record)
    return made


def shown_to_segmenter(row: Unit, body: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The row as the segmenter gets it: 0 outside the sources' body, shifted so that what was darkest there is 0.

    Networks are trained on images whose background is 0, and that are cropped and normalised by it.
    """
    outside = ~body
    if not outside.any():
        return row.astype(np.float32)
    shifted = row - np.median(row[outside])
    return np.where(body, shifted, 0).astype(np.float32)


def _dice(
    case: str,
    row: Unit,
    sources: Sources,
    truth: NDArray[np.int16],
    labels: Labels,
    members: Iterable[Member],
    device: str,
) -> float | None:
    from autofuse.images import Image
    from autofuse.inference.simple import predict

    image = Image(shown_to_segmenter(row, sources.body), sources.geometry)
    prediction = predict([member.model for member in members], [image], device=device, case=case)
    return score_case(case, truth, prediction.indices, labels, sources.geometry.spacing_mm, surfaces=False).mean_dice


def _require_fit(model: Model, fold: Path, labels: Labels) -> None:
    plan = model.task.plan
    if len(plan.modalities) != 1:
        raise ModelError(
            "The segmenter has to take one image: a fused image is none of several modalities.",
            file=fold,
            found=", ".join(plan.modalities),
            expected="a run on a data set with one column of images, in which each modality of each case is a case",
            remedy="documentation/how-to/judge_fused_images.md shows how to make one.",
        )
    if model.task.configuration.previous is not None:
        raise ModelError(
            "The segmenter is the second stage of a cascade; it needs masks that nobody has for a fused image.",
            file=fold,
            remedy="Name a run of another configuration.",
        )
    if plan.normalisation[0].scheme in _FIXED_SCALES:
        raise ModelError(
            "The segmenter scales intensities by fixed numbers, which mean nothing in a fused image.",
            file=fold,
            found=f"normalisation {plan.normalisation[0].scheme!r}",
            expected="a normalisation by each image's own mean and spread",
            remedy="Do not call the modality CT in the segmenter's data set.",
        )
    own = model.task.labels
    if (own.classes, own.region_values) != (labels.classes, labels.region_values):
        raise ModelError(
            "The segmenter predicts other classes than the data set has.",
            file=fold,
            found=", ".join(f"{item.name} {item.raw_values}" for item in own.classes),
            expected=", ".join(f"{item.name} {item.raw_values}" for item in labels.classes),
        )


def _kept(record: Path, stamp: str) -> CaseDice | None:
    try:
        found = CaseDice.load(record) if record.exists() else None
    except AutofuseError:
        return None  # damaged: it is made anew
    return found if found is not None and found.made_from == stamp else None
