"""What a run leaves for people and programs: log.jsonl, progress.png, TensorBoard events, a live bar or lines.

All of it is drawn from the history that the checkpoint holds, so after an interruption it is set back to the checkpoint
and then goes on as if nothing had happened. A journal that cannot be drawn (a full disk) never stops training; only
log.jsonl must be written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autofuse.foundation.console import Advance, console, log, progress, reached, say
from autofuse.foundation.errors import ResourceError
from autofuse.foundation.files import write_bytes
from autofuse.training.picture import draw_progress
from autofuse.training.state import EpochRecord

LOG_NAME, PICTURE_NAME, EVENTS_NAME = "log.jsonl", "progress.png", "tensorboard"
PICTURE_EVERY_S = 60.0
MOST_LOG_BYTES = 64 << 20
"""An epoch takes about a kilobyte."""


class Journal:
    """The journal of one run in ``folder``, set back to ``history``; ``budget_s`` is the time of a timed run."""

    def __init__(self, folder: Path, title: str, history: Sequence[EpochRecord], budget_s: float | None = None) -> None:
        self.folder = folder
        self.title = title
        self.budget_s = budget_s
        self._drawn = 0.0
        self._events: Any = None
        self._events_wanted = True
        restore_log(folder / LOG_NAME, history)

    def add(self, record: EpochRecord, history: Sequence[EpochRecord], *, last: bool) -> None:
        """Write one more epoch; ``history`` includes it."""
        append_line(self.folder / LOG_NAME, record.model_dump_json())
        reached("train", record.step, record.steps)
        for remark in record.remarks:
            say(f"{self.title}, step {record.step}: {remark}")
        line = epoch_line(record, self.budget_s)
        if console().is_terminal:  # where the bar shows the same
            log().info("%s: %s", self.title, line)
        else:
            say(line)
        self._add_events(record)
        if last or time.monotonic() - self._drawn > PICTURE_EVERY_S:
            self.draw(history)

    def draw(self, history: Sequence[EpochRecord]) -> None:
        """Write progress.png."""
        try:
            write_bytes(self.folder / PICTURE_NAME, draw_progress(history, self.title))
        except (ResourceError, ImportError) as error:
            log().warning("progress.png was not drawn: %s", error)
        self._drawn = time.monotonic()

    def close(self) -> None:
        """Let go of the event file."""
        if self._events is not None:
            self._harmlessly(self._events.close)

    def _add_events(self, record: EpochRecord) -> None:
        if self._events is None and self._events_wanted:
            self._events_wanted = False
            self._harmlessly(lambda: self._open_events(record.step))
        if self._events is not None:
            self._harmlessly(lambda: self._write_events(record))

    def _open_events(self, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # purge_step hides what a killed process wrote beyond the checkpoint that this one began from.
        self._events = SummaryWriter(str(self.folder / EVENTS_NAME), purge_step=step)

    def _write_events(self, record: EpochRecord) -> None:
        values = {
            "loss": record.loss,
            "learning_rate": record.learning_rate,
            "gradient_norm": record.gradient_norm,
            "dice/mean": record.dice,
            "dice/smooth": record.dice_smooth,
            "seconds_per_step": record.step_s,
            **{f"terms/{name}": value for name, value in record.terms.items()},
            **{f"dice/{name}": value for name, value in record.dice_per_class.items()},
            **{f"watched/{name}": value for name, value in record.watched.items()},
        }
        for name, value in values.items():
            if value is not None:
                self._events.add_scalar(name, value, record.step)
        self._events.flush()

    def _harmlessly(self, action: Any) -> None:
        try:
            action()
        except ImportError:
            log().info("TensorBoard is not installed; no events are written.")
        except Exception as error:  # a broken event file must not cost the training
            log().warning("TensorBoard events are no longer written: %s", error)
            self._events = None


def restore_log(path: Path, history: Sequence[EpochRecord]) -> None:
    """Make ``path`` hold exactly ``history``; lines beyond it were written by a process that was killed."""
    content = "".join(record.model_dump_json() + "\n" for record in history).encode()
    if not path.exists() or path.read_bytes() != content:
        write_bytes(path, content)


def read_log(path: Path) -> tuple[tuple[EpochRecord, ...], int]:
    """Epochs that log.jsonl holds, in order, and how many lines cannot be read; nothing of a file that is absent.

    A line that is cut or damaged costs that epoch only; an epoch that comes twice counts as it stands last. Of a file
    beyond ``MOST_LOG_BYTES`` the rest is not read.
    """
    try:
        with path.open("rb") as stream:
            lines = stream.read(MOST_LOG_BYTES).splitlines()
    except OSError:
        return (), 0
    found: dict[int, EpochRecord] = {}
    lost = 0
    for line in lines:
        try:
            record = EpochRecord.model_validate_json(line)
        except ValueError:
            lost += 1
            continue
        found[record.epoch] = record
    return tuple(found[epoch] for epoch in sorted(found)), lost


def append_line(path: Path, line: str) -> None:
    """Add ``line`` to the file.

    Raises:
        ResourceError: if it cannot be written.
    """
    try:
        with path.open("ab") as stream:
            stream.write(line.encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise ResourceError(
            "A line could not be added to the log.",
            file=path,
            found=str(error),
            remedy="Check the free space, then run the same command again; it goes on from the checkpoint.",
        ) from error


def epoch_line(record: EpochRecord, budget_s: float | None = None) -> str:
    """One epoch in one line for a person."""
    parts = [f"epoch {record.epoch}", f"step {record.step} of {record.steps}"]
    parts.append("loss not finite" if record.loss is None else f"loss {record.loss:.4f}")
    if record.dice is not None:
        parts.append(f"Dice {record.dice:.4f}")
    parts.append(f"{record.step_s:.3g} s a step")
    ahead_s = max(0, record.steps - record.step) * record.elapsed_s / max(1, record.step)
    if budget_s is not None:
        ahead_s = max(0.0, budget_s - record.elapsed_s)
    parts.append(f"about {duration(ahead_s)} left" if record.step < record.steps else "done")
    if record.skipped_steps:
        names = sorted({case for step in record.skipped for case in step.cases})
        parts.append(f"{record.skipped_steps} steps skipped, not finite: {', '.join(names[:6])}")
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """ "1 h 05 min", "3 min 20 s" or "12 s"."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


@contextmanager
def live_bar(label: str, total: float) -> Iterator[Advance]:
    """A bar on a terminal; nothing elsewhere, where each epoch says a line of its own."""
    if console().is_terminal:
        with progress(label, total) as advance:
            yield advance
    else:
        yield lambda n=1, note="": None
