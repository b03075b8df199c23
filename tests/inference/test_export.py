"""Back to the native grid: chunks equal the direct way, and the shortcuts change nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from inference_fakes import REGIONS, class_labels
from torch import Tensor
from torch.nn import functional as F

from autofuse.dataset.types import Labels
from autofuse.inference.export import Grids, activate, linear_source, paint, target_chunks
from autofuse.inference.window import Rows
from autofuse.preprocessing.resample import axis_weights


def smooth_logits(outputs: int, shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, outputs, *(max(2, size // 4) for size in shape), generator=generator) * 4
    return F.interpolate(coarse, size=shape, mode="trilinear")[0]


def as_rows(logits: Tensor, sizes: list[int]) -> Iterator[Rows]:
    start = 0
    for size in sizes:
        if start < logits.shape[1]:
            yield Rows(start, logits[:, start : start + size])
            start += size


def direct(logits: Tensor, grids: Grids, labels: Labels) -> np.ndarray:
    """All probabilities at full size, then the winner."""
    probabilities = activate(logits, labels)
    if grids.nearest_axis is None:
        native = F.interpolate(probabilities[None], size=grids.target, mode="trilinear")[0]
    else:
        native = probabilities
        for axis in range(3):
            weights = torch.from_numpy(
                axis_weights(grids.prepared[axis], grids.target[axis], 0 if axis == grids.nearest_axis else 1)
            ).float()
            native = torch.movedim(torch.tensordot(weights, native, dims=([1], [axis + 1])), 0, axis + 1)
    if not labels.has_regions:
        return native.argmax(0).numpy()
    out = np.zeros(grids.target, dtype=np.int16)
    for k, index in enumerate((2, 1, 3)):  # raw values 2, 1, 4 among (0, 1, 2, 4)
        out[native[k].numpy() > 0.5] = index
    return out


@pytest.mark.parametrize("labels", [class_labels(1), class_labels(6), REGIONS], ids=["two", "seven", "regions"])
@pytest.mark.parametrize(
    ("prepared", "target", "nearest"),
    [
        ((12, 14, 10), (12, 14, 10), None),
        ((12, 14, 10), (19, 9, 23), None),
        ((20, 14, 10), (7, 30, 10), None),
        ((6, 14, 10), (17, 21, 13), 0),
        ((12, 6, 10), (9, 20, 13), 1),
        ((1, 5, 1), (4, 9, 3), None),
    ],
)
def test_equals_the_direct_way(
    labels: Labels, prepared: tuple[int, int, int], target: tuple[int, int, int], nearest: int | None
) -> None:
    grids = Grids(prepared, target, nearest)
    logits = smooth_logits(labels.outputs, prepared)
    expected = direct(logits, grids, labels)
    for scratch, sizes in ((1 << 30, [99]), (1, [1] * 30), (20_000, [3, 4, 2, 1, 5, 30])):
        out = np.zeros(target, dtype=np.int16)
        for chunk in target_chunks(as_rows(logits, sizes), grids, labels, scratch_bytes=scratch):
            paint(chunk, labels, out)
        # Interpolation in another order may round a tie the other way.
        assert (out != expected).mean() < 2e-4


def test_keeping_all_gives_probabilities_that_add_up_to_one() -> None:
    grids, labels = Grids((8, 9, 10), (11, 12, 8)), class_labels(4)
    logits = smooth_logits(5, grids.prepared)
    chunks = list(target_chunks(as_rows(logits, [3, 3, 3]), grids, labels, keep_all=True, scratch_bytes=1))
    assert [chunk.start for chunk in chunks] == list(range(11))
    found = torch.cat([chunk.values for chunk in chunks if chunk.values is not None], dim=1)
    expected = F.interpolate(activate(logits, labels)[None], size=grids.target, mode="trilinear")[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.sum(0), torch.ones(grids.target))


def test_what_cannot_win_is_left_out() -> None:
    labels, grids = class_labels(3), Grids((6, 4, 4), (12, 8, 8))
    logits = torch.zeros(4, 6, 4, 4)
    logits[0] = 9.0
    logits[2, 4:] = 20.0
    chunks = list(target_chunks(as_rows(logits, [2, 2, 2]), grids, labels, scratch_bytes=1))
    assert chunks[0].values is None
    assert chunks[-1].kept == (0, 2)


def test_sources_are_those_of_preprocessing() -> None:
    for size_in, size_out in ((5, 9), (9, 5), (7, 7), (1, 4)):
        below, above, share = linear_source(Grids((size_in, 1, 1), (size_out, 1, 1)), 0)
        matrix = np.zeros((size_out, size_in))
        matrix[np.arange(size_out), below] += 1 - share
        matrix[np.arange(size_out), above] += share
        np.testing.assert_allclose(matrix, axis_weights(size_in, size_out, 1), atol=1e-6)


@pytest.mark.parametrize(("most", "rung"), [(10**9, 0), (19 * 14 * 10, 1), (0, 2)])
def test_outputs_that_do_not_fit_together_are_resampled_one_by_one_or_on_the_cpu(
    most: int, rung: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, grids = class_labels(2), Grids((12, 14, 10), (12, 9, 23))
    logits = smooth_logits(3, grids.prepared)
    wanted = [chunk.values for chunk in target_chunks(as_rows(logits, [12]), grids, labels, keep_all=True)]
    interpolate, calls = F.interpolate, []

    def of_a_small_device(values: Tensor, **given: object) -> Tensor:
        calls.append(values.numel())
        if values.numel() > most and len(calls) < 3:  # the third way computes on the CPU, which is not small
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return interpolate(values, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(F, "interpolate", of_a_small_device)
    found = [chunk.values for chunk in target_chunks(as_rows(logits, [12]), grids, labels, keep_all=True)]
    whole = logits.numel()
    assert calls == [[whole], [whole, *(whole // 3,) * 3], [whole, whole // 3, whole]][rung]
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(found, wanted, strict=True))  # type: ignore[arg-type]
