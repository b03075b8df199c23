"""Who is at work on a unit: a claim with a heartbeat, so that what a dead process held is taken over.

A claim is a file that holds where (host, boot, process) and since when. Its holder writes it anew every ``BEAT_S``
seconds, with how far the work is. A claim without a beat for ``STALE_S`` seconds counts as abandoned; a holder on this
machine is looked for by its process, and nobody has to wait. Clocks of machines may differ by less than that.

Two processes at one unit would do no harm beyond the time that it costs: what a unit writes is locked and atomic.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

from autofuse.foundation.console import Told, following
from autofuse.foundation.errors import ModelError, ResourceError
from autofuse.foundation.files import temp_beside
from autofuse.foundation.locks import lock
from autofuse.foundation.values import StoredValue, Value

BEAT_S = 15.0
STALE_S = 120.0
_LOCK_WAIT_S = 60.0


class Place(Value):
    """A process: on which host, since which start of it, in which space of process numbers, and when it began."""

    host: str
    boot: str
    space: int
    pid: int
    began: int

    def in_words(self) -> str:
        """For people."""
        return f"process {self.pid} on {self.host}"


class Claim(StoredValue):
    """Who is at a unit.

    Attributes:
        token: of this claim alone.
        since, beat: seconds since the epoch, when it was made and last renewed.
        label, done, total: how far the work is, where that is counted; told: what was said last.
    """

    kind: ClassVar[str] = "unit_claim"

    unit: str
    place: Place
    token: str
    since: float
    beat: float
    label: str = ""
    done: float | None = None
    total: float | None = None
    told: str = ""

    def is_alive(self, now: float | None = None) -> bool:
        """Whether its holder still works, as far as can be told from here."""
        if self.place.boot and (self.place.boot, self.place.space) == (_boot(), _space()):
            return _began(self.place.pid) == self.place.began
        return (time.time() if now is None else now) - self.beat < STALE_S


def read_claim(path: Path) -> Claim | None:
    """The claim in ``path``; None where there is none. One that is damaged is as none."""
    try:
        return Claim.load(path) if path.exists() else None
    except ModelError:
        return None


@contextmanager
def claimed(path: Path, unit: str) -> Iterator[None]:
    """Hold the claim in ``path`` for the length of the block, its heart beating.

    Raises:
        ResourceError: if another process holds it, or the folder cannot be written.
    """
    claim = _take(path, unit)
    ended = threading.Event()
    heart = threading.Thread(target=_beat, args=(path, claim, ended), name="heartbeat", daemon=True)
    try:
        heart.start()
        yield
    finally:
        ended.set()
        if heart.ident is not None:
            heart.join(timeout=BEAT_S)
        with suppress(OSError):
            found = read_claim(path)
            if found is None or found.token == claim.token:
                path.unlink(missing_ok=True)


def _take(path: Path, unit: str) -> Claim:
    now = time.time()
    claim = Claim(unit=unit, place=here(), token=os.urandom(8).hex(), since=now, beat=now)
    with lock(path.parent, _LOCK_WAIT_S):
        holder = read_claim(path)
        if holder is not None and holder.is_alive():
            raise ResourceError(
                "Another process is at work on this unit.",
                file=path,
                found=holder.place.in_words()
                + time.strftime(", since %Y-%m-%d %H:%M:%S", time.localtime(holder.since)),
                remedy="Wait until it has finished, or stop it; nothing was changed.",
            )
        claim.save(path)
    return claim


def _beat(path: Path, claim: Claim, ended: threading.Event) -> None:
    told = Told()
    with following(told):
        while not ended.wait(BEAT_S):
            with suppress(OSError, UnicodeError):
                found = read_claim(path)
                if found is not None and found.token != claim.token:
                    return  # taken over while this process was held up
                state = {"label": told.label, "done": told.done, "total": told.total, "told": told.line}
                _renew(path, claim.model_copy(update={"beat": time.time(), **state}))


def _renew(path: Path, claim: Claim) -> None:
    """Write the claim anew; atomic, but not forced onto the disk: another beat follows."""
    temp = temp_beside(path)
    try:
        temp.write_text(claim.to_json(), encoding="utf-8")
        temp.replace(path)
    finally:
        temp.unlink(missing_ok=True)


def here() -> Place:
    """This process."""
    pid = os.getpid()
    return Place(host=platform.node(), boot=_boot(), space=_space(), pid=pid, began=_began(pid) or 0)


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _space() -> int:
    """Number of the space that process numbers are from; containers have one each."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116  (a link to something that is no path)
    except OSError:
        return 0


def _began(pid: int) -> int | None:
    """When the process began, in clock ticks since the start of the machine; None where it has ended."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if words[0] in ("Z", "X") else int(words[19])
