"""Units as processes on this machine: those that are ready, as many at once as there is room for, watched.

Any number of such executors, on any machines that see the workspace, work through one graph together: what is to do is
read from the folder, again and again, and a unit that somebody else is at is left to them. So one class is both
``--executor local`` and ``autofuse worker``.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from autofuse.foundation.console import progress, say
from autofuse.foundation.errors import ResourceError
from autofuse.foundation.workers import status_name
from autofuse.units.executor import Job, Outcome
from autofuse.units.ledger import UnitState
from autofuse.units.shape import Unit
from autofuse.units.slots import Slot, Slots

POLL_S = 1.0
"""Between two looks at the folder; longer where a look takes long."""
LOOK_SHARE = 0.05
"""Of the time, that looking at the folder takes at most."""
TRIES = 3
"""Of a unit whose process ended without saying why (killed, or stopped from outside)."""
GRACE_S = 300.0
"""For units to save their state when everything is stopped; then they are killed."""
PATIENCE_S = 24 * 3600.0
_SOON_S = 0.1
_LAST_WORDS_BYTES = 2000


@dataclass(frozen=True)
class Local:
    """The executor.

    Attributes:
        jobs: units at once; None for one a GPU, or one.
        share: take only units of the n-th (from 1) of so many shares; None for any.
        patience_s: for units of others, while nobody is at work on them.
        together: others take units of the same graph at the same time; each begins somewhere else, so that they do
            not all try the same unit first.
    """

    jobs: int | None = None
    share: tuple[int, int] | None = None
    patience_s: float = PATIENCE_S
    together: bool = False

    def run(self, job: Job) -> Outcome:
        """What became of the units; returns when none of this executor's can be done any more.

        Raises:
            ResourceError: if others are waited for in vain.
        """
        mine = job.graph.units if self.share is None else job.graph.share(*self.share)
        on_gpus = any(unit.needs.gpus for unit in mine)
        first = random.SystemRandom().random() if self.together else 0.0
        return _Loop(job, Slots.of_machine(self.jobs, on_gpus), mine, self.patience_s, first).run()


@dataclass
class _Running:
    unit: Unit
    process: subprocess.Popen[bytes]
    since: float


@dataclass
class _Loop:
    job: Job
    slots: Slots
    mine: Sequence[Unit]
    patience_s: float
    first: float
    running: dict[str, _Running] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=dict)
    told: str = ""
    stamp: tuple[int, int] = (0, 0)
    quiet_since: float = field(default_factory=time.monotonic)

    def run(self) -> Outcome:
        try:
            with progress("units", len(self.mine)) as advance:
                counted = 0
                while True:
                    self._require_same_graph()
                    looked = time.monotonic()
                    states = self.job.ledger.states(self.job.graph)
                    pause_s = max(POLL_S, (time.monotonic() - looked) / LOOK_SHARE)
                    done = sum(states[unit.name].state == "done" for unit in self.mine)
                    if done != counted:
                        advance(done - counted)
                        counted = done
                    if self._is_over(states):
                        return self._outcome(states)
                    self._start(states)
                    self._wait_for_others(states)
                    self._pause(pause_s)
        finally:
            self._stop()

    def _require_same_graph(self) -> None:
        """Nothing, while what there is to do has not changed.

        Raises:
            ResourceError: if another order has taken its place.
        """
        path = self.job.ledger.graph_file
        found = path.stat()
        stamp = (found.st_ino, found.st_mtime_ns)
        if stamp == self.stamp:
            return
        self.stamp = stamp
        if self.job.ledger.graph() != self.job.graph:
            raise ResourceError(
                "Other units have taken the place of these.",
                file=path,
                found="another order than the one that was begun",
                remedy="Give the command again with the options that are meant; what is done and still fits is kept.",
            )

    def _is_over(self, states: Mapping[str, UnitState]) -> bool:
        """Whether nothing of ours is under way, and all that is left stands on something that failed."""
        failed = [name for name, state in states.items() if state.state == "failed"]
        hopeless = {*failed, *self.job.graph.standing_on(failed)}
        left = [unit.name for unit in self.mine if states[unit.name].state != "done"]
        return not self.running and all(name in hopeless and states[name].claim is None for name in left)

    def _outcome(self, states: Mapping[str, UnitState]) -> Outcome:
        return Outcome(
            done=tuple(name for name, state in states.items() if state.state == "done"),
            failed={name: state.failed for name, state in states.items() if state.failed is not None},
            left=tuple(name for name, state in states.items() if state.state not in ("done", "failed")),
        )

    def _start(self, states: Mapping[str, UnitState]) -> None:
        ready = [item for item in self.mine if states[item.name].state == "ready" and item.name not in self.running]
        begin = int(self.first * len(ready))
        for unit in ready[begin:] + ready[:begin]:
            needs = self.job.needs(unit)
            if needs is None:
                self._pass_over(unit)
                continue
            slot = self.slots.take(unit.name, needs)
            if slot is None:
                return
            self._begin(unit, slot)

    def _pass_over(self, unit: Unit) -> None:
        """Write down a unit as done that has nothing to do; somebody else may do so at the same time, alike."""
        ledger = self.job.ledger
        stood_on = ledger.left_before(self.job.graph, unit)
        if stood_on is not None:
            ledger.finish(unit, stood_on, [], 0.0)
            say(f"{unit.name}: nothing to do.")

    def _begin(self, unit: Unit, slot: Slot) -> None:
        log = self.job.ledger.log_file(unit.name)
        self.tries[unit.name] = self.tries.get(unit.name, 0) + 1
        with _opened_log(log) as stream:
            process = subprocess.Popen(
                [*self.job.command(unit), "--parent", str(os.getpid())],
                env=slot.environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                # Ctrl-C reaches this process alone, which then stops the units, each once.
                start_new_session=True,
            )
        if slot.processors:
            with suppress(OSError):  # it has ended already
                os.sched_setaffinity(process.pid, slot.processors)
        self.running[unit.name] = _Running(unit, process, time.monotonic())
        self.quiet_since = time.monotonic()
        where = f" on GPU {','.join(slot.gpus)}" if slot.gpus else ""
        say(f"{unit.name}: started{where}.")

    def _pause(self, pause_s: float) -> None:
        """Wait until a process of ours has ended, at most so long."""
        until = time.monotonic() + pause_s
        while time.monotonic() < until:
            ended = [item for item in self.running.values() if item.process.poll() is not None]
            for item in ended:
                self._end(item)
            if ended:
                return
            time.sleep(_SOON_S)

    def _end(self, item: _Running) -> None:
        """Take note of a process that has ended; the folder says how, or else its exit status."""
        name, status = item.unit.name, item.process.returncode
        del self.running[name]
        self.slots.give_back(name)
        self.quiet_since = time.monotonic()
        took_s = time.monotonic() - item.since
        state = self.job.ledger.states(self.job.graph)[name]
        if state.state == "done":
            say(f"{name}: done in {took_s:.0f} s.")
        elif state.failed is not None:
            say(f"{name}: failed: {state.failed.problem.splitlines()[0]}")
        elif state.claim is not None:
            self.tries[name] -= 1  # somebody else was faster
        elif self.tries[name] < TRIES:
            say(f"{name}: its process ended with {status_name(status)}; it is tried again.")
        else:
            self._give_up(item.unit, status)

    def _give_up(self, unit: Unit, status: int) -> None:
        error = ResourceError(
            f"The process of this unit ended {TRIES} times without saying why, at last with {status_name(status)}.",
            file=self.job.ledger.log_file(unit.name),
            found=self._last_words(unit),
            remedy="If memory ran out, plan for less with --memory, or use fewer --jobs and --workers.",
        )
        say(f"{unit.name}: failed: {error.problem}")
        self.job.ledger.fail(unit, error.exit_code, str(error))

    def _last_words(self, unit: Unit) -> str:
        try:
            content = self.job.ledger.log_file(unit.name).read_bytes()[-_LAST_WORDS_BYTES:]
        except OSError:
            return ""
        return "\n    ".join(content.decode(errors="replace").splitlines()[-5:])

    def _wait_for_others(self, states: Mapping[str, UnitState]) -> None:
        """Say for whom is waited, while nothing of ours can be done.

        Raises:
            ResourceError: if nobody has been at work for too long.
        """
        if self.running:
            return
        busy = [state for state in states.values() if state.claim is not None]
        if busy:
            self.quiet_since = time.monotonic()
            claim = busy[0].claim
            self._tell(f"Waiting for {busy[0].unit.name} ({'' if claim is None else claim.place.in_words()}).")
            return
        ready = [name for name, state in states.items() if state.state == "ready"]
        self._tell(f"Waiting for somebody to take {', '.join(ready[:3])}.")
        if time.monotonic() - self.quiet_since > self.patience_s:
            raise ResourceError(
                "Nobody takes the units that this share stands on.",
                file=self.job.ledger.units,
                found=f"nobody at work for {self.patience_s / 60:.0f} minutes; ready: {', '.join(ready[:5])}",
                remedy="Start the other shares, or this worker without --shard.",
            )

    def _tell(self, text: str) -> None:
        if text != self.told:
            self.told = text
            say(text)

    def _stop(self) -> None:
        """Stop what still runs: politely, so that it saves its state, then for good."""
        for item in self.running.values():
            item.process.terminate()
        if self.running:
            say(f"Stopping {', '.join(self.running)}; their state is saved.")
        until = time.monotonic() + GRACE_S
        try:
            for item in self.running.values():
                with suppress(subprocess.TimeoutExpired):
                    item.process.wait(timeout=max(_SOON_S, until - time.monotonic()))
        finally:
            for item in self.running.values():
                item.process.kill()
                item.process.wait()


def _opened_log(path: Path) -> IO[bytes]:
    """The log to append to.

    Raises:
        ResourceError: if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("ab")
    except OSError as error:
        raise ResourceError("The log of a unit cannot be written.", file=path, found=str(error)) from error
    stream.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
    stream.flush()
    return stream
