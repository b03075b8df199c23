"""How many readers keep a training busy, from how long reading and stepping take where the training runs."""

from __future__ import annotations

import math
from collections import deque
from statistics import median

WARM_UP = 2
"""Steps that do not count: they choose algorithms and fill caches."""
WATCHED = 8
"""Steps after which the number of readers is settled."""
RESERVE = 1.5
"""Readers bring so many times what steps use up: disks and processors have busy moments."""


def readers_for(read_s: float, step_s: float, most: int) -> int:
    """Readers that together bring a batch in the time of a step, with a reserve; between 1 and ``most``.

    Args:
        read_s: that one reader takes for the crops of one step; step_s: that a step takes.
    """
    if step_s <= 0:
        return max(1, most)
    return max(1, min(most, math.ceil(RESERVE * read_s / step_s)))


class Pace:
    """Seconds of the first steps and of reading for them; read from any thread."""

    def __init__(self) -> None:
        self._read_s: deque[float] = deque(maxlen=WATCHED)
        self._step_s: deque[float] = deque(maxlen=WATCHED)
        self._steps = 0

    def was_read(self, seconds: float) -> None:
        """Take note of one reading."""
        self._read_s.append(seconds)

    def was_stepped(self, seconds: float) -> None:
        """Take note of one step, waiting not counted."""
        self._steps += 1
        if self._steps > WARM_UP:
            self._step_s.append(seconds)

    @property
    def settled(self) -> bool:
        """Whether enough was seen."""
        return len(self._step_s) == WATCHED and len(self._read_s) > 0

    def readers(self, most: int) -> int:
        """As ``readers_for``, of the medians."""
        return readers_for(median(list(self._read_s)), median(self._step_s), most)
