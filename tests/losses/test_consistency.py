"""Consistency between heads: zero at agreement, above it elsewhere, symmetric, a gradient for both."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from autofuse.losses import divergence_from, log_answers, symmetric_divergence
from autofuse.losses.probabilities import certainty

KINDS = pytest.mark.parametrize("regions", [False, True])


def heads(regions: bool, seed: int = 0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    first, second = (torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    return first, second


@KINDS
def test_answers_add_up_to_one(regions: bool) -> None:
    logits, _ = heads(regions)
    found = log_answers(logits, regions=regions)
    assert found.shape == ((2, 3, 2, 4, 5) if regions else (2, 1, 3, 4, 5))
    torch.testing.assert_close(found.exp().sum(2), torch.ones_like(found[:, :, 0]))
    assert log_answers(logits.half(), regions=regions).dtype == torch.float32


@KINDS
def test_it_is_half_of_both_divergences(regions: bool) -> None:
    p, q = (log_answers(head, regions=regions) for head in heads(regions))
    both = (p.exp() * (p - q)).sum(2).mean() + (q.exp() * (q - p)).sum(2).mean()
    torch.testing.assert_close(symmetric_divergence(p, q), both / 2)
    torch.testing.assert_close(symmetric_divergence(p, q), symmetric_divergence(q, p))


@KINDS
@pytest.mark.parametrize("by_certainty", [False, True])
def test_zero_at_agreement_and_a_gradient_for_each_elsewhere(regions: bool, by_certainty: bool) -> None:
    first, second = heads(regions)

    def loss(a: Tensor, b: Tensor) -> Tensor:
        return symmetric_divergence(
            log_answers(a, regions=regions), log_answers(b, regions=regions), by_certainty=by_certainty
        )

    assert loss(first, first.detach().clone()).item() == 0
    value = loss(first, second)
    assert value.item() > 0
    gradients = torch.autograd.grad(value, [first, second])
    assert all(bool((part != 0).all()) for part in gradients)
    # Against the gradient the heads come closer.
    nearer = [head - 0.1 * part for head, part in zip((first, second), gradients, strict=True)]
    assert loss(*nearer) < value


def test_only_voxels_that_count_count() -> None:
    first, second = (log_answers(head, regions=False) for head in heads(False))
    where = torch.rand(2, 1, 4, 5) < 0.5
    parts = ((first.exp() - second.exp()) * (first - second)).sum(2) / 2
    torch.testing.assert_close(symmetric_divergence(first, second, where=where), parts[where].mean())
    assert symmetric_divergence(first, second, where=torch.zeros(2, 1, 1, 1, dtype=torch.bool)).item() == 0


def test_certainty_is_one_for_sure_answers_and_least_for_guesses() -> None:
    sure, guess = torch.tensor([1.0, 0.0, 0.0]), torch.full((3,), 1 / 3)
    found = certainty(torch.stack([sure, guess], dim=1).view(1, 1, 3, 2))
    torch.testing.assert_close(found.flatten(), torch.tensor([1.0, math.exp(-1.0)]))


@given(st.lists(st.floats(-30, 30), min_size=6, max_size=6))
def test_divergences_are_never_negative_nor_nan(values: list[float]) -> None:
    first, second = torch.tensor(values, dtype=torch.float64).view(2, 1, 1, 3, 1, 1).log_softmax(3)
    assert symmetric_divergence(first, second).item() >= -1e-12
    assert divergence_from(first.exp(), second).item() >= -1e-12


def test_a_goal_teaches_and_does_not_learn() -> None:
    first, second = (log_answers(head, regions=False) for head in heads(False))
    goal = (first.exp() + second.exp()) / 2
    value = divergence_from(goal, second)
    torch.testing.assert_close(value, (goal * (goal.log() - second)).sum(2).mean())
    assert divergence_from(second.exp(), second).item() == pytest.approx(0.0, abs=1e-12)
    leaf_goal, leaf = goal.detach().requires_grad_(), second.detach().requires_grad_()
    divergence_from(leaf_goal, leaf, by_certainty=True).backward()
    assert leaf_goal.grad is None and leaf.grad is not None and bool(leaf.grad.any())
