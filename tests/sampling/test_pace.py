"""The number of readers follows from milliseconds."""

from __future__ import annotations

import pytest

from autofuse.sampling.pace import WARM_UP, WATCHED, Pace, readers_for


@pytest.mark.parametrize(
    ("read_ms", "step_ms", "most", "readers"),
    [
        (12, 1000, 8, 1),  # one reader has time to spare
        (100, 100, 8, 2),  # as fast as the steps: half as much again for busy moments
        (300, 100, 8, 5),  # 4.5
        (300, 100, 4, 4),  # no more than there are processors
        (1, 0, 8, 8),
        (1, 1, 0, 1),
    ],
)
def test_readers_keep_up_with_steps(read_ms: float, step_ms: float, most: int, readers: int) -> None:
    assert readers_for(read_ms / 1000, step_ms / 1000, most) == readers


def test_the_first_steps_do_not_count() -> None:
    pace = Pace()
    pace.was_read(0.1)
    for _ in range(WARM_UP):
        pace.was_stepped(100.0)
    for _ in range(WATCHED):
        assert not pace.settled
        pace.was_stepped(0.06)
    assert pace.settled
    assert pace.readers(8) == 3  # 1.5 times 0.1 s in steps of 0.06 s: 2.5
