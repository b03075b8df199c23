"""Fused images: of test cases, of any folder, and as a modality more of a data set of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from autofuse.dataset.types import Case, Dataset
from autofuse.foundation.console import say
from autofuse.foundation.errors import DataError, ModelError, UsageError
from autofuse.foundation.files import write_bytes
from autofuse.foundation.machine import default_device
from autofuse.foundation.values import StoredValue, Value, short_hash
from autofuse.road.groundwork import waiting_lock
from autofuse.road.models import choose_model, require_images
from autofuse.road.places import imported_model
from autofuse.road.prediction import failures, first_stage_masks, with_test_cases
from autofuse.road.results import FailedCase
from autofuse.road.runs import TrainedFold, choose_run
from autofuse.road.steps import Device, Folder, explicit, open_both

if TYPE_CHECKING:
    from autofuse.dataset.copying import CopiedCase
    from autofuse.foundation.workspace import Workspace

FUSED = "fused"
"""Name of the modality that is added, and of folders of fused images."""
RECORD, AT_WORK = "fused.json", ".fusing.json"


class FusedImages(StoredValue):
    """Fused images of one command `autofuse fuse`.

    Attributes:
        run, folds: whose models were averaged.
        folder: where the images are, absolute.
        cases: that have one now; failed: the others.
    """

    kind: ClassVar[str] = "fused images"

    run: str
    folds: tuple[int, ...]
    folder: str
    cases: tuple[str, ...]
    failed: tuple[FailedCase, ...] = ()


class FusedCase(Value):
    """One case of a fused data set; ``folds``: whose models fused it, none of which was trained on it if ``unseen``."""

    case: str
    folds: tuple[int, ...]
    unseen: bool


class FusedDataset(StoredValue):
    """A data set whose last modality is the fused image.

    Attributes:
        dataset: name of the source; source: hash of what it is and of the models.
        run: whose models fused.
        folder: absolute.
        only_fused: whether the source's own modalities were left out.
        training, test: cases.
    """

    kind: ClassVar[str] = "fused data set"

    dataset: str
    source: str
    run: str
    folder: str
    only_fused: bool
    training: tuple[FusedCase, ...]
    test: tuple[FusedCase, ...] = ()


class _Begun(StoredValue):
    kind: ClassVar[str] = "fused data set begun"

    source: str


def fuse(
    dataset: Folder,
    *,
    workspace: Folder | None = None,
    images: Folder | None = None,
    out: Folder | None = None,
    run: str | None = None,
    folds: Sequence[int] | None = None,
    device: Device = "auto",
) -> FusedImages:
    """Fused images of the data set's test cases, or of the images in a folder, on their native grid; no masks.

    Args:
        dataset, images, out: as of ``predict``.
        run: whose models (if None the newest finished run, of an imported model those of its members that fuse);
            folds: which of its folds are averaged (all if None).

    Raises:
        ModelError: if that run makes no fused image.
        DataError: if there is nothing to fuse.
        UsageError: if an imported model is asked without images.
    """
    opened, place, trained = _whose(dataset, workspace, images, run, folds)
    given = None if images is None else Path(images)
    source = with_test_cases(opened, trained[0], given)
    name = "imagesTs" if given is None else given.absolute().name
    folder = place.folder / FUSED / trained[0].run / name if out is None else Path(out)
    return fuse_into(source, trained, source.test_cases, folder, explicit(device))


def _whose(
    dataset: Folder, workspace: Folder | None, images: Folder | None, run: str | None, folds: Sequence[int] | None
) -> tuple[Dataset, Workspace, list[TrainedFold]]:
    """The data set or imported model, where it stands, and the folds that are to fuse."""
    if imported_model(dataset, workspace) is None:
        opened, place = open_both(dataset, workspace)
        return opened, place, choose_run(place, run, folds)
    chosen = choose_model(dataset, workspace, run, folds)
    require_images(chosen, images, f"autofuse fuse {dataset} -i FOLDER -o FUSED")
    return chosen.dataset, chosen.workspace, that_fuse(chosen.folds) or list(chosen.folds)


def fuse_into(
    dataset: Dataset,
    folds: Sequence[TrainedFold],
    cases: Sequence[Case],
    folder: Path,
    device: Literal["cpu", "cuda"] | None = None,
) -> FusedImages:
    """Fused images of ``cases`` by the mean of ``folds`` in ``folder``; one bad case never stops the others.

    Raises:
        ModelError: if that run makes no fused image.
    """
    from autofuse.inference.fused import fuse_cases, require_fusing
    from autofuse.inference.prediction import PredictOptions
    from autofuse.training.model import load_model, open_model

    where = device or default_device()
    alone = len(folds) == 1
    models = [load_model(fold.folder, device=where) if alone else open_model(fold.folder) for fold in folds]
    require_fusing(models)
    say(f"Fusing {len(cases)} cases with {folds[0].run}, folds {', '.join(str(fold.fold) for fold in folds)}.")
    earlier = first_stage_masks(dataset, folds, cases, folder, mirror=False, device=where, workers=None)
    options = PredictOptions(mirror=False, device=where)
    outcomes = fuse_cases(models, dataset, cases, folder, options=options, priors=earlier)
    return FusedImages(
        run=folds[0].run,
        folds=tuple(fold.fold for fold in folds),
        folder=str(folder.absolute()),
        cases=tuple(item.name for item in outcomes if item.error is None),
        failed=failures(outcomes),
    )


def fuse_dataset(
    dataset: Folder,
    out: Folder,
    *,
    workspace: Folder | None = None,
    run: str | None = None,
    only_fused: bool = False,
    device: Device = "auto",
    workers: int | None = None,
) -> FusedDataset:
    """What was made; ``out`` then holds a copy of the data set that has the fused image as its last modality.

    A training case is fused by the model of the fold that held it out, where there is one, so that nothing which is
    trained on the copy sees images that were made knowing the case's label; test cases by the mean of all folds. The
    copy is an nnU-Net raw folder like any other. Images are linked where the disk allows it; the same call again goes
    on, and makes anew what is missing or is no longer as it was written.

    Args:
        run: whose models (the newest finished run if None).
        only_fused: leave the data set's own modalities out.

    Raises:
        UsageError: if ``out`` holds anything but this copy or lies in the data set.
        ModelError: if that run makes no fused image.
        DataError: naming all cases that cannot be fused.
    """
    from autofuse.dataset.copying import copied_cases, small_files

    opened, place = open_both(dataset, workspace)
    trained = choose_run(place, run)
    folder = Path(os.path.abspath(out))  # noqa: PTH100  (resolve() would lose the name of a linked folder)
    source = _source(opened, trained, only_fused)
    cases = copied_cases(opened, all_truths=False)
    _refuse(opened, cases, folder, source)
    with waiting_lock(folder):
        if (folder / RECORD).exists() and (folder / "dataset.json").exists():
            say(f"This data set was made before; {folder / RECORD} holds how. Its files are looked at again.")
        else:
            _Begun(source=source).save(folder / AT_WORK)
        ready = place.folder / FUSED / trained[0].run / "dataset"
        made = _fuse_all(opened, trained, ready, explicit(device))
        _write_cases(opened, cases, ready, folder, only_fused, workers)
        kept = opened.model_copy(update={"modalities": ()}) if only_fused else opened
        record = FusedDataset(
            dataset=opened.name,
            source=source,
            run=trained[0].run,
            folder=str(folder),
            only_fused=only_fused,
            training=tuple(made[case.id] for case in opened.cases),
            test=tuple(made[case.id] for case in opened.test_cases),
        )
        if _kept_record(folder / RECORD) != record:
            record.save(folder / RECORD)
        for name, content in small_files(kept, opened.labels, (FUSED,)).items():
            if not (folder / name).exists() or (folder / name).read_bytes() != content:
                write_bytes(folder / name, content)
        (folder / AT_WORK).unlink(missing_ok=True)
    return record


def _kept_record(path: Path) -> FusedDataset | None:
    try:
        return FusedDataset.load(path) if path.exists() else None
    except ModelError:
        return None


def _fuse_all(
    dataset: Dataset, trained: Sequence[TrainedFold], folder: Path, device: Literal["cpu", "cuda"] | None
) -> dict[str, FusedCase]:
    """Every case fused into ``folder``, by models that have not seen it where there are such."""
    own = {case: fold for fold in trained for case in fold.plan.held_out}
    seen = {case for fold in trained for case in fold.plan.labelled}
    groups: dict[tuple[int, ...], list[Case]] = {}
    for case in (*dataset.cases, *dataset.test_cases):
        folds = (own[case.id],) if case.id in own else tuple(trained)
        groups.setdefault(tuple(fold.fold for fold in folds), []).append(case)
    made: dict[str, FusedCase] = {}
    failed: list[FailedCase] = []
    by_number = {fold.fold: fold for fold in trained}
    for numbers, cases in groups.items():
        done = fuse_into(dataset, [by_number[number] for number in numbers], cases, folder, device)
        failed += done.failed
        for case in cases:
            made[case.id] = FusedCase(case=case.id, folds=numbers, unseen=case.id in own or case.id not in seen)
    if failed:
        raise DataError(
            f"{len(failed)} of {len(made)} cases could not be fused; the others are kept.",
            case=", ".join(item.case for item in failed),
            found="\n    ".join(f"{item.case}: {item.problem}" for item in failed[:10]),
            remedy="Repair these cases, then run the same command again; `autofuse check` lists all problems.",
        )
    known = [item.case for item in made.values() if not item.unseen]
    if known:
        say(f"No finished fold held out {len(known)} training cases: models fused them that had learned from them.")
    return made


def _write_cases(
    dataset: Dataset, cases: Sequence[CopiedCase], ready: Path, folder: Path, only_fused: bool, workers: int | None
) -> None:
    from autofuse.foundation.workers import run_units

    alone = dataset.model_copy(update={"cases": (), "test_cases": ()})
    work = partial(_write_case, dataset=alone, ready=ready, folder=folder, only_fused=only_fused)
    outcomes = run_units(work, [(item.case.id, item) for item in cases], label="Writing", workers=workers)
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error


def _write_case(copied: CopiedCase, dataset: Dataset, ready: Path, folder: Path, only_fused: bool) -> None:
    from autofuse.dataset.copying import copy_image, copy_label, link
    from autofuse.dataset.raw import CaseFiles
    from autofuse.images import read_image, write_image

    files = CaseFiles(dataset, copied.case)
    for mask, original in ((copied.label, copied.case.label), (copied.truth, copied.truth_source)):
        if mask is not None and original is not None:
            copy_label(dataset.path(original), folder / mask)
    for source in () if only_fused else copied.images:
        copy_image(files, source, folder)
    fused = ready / f"{copied.case.id}{dataset.file_ending}"
    place, ending = Path(copied.images[0].target).parent, copied.images[0].target.rsplit("_", 1)[1][4:]
    target = folder / place / f"{copied.case.id}_{0 if only_fused else len(dataset.modalities):04d}{ending}"
    if fused.name.endswith(ending):
        link(fused, target)
    else:  # the source has files of several formats, its copy has one
        image = read_image(fused)
        write_image(target, image.voxels, image.geometry)


def _source(dataset: Dataset, trained: Sequence[TrainedFold], only_fused: bool) -> str:
    """Hash of what the copy is made of: the data set's description, the models, and what is kept."""
    plain = dataset.model_copy(update={"root": ""}).model_dump(mode="json")
    return short_hash([plain, [fold.plan.digest() for fold in trained], only_fused])


def _refuse(dataset: Dataset, cases: Sequence[CopiedCase], folder: Path, source: str) -> None:
    """Nothing, if the copy may be made in (or goes on in) ``folder``."""
    out, root = folder.resolve(), Path(dataset.root).resolve()
    if out == root or root in out.parents or out in root.parents:
        raise UsageError(
            "The copy would lie in the data set, or the data set in it.",
            file=folder,
            expected="a folder beside it",
            remedy="Name another folder with --out; a data set is never written to.",
        )
    if FUSED in (modality.name for modality in dataset.modalities):
        raise UsageError(
            "This data set has a fused modality already.",
            found=", ".join(modality.name for modality in dataset.modalities),
            remedy="Use the data set that it was made from.",
        )
    if any(len(item.images) == 1 and len(dataset.modalities) > 1 for item in cases if not _lacks(item)):
        raise UsageError(
            "The pictures of this data set hold all channels in one file, beside which no further one can lie.",
            remedy="Give each channel a file of its own.",
        )
    if not folder.exists() or not [path for path in folder.iterdir() if path.name != ".lock"]:
        return
    try:
        record = folder / RECORD
        before = FusedDataset.load(record).source if record.exists() else _Begun.load(folder / AT_WORK).source
    except ModelError:
        before = None
    if before != source:
        raise UsageError(
            "The folder holds something else, or a copy of another data set or by other models.",
            file=folder,
            expected="no folder, an empty one, or one that the same command began",
            remedy="Name another folder with --out, or remove this one.",
        )


def _lacks(copied: CopiedCase) -> bool:
    """Whether the case lacks a modality."""
    return any(image is None for image in copied.case.images)


def fused_beside(
    masks: Path, dataset: Dataset, folds: Sequence[TrainedFold], images: Path | None, device: Device
) -> FusedImages:
    """Fused images of the cases whose masks are in ``masks``, in a folder there."""
    source = with_test_cases(dataset, folds[0], images)
    return fuse_into(source, that_fuse(folds) or folds, source.test_cases, masks / FUSED, explicit(device))


def that_fuse(folds: Sequence[TrainedFold]) -> list[TrainedFold]:
    """Those of ``folds`` whose method makes a fused image."""
    from autofuse.training.model import load_task
    from autofuse.training.run import make_trainer

    return [
        fold
        for fold in folds
        if make_trainer(fold.plan.trainer, fold.plan.fields).fuses(load_task(fold.folder, fold.plan))
    ]
