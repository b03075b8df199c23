"""Rows of a small table that a person wrote: comma, semicolon or tab, a BOM allowed, every row of full length."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from autofuse.foundation.errors import DataError

MAX_BYTES = 64 << 20


def read_csv(path: Path, required: tuple[str, ...]) -> list[dict[str, str]]:
    """One mapping per row, from column name to stripped cell.

    Raises:
        DataError: if the file cannot be read, has no header with the ``required`` columns, names a column twice, or has
            a row of another length.
    """
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            raise DataError("The table does not exist, is no regular file or is far too large.", file=path)
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            "The table cannot be read.", file=path, found=str(error)[:200], remedy="Save it as CSV in UTF-8."
        ) from None
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if any(row)]
    except csv.Error as error:
        raise DataError(
            "The table is no valid CSV.", file=path, found=str(error), remedy="Check its quotation marks."
        ) from None
    header = [cell.strip() for cell in rows[0]] if rows else []
    missing = [name for name in required if name not in header]
    if missing or len(set(header)) < len(header) or "" in header:
        raise DataError(
            "The table's first line does not name its columns.",
            file=path,
            found=", ".join(header) or "nothing",
            expected="different names, among them " + ", ".join(required),
            remedy="Correct the first line.",
        )
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise DataError(
                f"Row {number} of the table has {len(row)} cells, its first line {len(header)}.",
                file=path,
                found=delimiter.join(row)[:100],
                remedy="Complete the row; put cells that contain the separator in quotation marks.",
            )
    return [dict(zip(header, (cell.strip() for cell in row), strict=True)) for row in rows[1:]]
