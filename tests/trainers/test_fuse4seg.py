"""Fuse4Seg: leader and follower move apart from each other, and each way of the one to foresee the other."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from one_batch import dice, each_shows_one_class
from torch import Tensor, nn

from autofuse.foundation.errors import UsageError
from autofuse.sampling.batch import Batch
from autofuse.testing import check_trainer, example_batch
from autofuse.testing.examples import example_task
from autofuse.testing.trainers import Setting
from autofuse.training.run import RunPlan
from autofuse.training.steps import Stepper
from autofuse.training.trainer import Progress
from autofuse_trainers.fuse4seg import FUSER, LOWER, SEGMENTER, UPPER, Fuse4Seg
from autofuse_trainers.fuse4seg.bilevel import gauss_newton, one_step_ahead, ratio
from autofuse_trainers.fuse4seg.leader import Leader
from autofuse_trainers.fuse4seg.window import STANDARD_SCORES, shown

WINDOWS = (STANDARD_SCORES,) * 3
MODES = ("joint", "first_order", "gauss_newton", "unrolled")


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_keeps_the_engines_rules(mode: str) -> None:
    settings = (Setting(2, 2), Setting(modalities=3, dimensions=3, regions=True, cascade=True))
    for sees in ("fused", "fused_and_sources"):
        check_trainer(Fuse4Seg(bilevel=mode, sees=sees), settings=settings)  # type: ignore[arg-type]


def test_the_plain_aggregate_is_segmented_where_nobody_learns_to_fuse() -> None:
    check_trainer(Fuse4Seg(bilevel="fixed"), settings=(Setting(2, 2),))
    task = example_task(2, 2, topology="image_level")
    trainer = Fuse4Seg(bilevel="fixed", aggregate="max")
    batch = example_batch(task)
    fused = trainer.fused(trainer.networks(task), batch)
    torch.testing.assert_close(fused, shown(batch.image, WINDOWS[:2]).amax(1, keepdim=True))


def loss_of(trainer: Fuse4Seg, nets: nn.ModuleDict, batches: dict[str, Batch], name: str, step: int = 50) -> Tensor:
    (objective,) = [item for item in trainer.objectives(TASK) if item.name == name]
    return torch.stack(
        [term.reshape(()) for term in objective.terms(nets, batches, Progress(step, 100)).values()]
    ).sum()


TASK = example_task(2, 2, topology="image_level")


def both(seed: int = 0) -> dict[str, Batch]:
    return {LOWER: each_shows_one_class(TASK, seed), UPPER: each_shows_one_class(TASK, seed + 1)}


@pytest.mark.parametrize("term", ["intensity", "gradient", "decomposition", "dice", "cross_entropy"])
def test_each_term_reaches_the_leaders_encoder(term: str) -> None:
    torch.manual_seed(0)
    trainer = Fuse4Seg(bilevel="joint")
    nets = trainer.networks(TASK).train()
    (objective,) = trainer.objectives(TASK)
    terms = objective.terms(nets, both(), Progress(50, 100))
    (value,) = [terms[name] for name in terms if name.startswith(term)][:1]
    value.backward()
    leader = nets[FUSER]
    assert isinstance(leader, Leader)
    gradients = [weight.grad for weight in leader.encoder.parameters()]
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)


@pytest.mark.parametrize("mode", MODES[1:])
def test_follower_steps_leave_the_leader_untouched_and_the_reverse(mode: str) -> None:
    torch.manual_seed(0)
    trainer = Fuse4Seg(bilevel=mode)  # type: ignore[arg-type]
    nets = trainer.networks(TASK).train()
    run = RunPlan.model_construct(seed=1, precision="fp32")
    stepper = Stepper(TASK, trainer, nets, run, torch.device("cpu"))
    follower, leader = stepper.descents

    def weights() -> dict[str, list[Tensor]]:
        return {name: [weight.detach().clone() for weight in nets[name].parameters()] for name in (FUSER, SEGMENTER)}

    def moved(before: dict[str, list[Tensor]], name: str) -> bool:
        return any(not torch.equal(a, b) for a, b in zip(before[name], nets[name].parameters(), strict=True))

    for descent, mover, still in ((follower, SEGMENTER, FUSER), (leader, FUSER, SEGMENTER)):
        before = weights()
        stepper._descend(descent, 50, both(), Progress(50, 100), 0.1)
        assert moved(before, mover) and not moved(before, still)


def test_the_leader_steps_once_in_so_many_and_learns_without_labels_first() -> None:
    trainer = Fuse4Seg(follower_steps=4, warm_up=0.2)
    nets = trainer.networks(TASK).train()
    follow, lead = trainer.objectives(TASK)
    early, later = Progress(10, 100), [Progress(step, 100) for step in range(20, 28)]
    assert set(lead.terms(nets, both(), early)) == {"intensity", "gradient", "decomposition"}
    assert not follow.terms(nets, both(), early)
    assert [bool(lead.terms(nets, both(), at)) for at in later] == [at.step % 4 == 0 for at in later]
    assert all(follow.terms(nets, both(), at) for at in later)


def test_gauss_newton_is_the_exact_hyper_gradient_of_a_quadratic_of_one_weight() -> None:
    """f = ½ (y - a x)², F = ½ (y - b)² + ½ c x²: at any y, ∇ₓF + a ∇ᵧF = c x + a (y - b)."""
    a, b, c = 1.7, 0.4, 0.3
    x, y = torch.tensor(0.9, requires_grad=True), torch.tensor(0.6, requires_grad=True)
    lower = (y - a * x).square() / 2
    upper = (y - b).square() / 2 + c * x.square() / 2
    assert abs(ratio(upper, lower, [y]).item()) < 1, "inside what is believed"
    correction = gauss_newton(upper, lower, [y])
    assert correction.item() == 0
    (found,) = torch.autograd.grad(upper + correction, x)
    assert found.item() == pytest.approx(c * 0.9 + a * (0.6 - b), rel=1e-5)


def test_the_correction_is_bounded_and_harmless_at_the_followers_optimum() -> None:
    x, y = torch.tensor(1.0, requires_grad=True), torch.tensor(1.0, requires_grad=True)
    upper = 5 * (y - 3).square()
    for gap in (0.0, 1e-6):
        lower = (y - x - gap).square() / 2
        (found,) = torch.autograd.grad(upper + gauss_newton(upper, lower, [y]), x, allow_unused=True)
        assert found is not None and found.isfinite() and found.abs() <= max(gap, 1e-30)
    unread = (x * 2).square()
    assert ratio(upper, unread, [y]).item() == 0


def test_one_step_ahead_has_the_gradient_of_the_step() -> None:
    """y' = y - r ∂f/∂y with f = ½ (y - a x)²: y' = y - r (y - a x), dy'/dx = r a."""
    follower = nn.Linear(1, 1, bias=False)
    x = torch.tensor([[0.8]], requires_grad=True)
    ahead = one_step_ahead(lambda w: (w["weight"] - 2.0 * x).square().sum() / 2, follower, 0.1)
    expected = follower.weight - 0.1 * (follower.weight - 2.0 * x)
    torch.testing.assert_close(ahead["weight"], expected)
    (slope,) = torch.autograd.grad(ahead["weight"].sum(), x)
    assert slope.item() == pytest.approx(0.2)


def test_without_its_imagined_step_unrolling_is_first_order() -> None:
    torch.manual_seed(0)
    nets = Fuse4Seg().networks(TASK).train()
    batches, gradients = both(), []
    for trainer in (Fuse4Seg(), Fuse4Seg(bilevel="unrolled", unroll_rate=0.0)):
        nets.zero_grad()
        loss_of(trainer, nets, batches, "fusion").backward()
        gradients.append([weight.grad.clone() for weight in nets[FUSER].parameters() if weight.grad is not None])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-6)


def test_foreseeing_modes_give_the_leader_another_gradient() -> None:
    torch.manual_seed(0)
    nets = Fuse4Seg().networks(TASK).train()
    found = []
    for trainer in (Fuse4Seg(), Fuse4Seg(bilevel="gauss_newton"), Fuse4Seg(bilevel="unrolled", unroll_rate=1.0)):
        nets.zero_grad()
        loss_of(trainer, nets, both(), "fusion").backward()
        found.append(torch.cat([w.grad.flatten() for w in nets[FUSER].parameters() if w.grad is not None]))
    assert not torch.allclose(found[0], found[1]) and not torch.allclose(found[0], found[2])


@pytest.mark.parametrize("term", ["intensity_weight", "gradient_weight", "decomposition_weight", "fusion_weight"])
def test_switching_a_term_off_is_a_field(term: str) -> None:
    trainer = replace(Fuse4Seg(bilevel="joint"), **{term: 0.0})
    nets = trainer.networks(TASK).train()
    (objective,) = trainer.objectives(TASK)
    names = set(objective.terms(nets, both(), Progress(50, 100)))
    gone = {term.removesuffix("_weight")} if term != "fusion_weight" else {"intensity", "gradient", "decomposition"}
    assert not names & gone and {"intensity", "gradient", "decomposition"} - gone <= names


def test_a_network_that_is_not_planned_for_a_fused_image_is_refused() -> None:
    with pytest.raises(UsageError, match="lie on each other") as caught:
        Fuse4Seg().networks(example_task(2, 2, topology="early"))
    assert "image_level" in str(caught.value.expected)


def test_one_small_case_is_learned_by_heart_and_both_modalities_are_needed() -> None:
    task = example_task(2, 2, topology="image_level")
    batch = each_shows_one_class(task, seed=5)
    assert batch.target is not None
    trainer = Fuse4Seg(bilevel="joint", warm_up=0.1)
    torch.manual_seed(0)
    nets = trainer.networks(task).train()
    optimiser = torch.optim.SGD(nets.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    (objective,) = trainer.objectives(task)
    for step in range(150):
        optimiser.zero_grad()
        loss = torch.stack(list(objective.terms(nets, {LOWER: batch}, Progress(step, 150)).values())).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(nets.parameters(), trainer.gradient_clip)
        optimiser.step()
    nets.eval()
    assert dice(trainer, nets, batch, batch.target) > 0.95
    for kept in ((True, False), (False, True)):
        alone = replace(batch, present=torch.tensor([kept] * len(batch.present)))
        assert dice(trainer, nets, alone, batch.target) < 0.8
