"""How far training is, and how large its steps are: polynomial decay over steps, or over the time that there is."""

from __future__ import annotations

import math

from pydantic import Field

from autofuse.foundation.values import Value

POWER = 0.9
UNKNOWN_STEPS = 10**9
"""Length of a timed run before a step was measured: its first steps are taken at the full learning rate."""


class Schedule(Value):
    """The share of training that is done, piecewise linear in the step.

    In steps there is one piece. In minutes each measurement starts another piece at the share reached so far, so that
    the share, and with it the learning rate, never jumps, and reaches 1 when the time is over.

    Attributes:
        total: steps at which the share reaches 1.
        anchor_step, anchor_done: where the present piece began.
    """

    total: int = Field(ge=0)
    anchor_step: int = Field(default=0, ge=0)
    anchor_done: float = Field(default=0.0, ge=0, le=1)

    def done(self, step: int) -> float:
        """Share of training that is done before ``step`` (counted from 0), in [0, 1]."""
        length = self.total - self.anchor_step
        if length <= 0:
            return 1.0
        share = (step - self.anchor_step) / length
        return min(1.0, self.anchor_done + (1.0 - self.anchor_done) * share)

    def factor(self, step: int) -> float:
        """Learning rate at ``step`` relative to the first: (1 - done) ** 0.9, as in nnU-Net."""
        return float((1.0 - self.done(step)) ** POWER)

    def refitted(self, step: int, remaining_s: float, step_s: float) -> Schedule:
        """The schedule that ends after ``remaining_s`` more seconds if a step takes ``step_s``; no jump at ``step``."""
        ahead = max(0, math.floor(remaining_s / step_s)) if step_s > 0 else 0
        return Schedule(total=step + ahead, anchor_step=step, anchor_done=self.done(step))
