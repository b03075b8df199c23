"""A model that was never trained, as a run folder and as a bundle, made once; and what a refused bundle must do."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from made_models import Refused, pack_model, write_fold

from autofuse.cli.main import main
from autofuse.testing import example_task

SECONDS = 10.0


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Import a bundle; it must be refused with words, in time, with nothing left behind."""

    def attempt(bundle: Path, words: str) -> str:
        workspace = tmp_path / "a" / "workspace"
        before, started = sorted(tmp_path.rglob("*")), time.monotonic()
        code = main(["import", str(bundle), "--workspace", str(workspace)])
        told = capsys.readouterr().err
        assert code == 4, told
        assert words in told and "Traceback" not in told
        assert time.monotonic() - started < SECONDS
        assert sorted(tmp_path.rglob("*")) == before
        return told

    return attempt


@pytest.fixture(scope="session")
def fold_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished fold."""
    return write_fold(tmp_path_factory.mktemp("run") / "example-supervised-00000000" / "fold_0", example_task())


@pytest.fixture(scope="session")
def good_bundle(tmp_path_factory: pytest.TempPathFactory, fold_folder: Path) -> Path:
    """A bundle of that fold."""
    return pack_model(tmp_path_factory.mktemp("bundle") / "good.autofuse.zip", [fold_folder])
