"""What SLURM says of jobs: asked with squeue, which every SLURM has, for all of the user's jobs at once."""

from __future__ import annotations

import getpass
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from autofuse.foundation.errors import ResourceError, UsageError

_FORMAT = "%F|%K|%T|%N|%r|%o"
"""Array, number, state, nodes, reason, script."""
_ANSWER_S = 60.0
WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"})
RUNNING = frozenset(
    {"RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "STAGE_OUT", "SIGNALING"}
)
_NO_REASON = frozenset({"None", ""})


@dataclass(frozen=True)
class Element:
    """One job of an array, as SLURM sees it.

    Attributes:
        job: as SLURM's commands call it.
        state: PENDING, RUNNING, FAILED and the like.
        node: where it runs or ran; "" before.
        reason: why it waits, or why it ended.
        script: that was submitted.
    """

    job: str
    state: str
    node: str = ""
    reason: str = ""
    script: str = ""

    @property
    def array(self) -> str:
        """The job of the whole array."""
        return self.job.partition("_")[0]

    @property
    def lives(self) -> bool:
        """Whether it will run, or runs."""
        return self.state in WAITING | RUNNING

    def in_words(self) -> str:
        """For people: state, place, reason."""
        where = f" on {self.node}" if self.node and self.state in RUNNING else ""
        why = "" if self.reason in _NO_REASON else f" ({self.reason})"
        return f"job {self.job} {self.state.lower().replace('_', ' ')}{where}{why}"


def require_slurm() -> None:
    """Nothing, if SLURM's commands are here.

    Raises:
        UsageError: if they are not.
    """
    missing = [name for name in ("sbatch", "squeue", "scancel") if shutil.which(name) is None]
    if missing:
        raise UsageError(
            "SLURM is not to be found on this machine.",
            found=f"no {', '.join(missing)} in the PATH",
            remedy="Give the command on a login node of the cluster, write the scripts with --dry-run and submit them "
            "there, or use --executor local.",
        )


def asked(command: Sequence[str], timeout_s: float = _ANSWER_S) -> str:
    """What one of SLURM's commands answers on stdout.

    Raises:
        ResourceError: if it fails or does not answer.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _no_answer(command, str(error)) from None
    if done.returncode != 0:
        raise _no_answer(command, done.stderr.strip()[-500:])
    return done.stdout


def _no_answer(command: Sequence[str], found: str) -> ResourceError:
    return ResourceError(
        f"SLURM's {command[0]} did not do what was asked.",
        found=found,
        remedy="Jobs that were submitted go on; ask the cluster's people, then give the same command again.",
    )


def queue(timeout_s: float = _ANSWER_S) -> dict[tuple[str, int], Element]:
    """The user's jobs of arrays that SLURM still knows, ended ones too, by (job of the array, number).

    Raises:
        ResourceError: if SLURM does not answer.
    """
    command = ["squeue", "--noheader", "--array", "--states=all", f"--user={getpass.getuser()}", f"--format={_FORMAT}"]
    return parse_queue(asked(command, timeout_s))


def parse_queue(text: str) -> dict[tuple[str, int], Element]:
    """squeue's answer as elements."""
    found = {}
    for line in text.splitlines():
        parts = line.strip().split("|", 5)
        if len(parts) == 6 and parts[1].isdecimal():
            array, number, *rest = parts
            found[array, int(number)] = Element(f"{array}_{number}", *rest)
    return found


def most_elements(default: int) -> int:
    """How many elements an array may have here, at most ``default``."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", asked(["scontrol", "show", "config"]), re.MULTILINE)
    # The limit is the first number that an element may not have.
    return default if found is None else max(1, min(default, int(found.group(1)) - 1))
