"""A submission: its folder of scripts, which unit is which job, and what SLURM says of each."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from autofuse.foundation.errors import ModelError, ResourceError
from autofuse.foundation.files import folder_atomically
from autofuse.foundation.values import StoredValue
from autofuse.units.executor import Job
from autofuse.units.ledger import Ledger
from autofuse.units.slurm.arrays import Array
from autofuse.units.slurm.queue import Element
from autofuse.units.slurm.scripts import JOBS_FILE, SUBMIT_FILE, script, submit_script
from autofuse.units.slurm.settings import Settings

FOLDER, ARRAYS_FILE = "slurm", "arrays.json"
_SUBMIT_S = 600.0
_END = 5
"""Parts of the path of a script: data set, units, slurm, the submission, the script."""


class Submitted(StoredValue):
    """Which unit is which element of which array; ``arrays`` maps an array to its units by number (as text)."""

    kind: ClassVar[str] = "slurm_submission"

    arrays: dict[str, dict[str, str]]


@dataclass(frozen=True)
class Submission:
    """The scripts in ``folder``, submitted or not."""

    folder: Path

    @property
    def submit_file(self) -> Path:
        """What submits them."""
        return self.folder / SUBMIT_FILE

    @property
    def jobs(self) -> dict[str, str]:
        """SLURM's job by array; empty while nothing is submitted."""
        try:
            lines = (self.folder / JOBS_FILE).read_text(encoding="utf-8").splitlines()
        except OSError:
            return {}
        return {words[0]: words[1] for words in map(str.split, lines) if len(words) == 2}

    def elements(self, queue: Mapping[tuple[str, int], Element]) -> dict[str, Element]:
        """What SLURM says of the units of the arrays that are submitted, as far as it still knows them."""
        jobs = self.jobs
        try:
            arrays = Submitted.load(self.folder / ARRAYS_FILE).arrays if jobs else {}
        except ModelError:
            return {}
        own = self.folder.parts[-_END + 1 :]
        found = {}
        for name, job in jobs.items():
            for number, unit in arrays.get(name, {}).items():
                element = queue.get((job, int(number)))
                # A cluster that was set up anew counts from 1 again: the number of a job alone may be another one's.
                # Machines may see the folder under different paths, but its end is the same.
                if element is not None and Path(element.script).parts[-_END:] == (*own, f"{name}.sbatch"):
                    found[unit] = element
        return found

    def submit(self) -> dict[str, str]:
        """Submit everything; the jobs by array.

        Raises:
            ResourceError: if SLURM refuses; then nothing stays submitted.
        """
        command = ["bash", str(self.submit_file.absolute())]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SUBMIT_S, check=False)
        except subprocess.TimeoutExpired:
            raise ResourceError(
                f"SLURM did not take the jobs within {_SUBMIT_S:g} s.",
                file=self.submit_file,
                found=f"submitted by then: {', '.join(self.jobs) or 'nothing'}",
                remedy="Give the same command again: what was submitted is found, and the rest is submitted.",
            ) from None
        if done.returncode != 0:
            raise ResourceError(
                "SLURM did not accept the jobs; none was left in its queue.",
                file=self.submit_file,
                found=" ".join(done.stderr.split())[-500:],
                remedy="Change what is asked for with --slurm KEY=VALUE, such as --slurm partition=NAME.",
            )
        return self.jobs


def write_submission(job: Job, arrays: Sequence[Array], settings: Settings, again: Collection[str] = ()) -> Submission:
    """The scripts of ``arrays`` in a folder of their own below units/slurm; kinds of ``again`` are done anew."""
    folder = _new_folder(job.ledger.units / FOLDER)
    with folder_atomically(folder) as temp:
        for array in arrays:
            _write(temp / f"{array.name}.sbatch", script(job, array, settings, folder, again=array.kind in again))
        _write(temp / SUBMIT_FILE, submit_script(job, arrays))
        units = {array.name: {str(number): unit.name for number, unit in array.units.items()} for array in arrays}
        Submitted(arrays=units).save(temp / ARRAYS_FILE)
    return Submission(folder)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def _new_folder(parent: Path) -> Path:
    """A name that says when, and sorts so."""
    stem = time.strftime("%Y%m%d-%H%M%S")
    names = (stem, *(f"{stem}-{number}" for number in range(2, 1000)))
    return next(parent / name for name in names if not (parent / name).exists())


def submissions(ledger: Ledger) -> list[Submission]:
    """Those of a workspace that were submitted, the newest last."""
    folders = sorted((ledger.units / FOLDER).glob(f"*/{JOBS_FILE}"))
    return [Submission(path.parent) for path in folders]


def elements(ledger: Ledger, queue: Mapping[tuple[str, int], Element]) -> dict[str, Element]:
    """What SLURM says of each unit that was submitted and that it still knows; the newest submission counts."""
    found: dict[str, Element] = {}
    for submission in submissions(ledger):
        for unit, element in submission.elements(queue).items():
            if unit not in found or not found[unit].lives:
                found[unit] = element
    return found
