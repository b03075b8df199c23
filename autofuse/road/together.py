"""One training by several processes of this machine: started, watched, stopped and ended together.

The command itself does all that comes before and after; only the loop runs in the processes ("ranks"), each on a GPU of
its own, or side by side on the CPU. The first one talks and writes, and what the others have to say goes to the log.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING

from autofuse.foundation import console
from autofuse.foundation.errors import AutofuseError, ResourceError, UsageError
from autofuse.foundation.seat import Seat, started_seat
from autofuse.foundation.workers import status_name, talk_descriptor

if TYPE_CHECKING:
    from autofuse.foundation.machine import Precision
    from autofuse.training.signals import Stopping

GRACE_S = 60.0
"""How long the others may take to end by themselves after one has failed."""
_POLL_S = 1.0


@dataclass(frozen=True)
class Share:
    """What one process is told.

    Attributes:
        folder: of the run, with run.json and plan.json; store: of its prepared cases.
        device: "cpu" or "cuda"; the seat says which.
        precision: of validation; None for the plan's.
    """

    seat: Seat
    folder: Path
    store: Path
    device: str
    precision: Precision | None
    quiet: bool


def require_gpus(device: str, gpus: int) -> None:
    """Nothing, if this machine has as many GPUs; the CPU, where it is asked for by name, any number of processes share.

    Raises:
        UsageError: if it has not, or processes are asked for twice.
    """
    if gpus == 1:
        return
    if started_seat() is not None:
        raise UsageError(
            "Processes are asked for twice: a launcher has started several, and each is to start more.",
            found=f"--gpus {gpus}, in a process with RANK and WORLD_SIZE set",
            remedy="Leave out --gpus under torchrun, or start the command without it.",
        )
    if device != "cpu":
        import torch

        if torch.cuda.device_count() < gpus:
            raise UsageError(
                "There are not as many GPUs here.",
                found=f"{torch.cuda.device_count()} GPUs",
                expected=f"{gpus}, as --gpus says",
                remedy="Give a smaller --gpus (CUDA_VISIBLE_DEVICES may hide some), or --device cpu to share the CPU.",
            )


@contextmanager
def among_others(device: str) -> Iterator[None]:
    """A block in which this process trains together with those that torchrun started; alone, if it did not."""
    seat = started_seat()
    if seat is None:
        yield
        return
    from autofuse.sampling.ranks import seated

    with seated(seat, device):
        yield


def train_together(count: int, folder: Path, store: Path, device: str, precision: Precision | None) -> None:
    """Train the run that is settled in ``folder`` by ``count`` processes, until it is finished.

    A signal is passed on to all of them once, so that they save and stop; a second one ends them. Where one fails or is
    killed, the others end too.

    Raises:
        Interrupted: after SIGINT or SIGTERM; the state is saved.
        ResourceError: a process was killed.
        AutofuseError: what one of them met.
    """
    from autofuse.training.signals import caught_signals

    with tempfile.TemporaryDirectory(prefix="autofuse-") as place, caught_signals() as stopping:
        ranks: list[_Rank] = []
        try:
            for number in range(count):
                seat = Seat(number, count, number, Path(place) / "meeting")
                ranks.append(_Rank(Share(seat, folder, store, device, precision, console.is_quiet())))
            _watch(ranks, stopping)
        finally:
            for rank in ranks:
                rank.end()
    _raise_what_was_met(ranks, stopping, folder)


class _Rank:
    """One process, and what has become of it."""

    def __init__(self, share: Share) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "autofuse.road.rank_process", str(theirs.fileno()), str(os.getpid())]
        # All are on this machine: they talk over the loopback, whatever its name resolves to.
        environment = {"GLOO_SOCKET_IFNAME": "lo", **os.environ} if sys.platform.startswith("linux") else None
        talk = talk_descriptor()
        self.process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=talk,
            stderr=talk,
            start_new_session=True,  # Ctrl-C reaches the command alone, which passes it on once
        )
        theirs.close()
        self.seat = share.seat
        self.connection = Connection(ours.detach())
        self.at_work = True
        self.error: BaseException | None = None
        with suppress(OSError):  # it died at once; receive() says so
            self.connection.send(list(sys.path))
            self.connection.send(share)

    def receive(self) -> None:
        """Take one message: a line for the log, or how it ended."""
        try:
            kind, content = self.connection.recv()
        except (EOFError, OSError):
            self.at_work, self.error = False, self._lost()
            return
        except Exception as error:  # it cannot be put together again here; the log has its traceback
            self.at_work, self.error = False, RuntimeError(f"a process failed, and its error is unreadable: {error}")
            return
        if kind == "log":
            console.log().log(*content)
        else:
            self.at_work, self.error = False, content

    def pass_on(self, number: int) -> None:
        """Send it the signal that reached this process."""
        if self.at_work:
            self.process.send_signal(number)

    def end(self) -> None:
        """Let it leave, and kill it if it does not; nothing is left behind."""
        self.connection.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=0.0 if self.at_work else 10.0)
        self.process.kill()
        self.process.wait()

    def _lost(self) -> AutofuseError:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=5)
        status = self.process.poll()
        how = "without a word" if status is None else f"with {status_name(status)}"
        return ResourceError(
            f"Process {self.seat.rank + 1} of {self.seat.count} that train together ended {how}.",
            remedy="If memory ran out, plan with less (autofuse plan --memory) or use fewer --gpus. The same command "
            "goes on from the last checkpoint.",
        )


def _watch(ranks: Sequence[_Rank], stopping: Stopping) -> None:
    """Nothing, once all have ended, or have had time to after one failed."""
    passed_on, deadline = False, None
    while busy := {rank.connection: rank for rank in ranks if rank.at_work}:
        for ready in wait(list(busy), timeout=_POLL_S):
            busy[ready].receive()  # type: ignore[index]
        if stopping.signal is not None and not passed_on:
            passed_on = True
            for rank in ranks:
                rank.pass_on(stopping.signal)
        # Who was told to stop may take as long as it takes to save.
        if deadline is None and any(rank.error is not None for rank in ranks) and not passed_on:
            deadline = time.monotonic() + GRACE_S
        if deadline is not None and time.monotonic() > deadline:
            return


def _raise_what_was_met(ranks: Sequence[_Rank], stopping: Stopping, folder: Path) -> None:
    from autofuse.sampling.ranks import RankLost
    from autofuse.training.signals import Interrupted, Terminated

    errors = [rank.error for rank in ranks if rank.error is not None]
    stopped = [error for error in errors if isinstance(error, Interrupted)]
    reasons = [error for error in errors if not isinstance(error, RankLost)]
    if stopped:
        raise stopped[0]
    if errors and stopping.signal is not None:
        raise (Terminated if stopping.signal == signal.SIGTERM else Interrupted)(
            "Training was stopped before it could save once more.",
            file=folder,
            remedy="Run the same command again to go on from the last checkpoint.",
        )
    if errors:
        raise (reasons or errors)[0]


def take_part(share: Share) -> None:
    """One process's part of a training, to its end.

    Raises:
        AutofuseError: whatever training meets.
    """
    from autofuse.inference.validate import make_validator
    from autofuse.preprocessing.store import Store
    from autofuse.sampling.ranks import seated
    from autofuse.training.loop import fit
    from autofuse.training.model import RUN_NAME, load_task
    from autofuse.training.run import RunPlan, make_trainer

    run, store = RunPlan.load(share.folder / RUN_NAME), Store(share.store)
    task, trainer = load_task(share.folder, run), make_trainer(run.trainer, run.fields)
    validate = None
    if run.held_out:
        validate = make_validator(store, run.held_out, task, precision=share.precision, prior_run=run.prior_key)
    with seated(share.seat, share.device) as device:
        fit(task, trainer, store, run, share.folder, device=device, validate=validate)
