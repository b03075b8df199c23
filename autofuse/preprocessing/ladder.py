"""Work on a device that may be too small for it: what runs out of memory is done another way, the CPU's last of all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from autofuse.foundation.console import say

T = TypeVar("T")
CPU = torch.device("cpu")


class Ladder:
    """Ways to do one kind of work, the fastest first; a rung that was too high is not tried again.

    Every way gives the same result within float tolerance; only memory and time differ.

    Args:
        what: is done, as a person would say it.
    """

    def __init__(self, what: str) -> None:
        self.what, self.rung = what, 0

    def climb(self, *ways: tuple[str, Callable[[], T]]) -> T:
        """What the first way gives that does not run out of memory; ``ways`` are (name, function).

        Raises:
            torch.OutOfMemoryError: if the last one does too.
        """
        while True:
            name, work = ways[min(self.rung, len(ways) - 1)]
            try:
                return work()
            except torch.OutOfMemoryError:
                if self.rung >= len(ways) - 1:
                    raise
            # Outside of the except block: the error holds on to whatever was allocated when it was raised.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.rung += 1
            say(f"The device is too small for {self.what} {name}: from now on {ways[self.rung][0]}.")


def places(device: torch.device) -> tuple[torch.device, ...]:
    """Where to compute, in turn: on ``device``, then on the CPU."""
    return (device,) if device.type == "cpu" else (device, CPU)


def place_name(device: torch.device) -> str:
    """ "on the CPU", "on cuda"."""
    return "on the CPU" if device.type == "cpu" else f"on {device}"
