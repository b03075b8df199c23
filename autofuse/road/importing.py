"""A bundle into a workspace, as a model that predicts."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from autofuse.foundation.console import say
from autofuse.foundation.values import StoredValue
from autofuse.road.models import model_name, read_model
from autofuse.road.places import models_folder
from autofuse.road.steps import Folder


class Imported(StoredValue):
    """A bundle that is a model of this workspace now.

    Attributes:
        folder: absolute.
        run, folds: that it predicts with; of an ensemble its name and all folds; members: of an ensemble, in words.
        fresh: whether this command put it there; False if it was there already, whole.
        made_with: version of autofuse that wrote the bundle.
    """

    kind: ClassVar[str] = "imported"

    name: str
    folder: str
    fresh: bool
    run: str
    folds: tuple[int, ...]
    members: str = ""
    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    file_ending: str
    licence: str | None
    made_with: str


def import_model(bundle: Folder, *, workspace: Folder | None = None, name: str | None = None) -> Imported:
    """The model in ``bundle``, checked and unpacked into the workspace, ready for `predict`.

    Args:
        name: for it here, instead of the one that the bundle has.

    Raises:
        ModelError: if the bundle is broken, foreign or unsafe; nothing of it is kept.
        UsageError: if another model has the name.
        ResourceError: if it cannot be written.
    """
    from autofuse.evaluation.ensemble import Ensemble
    from autofuse.sharing.gate import open_bundle
    from autofuse.sharing.layout import ENSEMBLE
    from autofuse.sharing.unpack import unpack_bundle

    given = None if name is None else model_name(name, given=True)
    with open_bundle(Path(bundle)) as opened:
        title = given or opened.manifest.name
        folder = models_folder(workspace) / title
        fresh = unpack_bundle(opened, folder)
    model = read_model(folder)
    ensemble = None if model.ensemble is None else Ensemble.load(folder / ENSEMBLE)
    if not fresh:
        say(f"{title} was imported before and is whole: nothing was done.")
    return Imported(
        name=title,
        folder=str(folder),
        fresh=fresh,
        run=model.run if ensemble is None else ensemble.name,
        folds=model.folds if ensemble is None else ensemble.folds,
        members="" if ensemble is None else ensemble.in_words(),
        modalities=model.modalities,
        classes=model.classes,
        file_ending=model.file_ending,
        licence=model.licence,
        made_with=opened.manifest.autofuse_version,
    )
