"""What people see: progress and messages on stderr, results on stdout, logs in a file. Programs ask for ``--json``."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console

_LINE_EVERY_S = 30.0


class Advance(Protocol):
    """Called when work is done: ``n`` more items, and a short note to show."""

    def __call__(self, n: float = 1, note: str = "") -> None: ...


@dataclass
class Told:
    """How far the work of this process is, for whoever follows it.

    Attributes:
        label, done, total: of what is counted just now.
        line: what was said last.
    """

    label: str = ""
    done: float | None = None
    total: float | None = None
    line: str = ""


class _Settings:
    """How this process talks; set once by the command line."""

    quiet = False
    stderr: Console | None = None
    stdout: Console | None = None
    followers: tuple[Told, ...] = ()


_settings = _Settings()


def configure(*, quiet: bool = False) -> None:
    """Be silent on stderr except for errors (``--quiet``, ``--json``), or talk."""
    _settings.quiet = quiet


def is_quiet() -> bool:
    """Whether it is silent."""
    return _settings.quiet


def console() -> Console:
    """The console for people, on stderr."""
    if _settings.stderr is None:
        from rich.console import Console

        _settings.stderr = Console(stderr=True, highlight=False)
    return _settings.stderr


def out() -> Console:
    """The console for results, on stdout; wide enough for a table where stdout is a file."""
    if _settings.stdout is None:
        from rich.console import Console

        probe = Console(highlight=False)
        _settings.stdout = probe if probe.is_terminal else Console(highlight=False, width=120)
    return _settings.stdout


def log() -> logging.Logger:
    """The logger of autofuse; the command line attaches a file."""
    return logging.getLogger("autofuse")


def say(text: str) -> None:
    """One line for a person, on stderr and in the log."""
    log().info(text)
    for told in _settings.followers:
        told.line = text
    if not _settings.quiet:
        from rich.markup import escape

        console().print(escape(text), soft_wrap=True)


@contextmanager
def following(told: Told) -> Iterator[None]:
    """Have ``told`` say, for the length of the block, how far the work of this process is."""
    _settings.followers = (*_settings.followers, told)
    try:
        yield
    finally:
        _settings.followers = tuple(item for item in _settings.followers if item is not told)


def reached(label: str, done: float, total: float) -> None:
    """Let those who follow know how far the work is; nothing is shown."""
    for told in _settings.followers:
        told.label, told.done, told.total = label, done, total


@contextmanager
def progress(label: str, total: float) -> Iterator[Advance]:
    """A live bar with time left on a terminal; elsewhere a line every half minute and one at the end."""
    done = 0.0
    reached(label, done, total)
    with _shown(label, total) as show:

        def advance(n: float = 1, note: str = "") -> None:
            nonlocal done
            done += n
            reached(label, done, total)
            show(n, note)

        yield advance


@contextmanager
def _shown(label: str, total: float) -> Iterator[Advance]:
    if _settings.quiet:
        yield lambda n=1, note="": None
    elif console().is_terminal:
        with _bar(label, total) as advance:
            yield advance
    else:
        yield from _lines(label, total)


@contextmanager
def _bar(label: str, total: float) -> Iterator[Callable[..., None]]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console()) as bar:
        task = bar.add_task(label, total=total, note="")

        def advance(n: float = 1, note: str = "") -> None:
            bar.update(task, advance=n, note=note)

        yield advance


def _lines(label: str, total: float) -> Iterator[Callable[..., None]]:
    started = last = time.monotonic()
    done = 0.0

    def advance(n: float = 1, note: str = "") -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if done >= total or now - last >= _LINE_EVERY_S:
            last = now
            say(f"{label}: {done:g} of {total:g}, {now - started:.0f} s {note}".rstrip())

    yield advance
