"""A model that was never trained, as a run folder and as a bundle; made once for all tests of this room."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_models import pack_model, write_fold

from autofuse.testing import example_task


@pytest.fixture(scope="session")
def fold_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished fold."""
    return write_fold(tmp_path_factory.mktemp("run") / "example-supervised-00000000" / "fold_0", example_task())


@pytest.fixture(scope="session")
def good_bundle(tmp_path_factory: pytest.TempPathFactory, fold_folder: Path) -> Path:
    """A bundle of that fold."""
    return pack_model(tmp_path_factory.mktemp("bundle") / "good.autofuse.zip", [fold_folder])
