"""Numbers as people type them: memory with a unit, minutes, lists of folds."""

from __future__ import annotations

import math
import re
from argparse import ArgumentTypeError

GIB_PER_UNIT = {"": 1.0, "g": 1.0, "gb": 1e9 / 2**30, "gib": 1.0, "m": 2.0**-10, "mb": 1e6 / 2**30, "mib": 2.0**-10}
"""GiB in one unit of memory; a bare number counts GiB."""


def memory_gib(text: str) -> float:
    """GiB meant by ``text``: "8GiB", "8", "8000 MB"."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z]*)\s*", text)
    if match is None or match[2].lower() not in GIB_PER_UNIT:
        raise ArgumentTypeError(f"{text!r} is not an amount of memory; write it like 8GiB or 8000MB")
    return positive(float(match[1]) * GIB_PER_UNIT[match[2].lower()], text)


def minutes(text: str) -> float:
    """Minutes meant by ``text``, more than zero."""
    try:
        return positive(float(text), text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a number of minutes") from None


def above_zero(text: str) -> float:
    """The number meant by ``text``, more than zero."""
    try:
        return positive(float(text), text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a number") from None


def share(text: str) -> float:
    """The number meant by ``text``, above 0 and at most 1."""
    value = above_zero(text)
    if value > 1:
        raise ArgumentTypeError(f"{text!r} has to be at most 1")
    return value


def tolerance(text: str) -> tuple[str | None, float]:
    """A tolerance in mm for everything ("2") or for one class ("tumour=2"); not below zero."""
    name, equals, number = text.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0) or (equals and not name):
        raise ArgumentTypeError(f"{text!r} is not a tolerance in mm; write it like 2 or tumour=2")
    return (name if equals else None), value


def region(text: str) -> tuple[str, tuple[int, ...]]:
    """A name and the label values that it unites: "TC=1,3,4"."""
    name, equals, values = text.partition("=")
    parts = values.split(",")
    if not (name.strip() and equals and all(re.fullmatch(r"\s*[0-9]{1,5}\s*", part) for part in parts)):
        raise ArgumentTypeError(f"{text!r} is not a region; write it like TC=1,3,4")
    return name.strip(), tuple(sorted({int(part) for part in parts}))


def dilation(text: str) -> int:
    """Steps of a dilation, 0 to 50."""
    value = whole(text)
    if value > 50:
        raise ArgumentTypeError(f"{text!r} has to be at most 50")
    return value


def distance(text: str) -> float | None:
    """The distance in mm that is meant by ``text``; None for "image", the image's diagonal."""
    return None if text.strip().lower() == "image" else above_zero(text)


def not_negative(text: str) -> float:
    """The number meant by ``text``, zero or more."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise ArgumentTypeError(f"{text!r} is not a number of at least zero")
    return value


def positive(value: float, text: str) -> float:
    """``value``, if it is finite and above zero."""
    if not (math.isfinite(value) and value > 0):
        raise ArgumentTypeError(f"{text!r} has to be more than zero")
    return value


def count(text: str) -> int:
    """A whole number of at least one."""
    value = whole(text)
    if value < 1:
        raise ArgumentTypeError(f"{text!r} has to be at least 1")
    return value


def whole(text: str) -> int:
    """A whole number of at least zero."""
    if not re.fullmatch(r"\s*[0-9]{1,18}\s*", text):
        raise ArgumentTypeError(f"{text!r} is not a whole number of at least zero")
    return int(text)


def window(text: str) -> tuple[str, float, float]:
    """The name, the lower and the upper end meant by ``text``: "CT=-160,240"."""
    name, sign, ends = text.rpartition("=")
    try:
        lower, upper = (float(part) for part in ends.split(","))
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no window; write it like CT=-160,240") from None
    if not sign or not name or not (math.isfinite(lower) and math.isfinite(upper)):
        raise ArgumentTypeError(f"{text!r} is no window; write it like CT=-160,240")
    return name, lower, upper


def folds(text: str) -> tuple[int, ...] | None:
    """Fold numbers in ``text`` ("0", "0,2"), each once; None for "all"."""
    if text.strip().lower() == "all":
        return None
    return tuple(dict.fromkeys(whole(part) for part in text.split(",")))
