"""Where everything made for a data set stands: one folder, relative paths inside, nothing written elsewhere.

<root>/<data set>/
    fingerprint.json   fingerprint_cases/<case>.json   fingerprint_trials/<case>.json
    budget.json        plan.json        splits.json        pilot.json
    prepared/<configuration>-<hash>/<case>/
    runs/<configuration>-<trainer>-<hash>/fold_<k>/        runs/pilot/<the same>        runs/teachers/<the same>
    ensemble.json      predictions/<run>/   scores/
    report/   log.txt
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

DEFAULT_ROOT = "autofuse_workspace"


@dataclass(frozen=True)
class Workspace:
    """Paths of what autofuse makes for one data set. Building it touches no file.

    Attributes:
        runs_folder: where training runs are; a pilot's are apart, so that nobody takes them for the real ones.
    """

    root: Path
    dataset: str
    runs_folder: str = "runs"

    @property
    def folder(self) -> Path:
        """Everything of this data set."""
        return self.root / self.dataset

    @property
    def fingerprint(self) -> Path:
        """What was measured."""
        return self.folder / "fingerprint.json"

    @property
    def fingerprint_cases(self) -> Path:
        """What was measured on each case; lets an interrupted fingerprint go on."""
        return self.folder / "fingerprint_cases"

    @property
    def fingerprint_trials(self) -> Path:
        """What registering a few cases brought."""
        return self.folder / "fingerprint_trials"

    @property
    def budget(self) -> Path:
        """The dials and the measured speed of the machine that the plan was made for."""
        return self.folder / "budget.json"

    @property
    def plan(self) -> Path:
        """What was decided, and why."""
        return self.folder / "plan.json"

    @property
    def splits(self) -> Path:
        """Which cases train and which are held out, per fold."""
        return self.folder / "splits.json"

    def prepared(self, configuration: str, digest: str) -> Path:
        """Prepared cases of one configuration; ``digest`` names what preprocessing depends on."""
        return self.folder / "prepared" / f"{configuration}-{digest[:8]}"

    def run(self, name: str, fold: int) -> Path:
        """One training run of one fold; ``name`` is the run's ``<configuration>-<trainer>-<hash>``."""
        return self.runs / name / f"fold_{fold}"

    @property
    def runs(self) -> Path:
        """All training runs, by name."""
        return self.folder / self.runs_folder

    @property
    def pilot(self) -> Path:
        """How the plan's default and its challengers did when they were tried briefly."""
        return self.folder / "pilot.json"

    @property
    def ensemble(self) -> Path:
        """What was chosen from the runs, and the evidence."""
        return self.folder / "ensemble.json"

    def predictions(self, name: str) -> Path:
        """Masks predicted for the test cases by the run, or the ensemble, ``name``."""
        return self.folder / "predictions" / name

    @property
    def scores(self) -> Path:
        """Tables of scores."""
        return self.folder / "scores"

    @property
    def report(self) -> Path:
        """Pictures for people."""
        return self.folder / "report"


def workspace_root(option: str | Path | None) -> Path:
    """The folder that holds all workspaces: the option, nnU-Net's results folder as a fall-back, or the default."""
    if option is not None:
        return Path(option)
    legacy = os.environ.get("nnUNet_results")  # noqa: SIM112
    return Path(legacy) / "autofuse" if legacy else Path(DEFAULT_ROOT)
