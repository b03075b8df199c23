"""From a trained model to what a challenge takes: masks, or a container; checked, and a container rehearsed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from autofuse.foundation.console import say
from autofuse.foundation.errors import AutofuseError, DataError, ModelError, UsageError
from autofuse.foundation.files import sweep_temps, temp_beside, write_bytes
from autofuse.foundation.values import StoredValue
from autofuse.road.exporting import export_model
from autofuse.road.models import ChosenModel, choose_model, model_name
from autofuse.road.places import dataset_folder
from autofuse.road.runs import read_plan
from autofuse.road.steps import Device, Folder, predict
from autofuse.sharing.submissions.rehearsal import LIMIT_MEMORY_GIB, LIMIT_MINUTES, Rehearsal

if TYPE_CHECKING:
    from autofuse.dataset.types import Dataset
    from autofuse.sharing.submissions.target import Material, Target

SUBMISSIONS_FOLDER = "submissions"
"""Of a workspace, where no other place is named."""
RECORD_ENDING = ".submission.json"
Rehearse = Literal["after", "only", "never"]


class Submitted(StoredValue):
    """A submission that was made; stands beside it as ``<its name>.submission.json``.

    Attributes:
        place: the file or folder, absolute.
        cases: whose masks are in it; none for a container.
        files: SHA-256 of everything in it, by name.
        remarks: of the target.
        rehearsal: how a container went here; None where it was not tried.
        finished: False while it is being written; what is there then may be replaced.
    """

    kind: ClassVar[str] = "submitted"

    target: str
    model: str
    place: str
    cases: tuple[str, ...]
    files: dict[str, str]
    remarks: tuple[str, ...] = ()
    rehearsal: Rehearsal | None = None
    finished: bool = True


def submit(
    dataset: Folder,
    target: str,
    *,
    workspace: Folder | None = None,
    images: Folder | None = None,
    masks: Folder | None = None,
    out: Folder | None = None,
    run: str | None = None,
    folds: Sequence[int] | None = None,
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
    rehearse: Rehearse = "after",
    cases: int = 1,
    limit_minutes: float = LIMIT_MINUTES,
    limit_memory_gib: float = LIMIT_MEMORY_GIB,
    device: Device = "auto",
    workers: int | None = None,
) -> Submitted:
    """A submission of the test cases' masks, or of the model as a container; the same bytes each time.

    Masks that are not there are predicted first. A container is rehearsed when it is made.

    Args:
        dataset: folder of a data set, or the name of an imported model; that needs ``images``.
        target: a registered one, such as "grand-challenge", "brats", "flare", "folder".
        images: folder of images that are submitted (or rehearsed on), instead of the data set's test cases.
        masks: folder of masks to submit as they are, instead of predicting.
        out: the file or folder; None for ``submissions`` in the workspace.
        run, folds: whose models, as in ``predict``.
        name: of the model in a container, for the data set's name.
        settings: options of the target by name.
        rehearse: "only" tries the container that is there, with whatever was changed in it.
        cases: that a container is rehearsed on; training cases where there is no test case.
        limit_minutes, limit_memory_gib: for one start of a container; the defaults are Grand Challenge's.

    Raises:
        UsageError: if the target, an option of it or the place cannot be meant.
        DataError: if something must not be submitted; all of it is listed, and nothing is written.
        ModelError: if nothing is trained.
    """
    from autofuse.sharing.submissions.target import make_target

    aim = make_target(target, settings)
    if aim.takes == "masks" and rehearse == "only":
        raise UsageError("Only containers are rehearsed.", found=f"target {target}", remedy="Leave --rehearse out.")
    if aim.takes == "model" and masks is not None:
        raise UsageError("A container is made from a model, not from masks.", remedy="Leave --masks out.")
    chosen = choose_model(dataset, workspace, run, folds)
    material = _material(chosen, images, name)
    if chosen.imported is not None and not material.dataset.test_cases and rehearse != "never":
        raise UsageError("A model has no images of its own.", remedy=f"autofuse submit {dataset} -i FOLDER ...")
    _require_submittable(aim, target, material)
    place = _place(aim, chosen, material.name, out)
    limits: dict[str, Any] = {"limit_minutes": limit_minutes, "limit_memory_gib": limit_memory_gib, "cases": cases}
    if aim.takes == "model" and rehearse == "only":
        return _rehearsed(_made_before(place, target, material.name), material.dataset, limits)
    _require_free(place)
    choice: dict[str, Any] = {"workspace": workspace, "run": run, "folds": folds}
    if aim.takes == "masks":
        doing = {"device": device, "workers": workers}
        material = replace(material, masks=_masks(dataset, material, images, masks, choice, doing))
        made = _write(aim, target, material, place)
    else:
        made = _container(aim, target, material, place, dataset, choice)
    if aim.takes == "model" and rehearse == "after":
        made = _rehearsed(made, material.dataset, limits)
    return made


def _material(chosen: ChosenModel, images: Folder | None, name: str | None) -> Material:
    from autofuse.dataset.opening import images_as_dataset
    from autofuse.sharing.submissions.target import Material

    dataset, plan = chosen.dataset, read_plan(chosen.folds[0])
    if plan.masks_per_modality:
        raise DataError(
            "A submission takes one mask a case, and this model makes one for each modality.",
            found="masks of " + ", ".join(plan.modalities),
            remedy="Predict the masks with `autofuse predict` and hand in those that the challenge asks for.",
        )
    if images is not None:
        source = images_as_dataset(Path(images), plan.modalities, plan.labels, dataset.file_ending)
        dataset = source.model_copy(update={"reference": dataset.reference})
    title = model_name(name or chosen.workspace.dataset, given=name is not None)
    return Material(title, dataset, reference=plan.reference)


def require_submittable(dataset: Folder, target: str) -> None:
    """Nothing, if a model of this data set could be submitted to ``target``; for asking before it is trained.

    Raises:
        UsageError: if there is no such target.
        DataError: if the target would turn the data set away.
    """
    from autofuse.dataset.opening import open_dataset
    from autofuse.sharing.submissions.target import Material, make_target

    opened = open_dataset(dataset_folder(dataset))
    _require_submittable(make_target(target), target, Material(model_name(opened.name, given=False), opened))


def _require_submittable(aim: Target, target: str, material: Material) -> None:
    from autofuse.sharing.submissions.target import refuse

    if aim.takes == "masks" and not material.dataset.test_cases:
        raise DataError(
            "This data set has no test cases to submit.",
            file=material.dataset.root,
            remedy="Put images into imagesTs, or name a folder of images with -i.",
        )
    refuse(
        aim.faults(material),
        f"This cannot be submitted to {target}.",
        "Nothing was written; name another target, or mend the data set.",
    )


def _place(aim: Target, chosen: ChosenModel, name: str, out: Folder | None) -> Path:
    if out is not None:
        return Path(out).absolute()
    folder = chosen.workspace.folder / SUBMISSIONS_FOLDER
    sweep_temps(folder)
    return folder / aim.place(name)


def _record(place: Path) -> Path:
    return place.with_name(place.name + RECORD_ENDING)


def _require_free(place: Path) -> None:
    """Nothing, if nothing is there but what a submission left, unchanged since.

    Raises:
        UsageError: if something else would be lost.
    """
    from autofuse.sharing.submissions.archive import hashes_below

    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return
    try:
        before = Submitted.load(_record(place))
    except ModelError:
        before = None
    if before is not None and not before.finished:
        return
    known, there = {} if before is None else before.files, hashes_below(place)
    changed = sorted(name for name, digest in there.items() if known.get(name) != digest)
    if changed:
        raise UsageError(
            "Something is there that was not made by this command, or was changed since; it would be lost.",
            found=f"{place}: {', '.join(changed[:5])}",
            remedy="Name another place with -o, or remove it; --rehearse tries a changed container as it is.",
        )


def _made_before(place: Path, target: str, model: str) -> Submitted:
    from autofuse.sharing.submissions.archive import hashes_below

    if not place.is_dir():
        raise UsageError(
            "There is no container to rehearse.",
            found=str(place),
            remedy="Leave --rehearse out.",
        )
    return Submitted(target=target, model=model, place=str(place), cases=(), files=hashes_below(place))


def _masks(
    dataset: Folder,
    material: Material,
    images: Folder | None,
    given: Folder | None,
    choice: Mapping[str, Any],
    doing: Mapping[str, Any],
) -> Path:
    """The folder of the masks to submit."""
    from autofuse.sharing.submissions.target import refuse

    if given is not None:
        folder = Path(given)
        refuse(
            _strange_masks(folder, material.dataset),
            "These masks cannot be submitted.",
            "Move them away; there is to be one mask for each test case, and none more.",
            folder,
        )
        return folder
    predicted = predict(dataset, images=images, **choice, **doing)
    refuse(
        [f"{item.case}: {item.problem}" for item in predicted.failed],
        "Not every test case could be predicted, and a submission needs all.",
        "Mend these cases and run the same command again; the others are not predicted again.",
    )
    return Path(predicted.folder)


def _strange_masks(folder: Path, dataset: Dataset) -> list[str]:
    """Masks in ``folder`` that belong to no test case."""
    if not folder.is_dir():
        raise UsageError("This folder of masks does not exist.", found=str(folder))
    expected = {f"{case.id}{dataset.file_ending}" for case in dataset.test_cases}
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return [f"{name}: of no test case" for name in names if name.endswith(dataset.file_ending) and name not in expected]


def _container(
    aim: Target, target: str, material: Material, place: Path, dataset: Folder, choice: Mapping[str, Any]
) -> Submitted:
    """The bundle exported aside, and what the target makes of it."""
    aside = temp_beside(place)
    try:
        aside.mkdir(parents=True)
        bundle = aside / f"{material.name}.zip"
        export_model(dataset, **choice, out=bundle, name=material.name)
        return _write(aim, target, replace(material, bundle=bundle), place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write(aim: Target, target: str, material: Material, place: Path) -> Submitted:
    """The submission and its record; stopped in between, the record says that what is there is not the user's."""
    from autofuse.sharing.submissions.archive import hashes_below

    cases = tuple(case.id for case in material.dataset.test_cases) if aim.takes == "masks" else ()
    begun = Submitted(target=target, model=material.name, place=str(place), cases=cases, files={}, finished=False)
    record = _record(place)
    before = record.read_bytes() if record.exists() else None
    begun.save(record)
    try:
        remarks = tuple(aim.write(material, place))
    except AutofuseError:
        if before is None:
            record.unlink()
        else:
            write_bytes(record, before)
        raise
    made = begun.model_copy(update={"files": hashes_below(place), "remarks": remarks, "finished": True})
    made.save(record)
    for remark in remarks:
        say(remark)
    return made


def _rehearsed(made: Submitted, dataset: Dataset, limits: Mapping[str, Any]) -> Submitted:
    from autofuse.road.rehearsing import rehearse_context

    ended = made.model_copy(update={"rehearsal": rehearse_context(Path(made.place), dataset, **limits)})
    record = _record(Path(made.place))
    # Of a context that was changed by hand the record keeps what was made, so that the change is not taken for ours.
    before = Submitted.load(record) if record.exists() else ended
    before.model_copy(update={"rehearsal": ended.rehearsal}).save(record)
    return ended
