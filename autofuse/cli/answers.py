"""An answer: what a program gets with ``--json``, what a person sees, and the exit code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from autofuse.foundation.values import Value


@dataclass(frozen=True)
class Answer:
    """What one verb found or made.

    Attributes:
        content: makes the JSON-able result.
        show: prints it for a person.
    """

    content: Callable[[], Any]
    show: Callable[[Console], None]
    exit_code: int = 0


def answer(
    value: Value, *renderables: Callable[[], RenderableType], exit_code: int = 0, **more: Callable[[], Any]
) -> Answer:
    """``value`` for programs (with ``more`` fields), and ``renderables``, one below the other, for people."""

    def content() -> Any:
        return {**value.model_dump(mode="json"), **{name: make() for name, make in more.items()}}

    def show(console: Console) -> None:
        for render in renderables:
            console.print(render(), crop=False)

    return Answer(content, show, exit_code)
