"""Dice and cross-entropy: equal to their definitions, blind to ignored voxels, lowest at agreement, never NaN."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from autofuse.dataset.types import IGNORE, LabelClass, Labels
from autofuse.losses import dice_ce
from autofuse.losses.dice import SMOOTH
from autofuse.losses.labelled import voxel_weights

CLASSES = Labels(classes=(LabelClass(name="one", raw_values=(1,)), LabelClass(name="two", raw_values=(2,))), ignore=9)
REGIONS = Labels(
    classes=(LabelClass(name="whole", raw_values=(1, 2, 4)), LabelClass(name="core", raw_values=(2,))),
    ignore=9,
    region_values=(1, 2),
)
KINDS = pytest.mark.parametrize("labels", [CLASSES, REGIONS], ids=["classes", "regions"])
OPTIONS = pytest.mark.parametrize(
    "options", [{}, {"batch_dice": True}, {"case_weighting": 0.0}, {"batch_dice": True, "case_weighting": 0.5}], ids=str
)


def example(labels: Labels, size: tuple[int, ...] = (4, 3, 5), seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random logits and labels in float64; the second of three samples is half ignored, the third altogether."""
    torch.manual_seed(seed)
    logits = torch.randn(3, labels.outputs, *size, dtype=torch.float64)
    target = torch.randint(0, len(labels.raw_values) + 1, (3, *size))
    target[1, : size[0] // 2] = IGNORE
    target[2] = IGNORE
    return logits, target


def defined(logits: Tensor, target: Tensor, labels: Labels, batch_dice: bool, case_weighting: float) -> list[float]:
    """Dice and cross-entropy by their definitions, voxel by voxel in plain Python."""
    values = (0, *labels.raw_values)
    samples = []
    for sample, truth in zip(logits.flatten(2), target.flatten(1), strict=True):
        voxels = [v for v in range(truth.numel()) if truth[v] != IGNORE]
        rows: dict[int, list[float]] = {}
        missed = 0.0
        for v in voxels:
            x = [float(value) for value in sample[:, v]]
            if labels.has_regions:
                p = [1 / (1 + math.exp(-value)) for value in x]
                t = [values[int(truth[v])] in item.raw_values for item in labels.classes]
                missed -= sum(math.log(a if b else 1 - a) for a, b in zip(p, t, strict=True)) / len(p)
                pairs = list(zip(p, t, strict=True))
            else:
                total = sum(math.exp(value) for value in x)
                p = [math.exp(value) / total for value in x]
                missed -= math.log(p[int(truth[v])])
                pairs = [(p[k], int(truth[v]) == k) for k in range(1, len(x))]
            for k, (a, b) in enumerate(pairs):
                row = rows.setdefault(k, [0.0, 0.0, 0.0])
                row[0], row[1], row[2] = row[0] + a * b, row[1] + a, row[2] + b
        samples.append((len(voxels), missed, rows))
    share = [n**case_weighting if n else 0.0 for n, _, _ in samples]
    share = [value / sum(share) for value in share]
    entropy = sum(w * missed / n for w, (n, missed, _) in zip(share, samples, strict=True) if n)

    def score(row: list[float]) -> float:
        return (2 * row[0] + SMOOTH) / (row[1] + row[2] + SMOOTH)

    if batch_dice:
        everything = sum(n for n, _, _ in samples)
        scores = []
        for k in range(len(labels.classes)):
            pooled = [
                sum(w / n * everything * rows[k][i] for w, (n, _, rows) in zip(share, samples, strict=True) if n)
                for i in range(3)
            ]
            scores.append(score(pooled))
        return [1 - sum(scores) / len(scores), entropy]
    own = [1 - sum(map(score, rows.values())) / len(rows) if n else 0.0 for n, _, rows in samples]
    return [sum(w * value for w, value in zip(share, own, strict=True)), entropy]


@KINDS
@OPTIONS
def test_equals_the_definition(labels: Labels, options: dict[str, float]) -> None:
    logits, target = example(labels)
    terms = dice_ce(logits, target, labels, **options)  # type: ignore[arg-type]
    dice, entropy = defined(
        logits, target, labels, bool(options.get("batch_dice", False)), options.get("case_weighting", 1.0)
    )
    assert terms["dice"].item() == pytest.approx(dice, abs=1e-9)
    assert terms["cross_entropy"].item() == pytest.approx(entropy, abs=1e-9)


@KINDS
@OPTIONS
def test_ignored_voxels_change_neither_value_nor_gradient(labels: Labels, options: dict[str, float]) -> None:
    logits, target = example(labels)
    ignored = (target == IGNORE)[:, None]
    other = torch.where(ignored, 50 * torch.randn_like(logits), logits)
    found = []
    for given in (logits, other):
        given = given.clone().requires_grad_()
        terms = dice_ce(given, target, labels, **options)  # type: ignore[arg-type]
        (gradient,) = torch.autograd.grad(sum(terms.values()), given)
        assert not gradient[ignored.expand_as(gradient)].any()
        found.append((terms, gradient))
    (one, first), (two, second) = found
    assert all(one[name].item() == pytest.approx(two[name].item(), abs=1e-12) for name in one)
    torch.testing.assert_close(first, second)
    assert first[~ignored.expand_as(first)].abs().min() > 0


@KINDS
@OPTIONS
def test_gradient_is_the_derivative(labels: Labels, options: dict[str, float]) -> None:
    logits, target = example(labels, size=(2, 3))
    logits.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda given: tuple(dice_ce(given, target, labels, **options).values()),  # type: ignore[arg-type]
        (logits,),
    )


@KINDS
@OPTIONS
def test_a_batch_without_labels_gives_zero_and_zero_gradient(labels: Labels, options: dict[str, float]) -> None:
    logits, target = example(labels)
    logits.requires_grad_()
    terms = dice_ce(logits, torch.full_like(target, IGNORE), labels, **options)  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(sum(terms.values()), logits)
    assert all(value.item() == 0 for value in terms.values())
    assert gradient.abs().max() == 0


def agreeing(target: Tensor, labels: Labels, certainty: float) -> Tensor:
    """Logits that are right at every voxel."""
    values = (0, *labels.raw_values)
    index = target.clamp(min=0)
    if labels.has_regions:
        table = torch.tensor([[value in item.raw_values for value in values] for item in labels.classes])
        return torch.stack([certainty * (2.0 * row[index] - 1.0) for row in table], dim=1)
    return certainty * torch.nn.functional.one_hot(index, len(values)).movedim(-1, 1).float()


@KINDS
@OPTIONS
def test_is_lowest_at_agreement_and_descent_gets_there(labels: Labels, options: dict[str, float]) -> None:
    _, target = example(labels)
    best = dice_ce(agreeing(target, labels, 40.0), target, labels, **options)  # type: ignore[arg-type]
    assert all(0 <= value.item() < 1e-4 for value in best.values())
    logits = torch.zeros(3, labels.outputs, 4, 3, 5, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.3)
    for _ in range(80):
        optimiser.zero_grad()
        sum(dice_ce(logits, target, labels, **options).values()).backward()  # type: ignore[arg-type, union-attr]
        optimiser.step()
    assert all(value.item() < 0.05 for value in dice_ce(logits, target, labels, **options).values())  # type: ignore[arg-type]


@OPTIONS
def test_does_not_depend_on_the_order_of_classes_voxels_or_samples(options: dict[str, float]) -> None:
    logits, target = example(CLASSES)
    expected = dice_ce(logits, target, CLASSES, **options)  # type: ignore[arg-type]
    renamed = torch.where(target == 1, 2, torch.where(target == 2, 1, target))
    variants = {
        "classes": (logits[:, [0, 2, 1]], renamed),
        "voxels": (logits.flip(2, 4), target.flip(1, 3)),
        "samples": (logits.flip(0), target.flip(0)),
    }
    for name, (other, truth) in variants.items():
        found = dice_ce(other, truth, CLASSES, **options)  # type: ignore[arg-type]
        assert all(found[key].item() == pytest.approx(expected[key].item(), abs=1e-12) for key in expected), name


def test_an_absent_class_scores_by_whether_it_is_predicted() -> None:
    target = torch.zeros(1, 6, 6, dtype=torch.long)
    target[0, :3] = 1  # class 2 is absent
    right = agreeing(target, CLASSES, 60.0)
    assert dice_ce(right, target, CLASSES)["dice"].item() < 1e-4
    wrong = right.clone()
    wrong[0, 2, 5] = 100.0
    assert dice_ce(wrong, target, CLASSES)["dice"].item() == pytest.approx(0.5, abs=1e-3)


@KINDS
def test_half_precision_logits_are_summed_in_float32(labels: Labels) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, labels.outputs, 48, 48, 48).bfloat16()
    target = torch.randint(0, len(labels.raw_values) + 1, (2, 48, 48, 48))
    exact = dice_ce(logits.double(), target, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = dice_ce(logits, target, labels)
    for name, value in found.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(exact[name].item(), rel=1e-5)


def test_weights_scale_the_terms() -> None:
    logits, target = example(CLASSES)
    plain, scaled = dice_ce(logits, target, CLASSES), dice_ce(logits, target, CLASSES, dice_weight=2, ce_weight=0.5)
    assert scaled["dice"].item() == pytest.approx(2 * plain["dice"].item())
    assert scaled["cross_entropy"].item() == pytest.approx(0.5 * plain["cross_entropy"].item())


def test_voxel_weights_say_how_cases_share() -> None:
    labelled = torch.zeros(3, 20, dtype=torch.bool)
    labelled[0, :16] = True
    labelled[1, :4] = True
    for exponent, shares in {1.0: (16 / 20, 4 / 20), 0.0: (0.5, 0.5), 0.5: (4 / 6, 2 / 6)}.items():
        weights = voxel_weights(labelled, exponent)
        assert [weights[0].item() * 16, weights[1].item() * 4] == pytest.approx(shares)
        assert weights[2].item() == 0
    assert voxel_weights(labelled[2:], 0.5).item() == 0


def test_memory_kept_for_the_backward_pass_is_bounded() -> None:
    """At most two float32 tensors of the logits' size and a byte per class and voxel, besides the logits."""
    logits = torch.randn(1, 8, 16, 16, 16, requires_grad=True)
    target = torch.randint(0, 8, (1, 16, 16, 16))
    labels = Labels(classes=tuple(LabelClass(name=str(k), raw_values=(k,)) for k in range(1, 8)))
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        dice_ce(logits, target, labels)
    kept.pop(target.untyped_storage().data_ptr(), None)
    assert sum(kept.values()) < 2.4 * logits.numel() * 4
