"""Units as jobs of a SLURM cluster: submitted in arrays, followed until they have ended, or left to themselves."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from autofuse.foundation.console import Advance, progress, say
from autofuse.foundation.errors import ResourceError
from autofuse.foundation.locks import lock
from autofuse.units.executor import Job, Outcome
from autofuse.units.ledger import Failed, Ledger, UnitState
from autofuse.units.shape import Unit
from autofuse.units.slurm.arrays import MOST_ELEMENTS, arrays_of
from autofuse.units.slurm.queue import Element, most_elements, queue, require_slurm
from autofuse.units.slurm.settings import Settings
from autofuse.units.slurm.submission import FOLDER, Submission, elements, submissions, write_submission

_FIRST_LOOK_S, _LOOK_EVERY_S = 2.0, 15.0
SILENCE_S = 1800.0
"""How long SLURM may give no answer before waiting for it ends; the jobs go on."""
SETTLE_S = 30.0
"""How long what a job has left may take to be seen through a network file system."""
_LOCK_WAIT_S = 300.0
_REMARKS_S = 10.0

_WHY = {
    "CANCELLED": "The job was cancelled.",
    "PREEMPTED": "The job was pre-empted and not queued again.",
    "TIMEOUT": "The time of the job was over: --slurm {kind}.time=HOURS:MINUTES:SECONDS asks for more.",
    "OUT_OF_MEMORY": "The job took more memory than it had asked for: --slurm {kind}.mem=AMOUNT asks for more.",
    "NODE_FAIL": "The node failed.",
    "BOOT_FAIL": "The node did not start.",
    "DEADLINE": "The job's deadline was over.",
}
_OTHER = "The job ended without a word of autofuse's own."


@dataclass(frozen=True)
class Slurm:
    """An executor that hands the units of a job to SLURM.

    Attributes:
        settings: what is asked of SLURM.
        wait: follow the jobs until they have ended; otherwise come back when they are submitted.
        again: kinds of units that are done once more where they are done. What was made from what they had left is not
            done again with them: if they leave something else now, the next run finds that it does not fit.
    """

    settings: Settings = field(default_factory=Settings)
    wait: bool = True
    again: tuple[str, ...] = ()
    look_every_s: float = _LOOK_EVERY_S
    settle_s: float = SETTLE_S

    def run(self, job: Job) -> Outcome:
        """What became of the units; units that are in SLURM's queue already are not submitted again.

        Raises:
            UsageError: if SLURM is not here.
            ResourceError: if it refuses the jobs, or does not answer any more.
        """
        require_slurm()
        self._submit(job)
        if not self.wait:
            say(f"`autofuse status {job.dataset}` tells how far they are; {_how_to_cancel(job)}")
            return _outcome(job, {})
        try:
            return _outcome(job, self._follow(job))
        except BaseException:
            # Whatever ends this process, Ctrl-C above all, must not leave anybody wondering about the jobs.
            say(f"The jobs go on without this command, and it finds them when it is given again; {_how_to_cancel(job)}")
            raise

    def _submit(self, job: Job) -> None:
        with lock(job.ledger.units / FOLDER, _LOCK_WAIT_S):
            queued = {name: item.job for name, item in queued_units(job.ledger).items()}
            waiting = waiting_units(job, queued, self.again)
            if queued:
                say(f"{len(queued)} units are in SLURM's queue already.")
            if not waiting:
                return
            arrays = arrays_of(job.graph, waiting, queued, most_elements(MOST_ELEMENTS), job.needs)
            for name in waiting:
                job.ledger.forgive(name)
            submission = write_submission(job, arrays, self.settings, self.again)
            jobs = submission.submit()
            say(f"{len(waiting)} units were submitted as jobs {', '.join(jobs.values())}: {submission.folder}")

    def _follow(self, job: Job) -> Mapping[str, Element]:
        """Wait until no unit has a living job; what SLURM said last of each."""
        last: dict[str, Element] = {}
        heard = ended = time.monotonic()
        alive = True
        pause_s = _FIRST_LOOK_S
        with progress("Units on SLURM", len(job.graph.units)) as advance:
            shown = _Shown(advance)
            while True:
                with suppress(ResourceError):
                    last |= (now := elements(job.ledger, queue()))
                    heard = time.monotonic()
                    alive = any(item.lives for item in now.values())
                    ended = heard if alive else ended
                states = job.ledger.states(job.graph)
                shown.update(states, last)
                open_ = [name for name, item in states.items() if item.state in ("running", "ready")]
                if not alive and (not open_ or time.monotonic() - ended > self.settle_s):
                    return last
                if time.monotonic() - heard > SILENCE_S:
                    raise ResourceError(
                        f"SLURM has not answered for {SILENCE_S / 60:.0f} minutes.",
                        remedy="Give the same command again when it is back: the jobs are found again.",
                    )
                time.sleep(pause_s)
                pause_s = min(self.look_every_s, pause_s * 1.5)


class _Shown:
    """What was told of the units."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._told: dict[str, str] = {}

    def update(self, states: Mapping[str, UnitState], last: Mapping[str, Element]) -> None:
        """Tell what has changed: the bar moves with every unit that is done, and failures are named."""
        running = sum(item.state == "RUNNING" for item in last.values())
        note = f"{running} running"
        for name, item in states.items():
            if item.state in ("done", "failed") and self._told.get(name) != item.state:
                self._told[name] = item.state
                self._advance(1 if item.state == "done" else 0, note=note)
                if item.failed is not None:
                    say(f"{name} failed: {item.failed.problem.splitlines()[0]}")


def queued_units(ledger: Ledger) -> dict[str, Element]:
    """The units that SLURM has in its queue, or carries out.

    Raises:
        ResourceError: if it does not answer.
    """
    known = elements(ledger, queue()) if submissions(ledger) else {}
    return {name: item for name, item in known.items() if item.lives}


def waiting_units(job: Job, queued: Mapping[str, str], again: Collection[str] = ()) -> list[str]:
    """Names of the units that are not in the queue, and not done or of a kind that is done ``again``."""
    return [
        name
        for name, item in job.ledger.states(job.graph).items()
        if name not in queued and (item.state != "done" or item.unit.kind in again)
    ]


def write_scripts(job: Job, settings: Settings) -> Submission:
    """The scripts that would be submitted now, in a folder of their own; SLURM need not be here."""
    queued: dict[str, str] = {}
    most = MOST_ELEMENTS
    with suppress(ResourceError):
        queued = {name: item.job for name, item in queued_units(job.ledger).items()}
        most = most_elements(MOST_ELEMENTS)
    with lock(job.ledger.units / FOLDER, _LOCK_WAIT_S):
        arrays = arrays_of(job.graph, waiting_units(job, queued), queued, most, job.needs)
        return write_submission(job, arrays, settings)


def _outcome(job: Job, last: Mapping[str, Element]) -> Outcome:
    states = job.ledger.states(job.graph)
    done = tuple(name for name, item in states.items() if item.state == "done")
    failed = {name: item.failed for name, item in states.items() if item.failed is not None}
    for name, item in states.items():
        # A unit that was killed could not say why; one whose turn never came has not failed.
        element = last.get(name)
        if item.state in ("running", "ready") and element is not None and not element.lives:
            failed[name] = _fail(job, item.unit, element)
    left = tuple(name for name in states if name not in done and name not in failed)
    return Outcome(done, failed, left)


def _fail(job: Job, unit: Unit, element: Element) -> Failed:
    why = _WHY.get(element.state, _OTHER)
    told = f"{why.format(kind=unit.kind)} SLURM: {element.in_words()}."
    return job.ledger.fail(unit, ResourceError.exit_code, told)


def _how_to_cancel(job: Job) -> str:
    jobs: list[str] = []
    with suppress(ResourceError):
        jobs = sorted({item.array for item in queued_units(job.ledger).values()}, key=int)
    return f"`scancel {' '.join(jobs)}` cancels them." if jobs else "none is in the queue."


def remarks(ledger: Ledger) -> dict[str, str]:
    """What SLURM says of each unit that it knows, in words; nothing where it is not here or does not answer at once."""
    if not submissions(ledger) or shutil.which("squeue") is None:
        return {}
    with suppress(ResourceError):
        return {name: item.in_words() for name, item in elements(ledger, queue(_REMARKS_S)).items()}
    return {}
