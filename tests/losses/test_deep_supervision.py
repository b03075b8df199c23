"""Deep supervision: the weights, and labels that are picked and never averaged."""

from __future__ import annotations

import pytest
import torch

from autofuse.dataset.types import IGNORE, LabelClass, Labels
from autofuse.foundation.errors import ModelError
from autofuse.losses import deep_supervision, dice_ce, level_weights, nearest


def test_weights_halve_and_add_up_to_one() -> None:
    assert level_weights(1) == (1.0,)
    assert level_weights(3) == pytest.approx((4 / 7, 2 / 7, 1 / 7))


def test_labels_are_picked_per_axis() -> None:
    target = torch.arange(4 * 6).reshape(1, 4, 6)
    assert nearest(target, (4, 6)).tolist() == target.tolist()
    assert nearest(target, (2, 2)).tolist() == [[[7, 10], [19, 22]]]
    assert nearest(target, (4, 3))[0, 0].tolist() == [1, 3, 5]
    assert nearest(target, (2, 2)).untyped_storage().data_ptr() == target.untyped_storage().data_ptr()


def test_ignored_voxels_stay_ignored_and_nothing_new_appears() -> None:
    torch.manual_seed(0)
    target = torch.randint(IGNORE, 4, (2, 8, 8, 8))
    for size in ((4, 4, 4), (8, 2, 2), (1, 1, 1)):
        small = nearest(target, size)
        assert small.shape == (2, *size)
        assert set(small.unique().tolist()) <= {IGNORE, 0, 1, 2, 3}
    assert (nearest(torch.full((1, 8, 8), IGNORE), (2, 2)) == IGNORE).all()


def test_sizes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ModelError) as caught:
        nearest(torch.zeros(1, 8, 9, dtype=torch.long), (4, 4))
    assert "(4, 4)" in str(caught.value) and "(8, 9)" in str(caught.value)


def test_terms_are_the_weighted_sum_over_levels() -> None:
    torch.manual_seed(0)
    labels = Labels(classes=(LabelClass(name="one", raw_values=(1,)),))
    target = torch.randint(IGNORE, 2, (2, 8, 8))
    outputs = [torch.randn(2, 2, 8, 8, requires_grad=True), torch.randn(2, 2, 4, 4, requires_grad=True)]
    terms = deep_supervision(outputs, target, lambda logits, truth: dice_ce(logits, truth, labels))
    first, second = dice_ce(outputs[0], target, labels), dice_ce(outputs[1], nearest(target, (4, 4)), labels)
    for name, value in terms.items():
        assert value.item() == pytest.approx(2 / 3 * first[name].item() + 1 / 3 * second[name].item())
    gradients = torch.autograd.grad(sum(terms.values()), outputs)
    assert all(gradient.abs().max() > 0 for gradient in gradients)
