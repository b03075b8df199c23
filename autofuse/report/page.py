"""One HTML file that needs nothing else: its parts as values, and how they become text.

Everything that comes from outside (names of cases, labels, modalities, errors) is escaped where it is written, and a
content security policy forbids the page to load anything or to run a script that is not its own.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from autofuse.foundation.plain_table import PlainTable

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

SORTING = """
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = table.tHead.rows[0].cells, body = table.tBodies[0];
  for (let column = 0; column < heads.length; column++) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heads[column].childNodes);
    heads[column].append(button);
    button.addEventListener("click", () => {
      const upwards = heads[column].getAttribute("aria-sort") !== "ascending";
      const value = (row) => {
        const text = row.cells[column] ? row.cells[column].textContent.trim() : "", number = parseFloat(text);
        return Number.isNaN(number) ? text : number;
      };
      const order = (a, b) => typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1;
      const rows = [...body.rows].sort((a, b) => (upwards ? 1 : -1) * order(value(a), value(b)));
      for (const head of heads) head.removeAttribute("aria-sort");
      heads[column].setAttribute("aria-sort", upwards ? "ascending" : "descending");
      body.append(...rows);
    });
  }
}
"""
"""The only script: a click on a column's name sorts the table. Without it the page says the same."""


@dataclass(frozen=True)
class Heading:
    """The name of what follows, within a section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Words:
    """A paragraph; one that ``warns`` stands out."""

    kind: ClassVar[str] = "words"
    text: str
    warns: bool = False


@dataclass(frozen=True)
class Points:
    """A list of sentences."""

    kind: ClassVar[str] = "points"
    items: tuple[str, ...]


@dataclass(frozen=True)
class Commands:
    """Command lines, to be copied."""

    kind: ClassVar[str] = "commands"
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Numbers:
    """A table; a ``sortable`` one can be sorted by a click where scripts run."""

    kind: ClassVar[str] = "numbers"
    table: PlainTable
    sortable: bool = False


@dataclass(frozen=True)
class Drawing:
    """A drawing of lines that is part of the page's text. ``svg`` says in words what it shows."""

    svg: Markup
    caption: str


@dataclass(frozen=True)
class Drawings:
    """Drawings side by side where there is room, else one below the other."""

    kind: ClassVar[str] = "drawings"
    drawings: tuple[Drawing, ...]


@dataclass(frozen=True)
class Picture:
    """A picture of voxels.

    Attributes:
        content: of the file, of the type ``mime``.
        alt: what it shows, for those who do not see it.
    """

    content: bytes
    mime: str
    width: int
    height: int
    alt: str
    caption: str

    @property
    def source(self) -> str:
        """The picture as an address that holds it."""
        return f"data:{self.mime};base64,{base64.b64encode(self.content).decode()}"


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side, of one case or of one thing."""

    kind: ClassVar[str] = "pictures"
    heading: str
    note: str
    pictures: tuple[Picture, ...]
    legend: tuple[tuple[str, str], ...] = ()
    """(name, colour as #rrggbb)."""
    slices: bool = False
    """Whether they are slices of one case, which stand in a row at one height."""


@dataclass(frozen=True)
class Reason:
    """One decision: what was chosen, why, from which numbers, and what was passed over."""

    what: str
    chosen: str
    rule: str
    numbers: str
    instead: tuple[str, ...]


@dataclass(frozen=True)
class Reasons:
    """Decisions, in the order they were made."""

    kind: ClassVar[str] = "reasons"
    items: tuple[Reason, ...]


Block = Heading | Words | Points | Commands | Numbers | Drawings | Pictures | Reasons


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading of its own; ``name`` is its anchor."""

    name: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """The whole page.

    Attributes:
        facts: (name, value) shown first; ``warnings``: what the reader must know before all else.
        ending: the last line.
    """

    title: str
    subtitle: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    warnings: tuple[str, ...] = ()
    ending: str = ""
    language: str = field(default="en")


def counted(number: int, noun: str) -> str:
    """Such as "1 case" and "3 cases"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def render(page: Page) -> str:
    """The page as HTML text."""
    script = hashlib.sha256(SORTING.encode()).digest()
    return _template().render(page=page, script=SORTING, script_hash=base64.b64encode(script).decode())


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["as_it_is"] = Markup
    return environment.from_string(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
