"""The content of a JSON file, read strictly: no duplicate keys, no NaN, a size limit, a BOM allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from autofuse.foundation.errors import DataError

MAX_BYTES = 64 << 20


def read_json(path: Path) -> Any:
    """What ``path`` holds.

    Raises:
        DataError: if it cannot be read, is larger than 64 MiB, is no JSON, or names one key twice.
    """
    try:
        if not path.is_file():
            raise DataError("The file does not exist or is no regular file.", file=path, remedy="Add or replace it.")
        if path.stat().st_size > MAX_BYTES:
            raise DataError("The JSON file is far too large.", file=path, found=f"{path.stat().st_size} bytes")
        content = json.loads(
            path.read_text(encoding="utf-8-sig"), object_pairs_hook=_unique_keys, parse_constant=_refuse_constant
        )
        # An escape such as \ud800 alone is no character: no file or message could hold it.
        json.dumps(content, ensure_ascii=False).encode()
        return content
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            "The file cannot be read as JSON.",
            file=path,
            found=str(error)[:200],
            expected="one JSON object in UTF-8",
            remedy="Mend the place named above; a JSON checker or an editor shows it.",
        ) from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"the key {key!r} occurs twice in one object")
        content[key] = value
    return content


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")
