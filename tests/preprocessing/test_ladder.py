"""What a device is too small for is done another way, once found out, and in the end on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from prepared_cases import raw_case, tiny_plan

from autofuse.preprocessing import label, prepare
from autofuse.preprocessing import ladder as ladders
from autofuse.preprocessing.ladder import Ladder, places
from autofuse.preprocessing.prepare import prepare_case


def device_of(most: int, calls: list[int]):  # type: ignore[no-untyped-def]
    """A function that sums numbers, and runs out of memory above ``most`` of them."""

    def total(numbers: list[int]) -> int:
        calls.append(len(numbers))
        if len(numbers) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return sum(numbers)

    return total


def ways(total, numbers: list[int]):  # type: ignore[no-untyped-def]
    return (
        ("at once", lambda: total(numbers)),
        ("one by one", lambda: sum(total([number]) for number in numbers)),
        ("on the CPU", lambda: sum(numbers)),
    )


@pytest.mark.parametrize(("most", "rung", "tried"), [(9, 0, [3, 3]), (1, 1, [3, 1, 1, 1, 1, 1, 1]), (0, 2, [3, 1])])
def test_the_first_way_that_fits_is_kept_for_what_follows(most: int, rung: int, tried: list[int]) -> None:
    calls: list[int] = []
    ladder, total = Ladder("adding"), device_of(most, calls)
    assert [ladder.climb(*ways(total, [1, 2, 3])) for _ in range(2)] == [6, 6]
    assert (ladder.rung, calls) == (rung, tried)


def test_the_way_that_was_taken_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(ladders, "say", said.append)
    Ladder("adding").climb(*ways(device_of(1, []), [1, 2]))
    assert said == ["The device is too small for adding at once: from now on one by one."]


def test_the_last_way_is_not_caught_and_other_errors_are_not_either() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        Ladder("adding").climb(("at once", lambda: device_of(0, [])([1])))
    with pytest.raises(ZeroDivisionError):
        Ladder("adding").climb(("at once", lambda: 1 // 0), ("later", lambda: 1))


def test_cases_are_prepared_on_the_cpu_where_the_device_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = tiny_plan(spacing=(1.5, 1.5, 1.5), schemes=("zscore_nonzero", "zscore"))
    wanted = prepare_case(raw_case(), plan, plan.configurations[0])
    shortages = []

    def short_at_first(of):  # type: ignore[no-untyped-def]
        def work(*given, **more):  # type: ignore[no-untyped-def]
            if of not in shortages:
                shortages.append(of)
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return of(*given, **more)

        return work

    # The CPU stands for a device of which the first call of either function takes more than there is.
    for room in (prepare, label):
        monkeypatch.setattr(room, "places", lambda device: (device, torch.device("cpu")))
    monkeypatch.setattr(prepare, "resample_image", short_at_first(prepare.resample_image))
    monkeypatch.setattr(label, "resample_labels", short_at_first(label.resample_labels))
    found = prepare_case(raw_case(), plan, plan.configurations[0])
    assert len(shortages) == 2
    assert np.array_equal(found.images, wanted.images)
    assert np.array_equal(found.label, wanted.label)  # type: ignore[arg-type]


def test_places_end_with_the_cpu() -> None:
    assert places(torch.device("cpu")) == (torch.device("cpu"),)
    assert places(torch.device("cuda")) == (torch.device("cuda"), torch.device("cpu"))
