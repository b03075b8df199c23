"""What a user asks of SLURM: ``KEY=VALUE``, for all units or, as ``KIND.KEY=VALUE``, for those of one kind."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from autofuse.foundation.errors import UsageError

KEYS = (
    "account",
    "begin",
    "comment",
    "constraint",
    "cpus-per-task",
    "exclude",
    "gpus",
    "gres",
    "licenses",
    "mail-type",
    "mail-user",
    "mem",
    "nice",
    "nodelist",
    "partition",
    "qos",
    "reservation",
    "time",
)
"""Options of sbatch that are passed on as they are."""
AT_ONCE, SETUP = "at-once", "setup"
OWN_KEYS = (AT_ONCE, SETUP)
"""How many units of an array run at once; a file of shell lines that every job begins with."""
_SAFE = re.compile(r"[A-Za-z0-9_.,:;=@%+/*&|()\[\]-]+")
_EXPECTED = "KEY=VALUE or KIND.KEY=VALUE"


@dataclass(frozen=True)
class Settings:
    """Options of sbatch.

    Attributes:
        common: for every unit; by_kind: for units of one kind, over the common ones.
        setup: shell lines that every job begins with.
    """

    common: Mapping[str, str] = field(default_factory=dict)
    by_kind: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    setup: str = ""

    def of_kind(self, kind: str) -> dict[str, str]:
        """The options for units of ``kind``."""
        return {**self.common, **self.by_kind.get(kind, {})}


def read_settings(texts: Sequence[str], kinds: Collection[str]) -> Settings:
    """The settings that these texts give; the last of two for one key counts.

    Raises:
        UsageError: for a key, a kind or a value that cannot be meant.
    """
    common: dict[str, str] = {}
    by_kind: dict[str, dict[str, str]] = {}
    setup = ""
    for text in texts:
        kind, key, value = _parts(text, kinds)
        if key == SETUP:
            setup = _read_setup(text, value)
        elif kind is None:
            common[key] = value
        else:
            by_kind.setdefault(kind, {})[key] = value
    return Settings(common, by_kind, setup)


def _parts(text: str, kinds: Collection[str]) -> tuple[str | None, str, str]:
    name, equals, value = text.partition("=")
    kind, dot, key = name.rpartition(".")
    key = key.removeprefix("--")
    if not equals or not value:
        raise UsageError("This is no setting for SLURM.", found=f"--slurm {text}", expected=_EXPECTED)
    known = (*KEYS, *OWN_KEYS)
    if key not in known:
        close = get_close_matches(key, known, 1)
        raise UsageError(
            f"There is no setting {key!r} for SLURM.",
            found=f"--slurm {text}",
            expected=", ".join(known),
            remedy=f"--slurm {kind}{dot}{close[0]}={value}" if close else "Change the scripts that --dry-run writes.",
        )
    if dot and kind not in kinds:
        raise UsageError(
            f"There are no units of kind {kind!r}.", found=f"--slurm {text}", expected=", ".join(sorted(kinds))
        )
    _require_value(text, key, value)
    if key == SETUP and dot:
        raise UsageError("Every job begins with the same lines.", found=f"--slurm {text}", remedy="--slurm setup=FILE")
    return (kind if dot else None), key, value


def _require_value(text: str, key: str, value: str) -> None:
    if key == AT_ONCE and not (value.isascii() and value.isdecimal() and int(value) > 0):
        raise UsageError("How many units run at once is a whole number above 0.", found=f"--slurm {text}")
    if key != SETUP and _SAFE.fullmatch(value) is None:
        raise UsageError(
            "This value for SLURM has blanks, quotes or other characters that a script cannot hold as they are.",
            found=f"--slurm {text}",
            remedy="Change the scripts that --dry-run writes.",
        )


def _read_setup(text: str, value: str) -> str:
    try:
        return Path(value).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "The file of lines that every job begins with cannot be read.",
            file=value,
            found=f"--slurm {text} ({error})",
            expected="a file of shell lines, such as `module load cuda`",
        ) from None
