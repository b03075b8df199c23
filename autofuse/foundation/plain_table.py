"""A table as plain words, to be shown on a terminal, or written into a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class PlainTable:
    """A title, names of columns, and rows of cells.

    Attributes:
        rows: cells as they are read by a person; a row may be shorter than the columns.
        words: columns of words, which stand to the left; the others are numbers and stand to the right.
        marked: rows that stand out.
        note: what to know to read the numbers.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: frozenset[int] = frozenset({0})
    marked: frozenset[int] = frozenset()
    note: str = ""

    def to_rich(self) -> Table:
        """The table for a terminal; nothing in a cell is taken for markup."""
        from rich.table import Table
        from rich.text import Text

        caption = Text(self.note) if self.note else None
        table = Table(title=Text(self.title), caption=caption, title_justify="left", caption_justify="left")
        for number, column in enumerate(self.columns):
            table.add_column(Text(column), justify="left" if number in self.words else "right")
        for number, row in enumerate(self.rows):
            table.add_row(*(Text(cell) for cell in row), style="bold" if number in self.marked else "")
        return table
