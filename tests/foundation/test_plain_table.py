"""Tables as plain words."""

from __future__ import annotations

import io

from rich.console import Console

from autofuse.foundation.plain_table import PlainTable


def test_cells_are_never_taken_for_markup() -> None:
    table = PlainTable("[bold]t", ("name", "[x]"), (("[red]liver", "1"), ("[/b]", "22")), note="[n]")
    stream = io.StringIO()
    Console(file=stream, width=80, color_system=None).print(table.to_rich())
    shown = stream.getvalue()
    for words in ("[bold]t", "[x]", "[red]liver", "[/b]", "[n]"):
        assert words in shown


def test_words_stand_left_and_numbers_right() -> None:
    rich = PlainTable("t", ("name", "count"), (("a", "1"),), marked=frozenset({0})).to_rich()
    assert [column.justify for column in rich.columns] == ["left", "right"]
    assert rich.rows[0].style == "bold"
