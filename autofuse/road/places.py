"""Which folder is meant by a data set, and where what is made for it goes."""

from __future__ import annotations

import os
from pathlib import Path

from autofuse.foundation.errors import DataError
from autofuse.foundation.workspace import Workspace, workspace_root

_LEGACY_RAW = "nnUNet_raw"
MODELS = "models"
"""Folder of a workspace with the models that were imported."""
_MODEL_FILE = "model.json"


def dataset_folder(dataset: str | Path) -> Path:
    """The folder of a data set: a path, or a name or number to be found in nnU-Net's raw folder, if that is set.

    Raises:
        DataError: if there is no such folder.
    """
    folder = Path(dataset)
    if folder.is_dir():
        return _absolute(folder)
    found = _in_legacy_raw(str(dataset))
    if found is not None:
        return found
    raise DataError(
        "This data set's folder does not exist." if not folder.exists() else "A data set is a folder, not a file.",
        file=folder,
        remedy="Name the folder that holds dataset.json and imagesTr (or cases.csv).",
    )


def _in_legacy_raw(name: str) -> Path | None:
    root = os.environ.get(_LEGACY_RAW)
    if not root or not name or "/" in name:
        return None
    wanted = f"Dataset{int(name):03d}_" if name.isdigit() and len(name) <= 4 else None
    try:
        folders = sorted(path for path in Path(root).iterdir() if path.is_dir())
    except OSError:
        return None
    fits = [path for path in folders if path.name == name or (wanted and path.name.startswith(wanted))]
    return _absolute(fits[0]) if len(fits) == 1 else None


def workspace_of(dataset: str | Path, workspace: str | Path | None = None) -> Workspace:
    """Where everything made for ``dataset`` goes: a folder named like the data set's, in the workspace; for an imported
    model, its own."""
    folder = Path(dataset)
    if not folder.is_dir():
        model = imported_model(dataset, workspace)
        if model is not None:
            return model
        folder = _in_legacy_raw(str(dataset)) or folder
    return Workspace(_absolute(workspace_root(workspace)), _absolute(folder).name or "dataset")


def models_folder(workspace: str | Path | None = None) -> Path:
    """Where imported models go, each in a folder of its name."""
    return _absolute(workspace_root(workspace)) / MODELS


def imported_model(name: str | Path, workspace: str | Path | None = None) -> Workspace | None:
    """The folder of the imported model called ``name``, laid out as a data set's; None where there is none, or where a
    data set is meant."""
    text, folder = str(name), models_folder(workspace)
    if Path(text).name != text or Path(text).is_dir() or _in_legacy_raw(text) is not None:
        return None
    return Workspace(folder, text) if (folder / text / _MODEL_FILE).is_file() else None


def _absolute(folder: Path) -> Path:
    return Path(os.path.abspath(folder))  # noqa: PTH100  (resolve() would lose the name of a linked folder)


DEMO_DATASET = "Dataset001_Phantom"


def demo_workspace(folder: Path) -> Workspace:
    """Where the demo in ``folder`` puts what it makes."""
    return Workspace(_absolute(folder) / "workspace", DEMO_DATASET)
