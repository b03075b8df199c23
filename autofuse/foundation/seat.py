"""Where one of several processes that train together sits; known before torch is there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

STARTED_BY = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher such as torchrun tells each process by environment variables."""


@dataclass(frozen=True)
class Seat:
    """The place of one process: ``rank`` of ``count``, the ``local``-th on its machine.

    Attributes:
        meeting: file, on one machine, through which the processes find each other; None for environment variables.
    """

    rank: int
    count: int
    local: int
    meeting: Path | None = None


def started_seat() -> Seat | None:
    """The seat that torchrun gave this process; None where it was started by hand, or alone."""
    if any(name not in os.environ for name in STARTED_BY) or os.environ["WORLD_SIZE"] == "1":
        return None
    number = int(os.environ["RANK"])
    return Seat(number, int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", number)))
