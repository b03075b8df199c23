"""A finished model out of a workspace, as a bundle without its patients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from autofuse.foundation.console import progress, say
from autofuse.foundation.errors import UsageError
from autofuse.foundation.values import StoredValue
from autofuse.road.models import ChosenModel, choose_model, model_name
from autofuse.road.runs import TrainedFold, read_plan
from autofuse.road.steps import Folder

if TYPE_CHECKING:
    from autofuse.sharing.pack import Packing
    from autofuse.sharing.private import Secrets
    from autofuse.sharing.reduce import ReducedFold
    from autofuse.sharing.types import DataSummary, HeldOutScores, SharedModel

SHARED = "shared"
"""Folder of a workspace where bundles go that no name was given for."""


class Exported(StoredValue):
    """A bundle that was written.

    Attributes:
        file: absolute; bytes, sha256: of it.
        run, folds: that it predicts with. entries: files in it.
        scored_cases: held-out cases whose scores the model card tells.
    """

    kind: ClassVar[str] = "exported"

    name: str
    file: str
    bytes: int
    sha256: str
    run: str
    folds: tuple[int, ...]
    entries: int
    scored_cases: int


def export_model(
    dataset: Folder,
    *,
    workspace: Folder | None = None,
    run: str | None = None,
    folds: Sequence[int] | None = None,
    out: Folder | None = None,
    name: str | None = None,
    licence: str | None = None,
) -> Exported:
    """The model that `predict` would use, as one bundle file; the same bytes each time.

    Args:
        dataset: folder of a data set, or the name of an imported model.
        run, folds: which are shared, if not the newest finished run and all of its folds.
        out: the file, a zip; None for the workspace.
        name: of the model, for the data set's name, which then is nowhere in the bundle.
        licence: text for the model card.

    Raises:
        UsageError: if the name cannot be one.
        ModelError: if nothing is finished, something is damaged, or the bundle would give away a case or a path.
        ResourceError: if it cannot be written.
    """
    from autofuse.sharing.layout import BUNDLE_ENDING
    from autofuse.sharing.pack import sha256_of, write_bundle

    chosen = choose_model(dataset, workspace, run, folds)
    title = model_name(name or chosen.workspace.dataset, given=name is not None)
    file = _file(chosen, title, out, BUNDLE_ENDING)
    secrets = secrets_of(chosen, title)
    parts = _Parts(chosen, title, licence, secrets)

    def fill(packing: Packing) -> None:
        with progress("export", len(chosen.folds) + len(chosen.earlier)) as advance:
            for fold in (*chosen.folds, *chosen.earlier):
                packing.add_fold(parts.reduced(fold))
                advance(1, note=f"{fold.run}, fold {fold.fold}")
        for entry, text in parts.texts().items():
            packing.add_text(entry, text)

    manifest = write_bundle(file, title, fill)
    return Exported(
        name=title,
        file=str(file),
        bytes=file.stat().st_size,
        sha256=sha256_of(file),
        run=chosen.folds[0].run,
        folds=tuple(fold.fold for fold in chosen.folds),
        entries=len(manifest.entries) + 1,
        scored_cases=0 if parts.scores is None else parts.scores.cases,
    )


def secrets_of(chosen: ChosenModel, name: str) -> Secrets:
    """What a bundle of these folds must not hold."""
    from autofuse.sharing.private import Secrets

    dataset, runs = chosen.dataset, [fold.plan for fold in (*chosen.folds, *chosen.earlier)]
    ids = {word for case in (*dataset.cases, *dataset.test_cases) for word in (case.id, case.subject)}
    for run in runs:
        ids |= {*run.labelled, *run.unlabelled, *run.held_out, *run.subjects, *run.subjects.values()}
    plan = read_plan(chosen.folds[0])
    public = [name, *plan.modalities, *(item.name for item in plan.labels.classes)]
    public += [item.name for item in plan.configurations] + [run.trainer for run in runs]
    place = chosen.workspace
    return Secrets(ids, [Path(dataset.root), place.root, place.folder, Path.home(), Path.cwd()], public)


class _Parts:
    """What goes into the bundle beside the folds, collected while these are reduced."""

    def __init__(self, chosen: ChosenModel, name: str, licence: str | None, secrets: Secrets) -> None:
        self._chosen, self._name, self._licence, self._secrets = chosen, name, licence, secrets
        self._reduced: list[ReducedFold] = []
        self.scores = _scores(chosen)

    def reduced(self, fold: TrainedFold) -> ReducedFold:
        """``fold`` without its patients.

        Raises:
            ModelError: if it is damaged, or its values would give a case or a path away.
        """
        from autofuse.sharing.reduce import reduce_fold

        made = reduce_fold(fold.folder, self._name, self._secrets, earlier=fold in self._chosen.earlier)
        for entry, text in made.texts.items():
            self._secrets.require_absent(f"{made.member.folder}/{entry}", text.encode())
        self._reduced.append(made)
        return made

    def texts(self) -> dict[str, str]:
        """The other entries by name.

        Raises:
            ModelError: as ``reduced``.
        """
        from autofuse.sharing import layout
        from autofuse.sharing.card import model_card
        from autofuse.sharing.reduce import reduce_plan

        model, data = self._model(), _data(self._chosen)
        plan = reduce_plan(read_plan(self._chosen.folds[0]), self._name, self._secrets)
        texts = {layout.MODEL: model.to_json(), layout.CARD: model_card(model, plan, data)}
        if data is not None:
            texts[layout.SUMMARY] = data.to_json()
        for entry, text in texts.items():
            self._secrets.require_absent(entry, text.encode())
        return texts

    def _model(self) -> SharedModel:
        from autofuse.sharing.types import SharedModel

        chosen, first = self._chosen, self._chosen.folds[0]
        plan, before = read_plan(first), chosen.imported
        members = [fold.member for fold in self._reduced]
        if before is not None:  # the lists of cases are empty here; what they numbered is known
            known = {(item.run, item.fold): item for item in before.members}
            members = [known.get((item.run, item.fold), item) for item in members]
        return SharedModel(
            name=self._name,
            licence=self._licence or (before.licence if before else None),
            modalities=plan.modalities,
            classes=tuple(item.name for item in plan.labels.classes),
            file_ending=chosen.dataset.file_ending,
            run=first.run,
            folds=tuple(fold.fold for fold in chosen.folds),
            members=tuple(members),
            scores=self.scores,
            autofuse_version=first.plan.autofuse_version,
            torch_version=first.plan.torch_version,
        )


def _scores(chosen: ChosenModel) -> HeldOutScores | None:
    """Held-out scores of these folds as far as they were made; prediction of a whole run makes them."""
    from autofuse.road.judging import kept_scores
    from autofuse.sharing.summary import summarise_scores

    if chosen.imported is not None:
        return chosen.imported.scores
    parts = [scores for fold in chosen.folds if (scores := kept_scores(fold)) is not None]
    return summarise_scores(parts, read_plan(chosen.folds[0]).labels)


def _data(chosen: ChosenModel) -> DataSummary | None:
    """What is known of the data that these folds were trained on; None where that was measured anew since."""
    from autofuse.fingerprint.types import Fingerprint
    from autofuse.sharing.layout import SUMMARY
    from autofuse.sharing.summary import summarise_data
    from autofuse.sharing.types import DataSummary

    kept = chosen.workspace.folder / SUMMARY
    if chosen.imported is not None:
        return DataSummary.load(kept) if kept.exists() else None
    if not chosen.workspace.fingerprint.exists():
        return None
    fingerprint = Fingerprint.load(chosen.workspace.fingerprint)
    if fingerprint.digest() != read_plan(chosen.folds[0]).fingerprint_digest:
        say("The data set was measured anew after this training: the bundle tells nothing of it.")
        return None
    return summarise_data(fingerprint)


def _file(chosen: ChosenModel, name: str, out: Folder | None, ending: str) -> Path:
    if out is None:
        return chosen.workspace.folder / SHARED / f"{name}{ending}"
    file = Path(out).absolute()
    if file.suffix != ".zip" or file.is_dir():
        raise UsageError(
            "A bundle is a zip file.",
            found=str(out),
            expected=f"a file such as {name}{ending}",
            remedy=f"autofuse export {chosen.dataset.root} -o {name}{ending}",
        )
    return file
