"""Fuse4Seg: what its leader keeps, what its losses say, and that leader and follower move apart from each other."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
import torch
from one_batch import dice, each_shows_one_class
from torch import Tensor, nn

from autofuse.foundation.errors import UsageError
from autofuse.losses.probabilities import mean_where
from autofuse.plan.types import NormalisationPlan
from autofuse.sampling.batch import Batch
from autofuse.testing import check_trainer, example_batch
from autofuse.testing.examples import example_task
from autofuse.testing.trainers import Setting
from autofuse.training.run import RunPlan
from autofuse.training.steps import Stepper
from autofuse.training.trainer import Progress
from autofuse_trainers.fuse4seg import FUSER, LOWER, SEGMENTER, UPPER, Fuse4Seg
from autofuse_trainers.fuse4seg.bilevel import gauss_newton, one_step_ahead, ratio
from autofuse_trainers.fuse4seg.fusion_loss import correlation, decomposition, edges, intensity
from autofuse_trainers.fuse4seg.leader import Coupling, Fused, Leader, aggregate, low_pass, slopes
from autofuse_trainers.fuse4seg.leader_spec import LeaderSpec, leader_spec
from autofuse_trainers.fuse4seg.window import STANDARD_SCORES, shown, window_of

WINDOWS = (STANDARD_SCORES,) * 3
MODES = ("joint", "first_order", "gauss_newton", "unrolled")


def spec_of(modalities: int = 3, dimensions: int = 2, width: int = 4, how: str = "max") -> LeaderSpec:
    task = example_task(modalities, dimensions, topology="image_level")  # type: ignore[arg-type]
    return leader_spec(task, how, width, (STANDARD_SCORES,) * modalities)  # type: ignore[arg-type]


def leader_of(modalities: int = 3, dimensions: int = 2, how: str = "max") -> Leader:
    """A leader whose every part has something to say."""
    torch.manual_seed(0)
    leader = spec_of(modalities, dimensions, how=how).build()
    for weight in leader.parameters():
        if not weight.detach().abs().max() > 0.1:
            nn.init.normal_(weight, std=0.3)
    return leader.eval()


def image_of(modalities: int = 3) -> Tensor:
    return torch.randn(2, modalities, 16, 24, generator=torch.Generator().manual_seed(3))


def fused_of(image: Tensor, sources: Tensor, present: Tensor | None = None) -> Fused:
    """A fused image and its sources, all between 0 and 1, without features."""
    there = torch.ones(sources.shape[:2], dtype=torch.bool) if present is None else present
    return Fused(image, sources, there.view(*there.shape, *(1,) * (sources.ndim - 2)), (), (), sources)


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


@pytest.mark.parametrize("dimensions", [2, 3])
def test_couplings_lose_nothing(dimensions: int) -> None:
    leader = leader_of(2, dimensions)
    features = torch.randn(2, 4, *(8,) * dimensions)
    for coupling in leader.couplings:
        assert isinstance(coupling, Coupling)
        changed = coupling(features)
        assert (changed - features).abs().max() > 0.1
        torch.testing.assert_close(coupling.inverse(changed), features, rtol=1e-4, atol=1e-5)


def test_the_order_of_modalities_does_not_matter() -> None:
    leader, image = leader_of(), image_of()
    expected = leader(image)
    for order in permutations(range(3)):
        found = leader(image[:, list(order)])
        torch.testing.assert_close(found.image, expected.image, rtol=1e-4, atol=1e-5)
        for loss in (lambda it: intensity(it, "max"), edges, decomposition):
            torch.testing.assert_close(loss(found), loss(expected), rtol=1e-4, atol=1e-6)


def test_two_modalities_are_the_general_form() -> None:
    """A third one that is nowhere there changes neither the image nor the losses."""
    leader, two = leader_of(3), leader_of(2)
    two.load_state_dict(leader.state_dict())
    image = image_of(3)
    present = torch.tensor([[True, True, False]] * 2)
    among, alone = leader(image, present), two(image[:, :2])
    torch.testing.assert_close(among.image, alone.image, rtol=1e-4, atol=1e-5)
    for loss in (lambda it: intensity(it, "max"), edges, decomposition):
        torch.testing.assert_close(loss(among), loss(alone), rtol=1e-4, atol=1e-6)


def test_an_absent_modality_is_not_looked_at_and_nobody_there_is_black() -> None:
    leader, image = leader_of(), image_of()
    present = torch.tensor([[True, True, False], [False, False, False]])
    found = leader(image, present).image
    spoiled = image.clone()
    spoiled[0, 2] = float("nan")
    torch.testing.assert_close(leader(spoiled, present).image[0], found[0])
    assert found[1].abs().max() == 0 and found[0].min() > 0
    fields = torch.ones(2, 3, 16, 24, dtype=torch.bool)
    fields[:, :, :, :4] = False
    assert leader(image, fields).image[..., :4].abs().max() == 0


def test_a_voxel_depends_on_its_surroundings_alone() -> None:
    """No statistics of the patch: patches of one image fit together without a seam."""
    leader = leader_of(2, 2)
    image = torch.randn(1, 2, 48, 48)
    whole = leader(image).image
    part = leader(image[:, :, 8:40, 8:40]).image
    reach = 14
    inside = (slice(None), slice(None), slice(reach, 32 - reach), slice(reach, 32 - reach))
    torch.testing.assert_close(part[inside], whole[:, :, 8:40, 8:40][inside], rtol=1e-4, atol=1e-5)


def test_a_fresh_leader_is_close_to_the_aggregate() -> None:
    torch.manual_seed(0)
    leader, image = spec_of().build(), image_of()
    plain = leader.plain(image).image
    within = (plain > 0.05) & (plain < 0.95)
    assert (leader(image).image - plain)[within].abs().max() < 0.1


def test_aggregates_by_hand() -> None:
    light = torch.tensor([[[0.2, 0.6, 0.5]], [[0.4, 0.1, 0.5]]]).view(1, 2, 1, 3)
    there = torch.ones(1, 2, 1, 1, dtype=torch.bool)
    assert aggregate(light, there, "max").flatten().tolist() == pytest.approx([0.4, 0.6, 0.5])
    assert aggregate(light, there, "mean").flatten().tolist() == pytest.approx([0.3, 0.35, 0.5])
    only = torch.tensor([True, False]).view(1, 2, 1, 1)
    for how in ("max", "mean", "saliency"):
        assert aggregate(light, only, how).flatten().tolist() == pytest.approx([0.2, 0.6, 0.5])  # type: ignore[arg-type]
    striped = torch.zeros(1, 2, 8, 8)
    striped[:, 0] = 0.5
    striped[:, 1, :, ::2] = 1.0
    assert aggregate(striped, there, "saliency")[..., 4, 4] > 0.99, "the striped one is followed"


def test_slopes_and_low_frequencies_by_hand() -> None:
    image = torch.tensor([[0.0, 1.0, 3.0], [2.0, 1.0, 0.0]]).view(1, 1, 2, 3)
    assert slopes(image).flatten().tolist() == [3.0, 2.0, 3.0, 1.0, 1.0, 0.0]
    assert low_pass(image, (0, 1)).flatten().tolist() == pytest.approx([0.5, 4 / 3, 2.0, 1.5, 1.0, 0.5])
    assert low_pass(image, (0, 0)) is image


def test_windows_are_what_a_scheme_can_hold() -> None:
    ct = NormalisationPlan(scheme="ct", mean=50.0, std=100.0, lower=-150.0, upper=250.0)
    assert window_of(ct) == (-2.0, 2.0)
    assert window_of(NormalisationPlan(scheme="rescale_0_1")) == (0.0, 1.0)
    assert window_of(NormalisationPlan(scheme="zscore")) == STANDARD_SCORES
    image = torch.tensor([-9.0, -2.0, 0.0, 1.0, 9.0]).view(1, 1, 1, 5)
    assert shown(image, [(-2.0, 2.0)]).flatten().tolist() == [0.0, 0.0, 0.5, 0.75, 1.0]


def test_the_image_terms_are_lowest_at_agreement() -> None:
    sources = torch.rand(2, 3, 8, 8)
    best = sources.amax(1, keepdim=True)
    assert intensity(fused_of(best, sources), "max").item() == 0
    assert intensity(fused_of(best + 0.1, sources), "max").item() == pytest.approx(0.1, rel=1e-4)
    alike = sources[:, :1].expand(-1, 3, -1, -1)
    assert edges(fused_of(alike[:, :1], alike)).item() == 0
    assert edges(fused_of(alike[:, :1].flip(2), alike)).item() > 0.1


def test_intensities_by_hand_and_absent_sources_do_not_count() -> None:
    sources = torch.tensor([0.2, 0.9]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    image = torch.full((1, 1, 2, 2), 0.5)
    assert intensity(fused_of(image, sources), "max").item() == pytest.approx(0.4)
    only = torch.tensor([[True, False]])
    assert intensity(fused_of(image, sources, only), "max").item() == pytest.approx(0.3)


def test_correlation_is_pearsons_over_the_voxels_that_count() -> None:
    first = torch.tensor([1.0, 2.0, 3.0, 9.0]).view(1, 1, 1, 4)
    second = torch.tensor([2.0, 4.0, 6.0, -5.0]).view(1, 1, 1, 4)
    three = torch.tensor([True, True, True, False]).view(1, 1, 1, 4)
    assert correlation(first, second, three).item() == pytest.approx(1.0, abs=1e-4)
    assert correlation(first, -second, three).item() == pytest.approx(-1.0, abs=1e-4)
    expected = torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1].item()
    everywhere = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    assert correlation(first, second, everywhere).item() == pytest.approx(expected, abs=1e-4)
    flat = torch.ones(1, 1, 1, 4)
    assert correlation(first, flat, everywhere).item() == 0


def test_the_decomposition_is_lowest_where_details_differ_and_falls_as_bases_agree() -> None:
    torch.manual_seed(0)
    one, other = torch.randn(2, 1, 4, 32, 32)
    presence = torch.ones(1, 2, 1, 1, dtype=torch.bool)
    image = torch.zeros(1, 1, 32, 32)

    def loss(bases: tuple[Tensor, Tensor], details: tuple[Tensor, Tensor]) -> float:
        return decomposition(Fused(image, image, presence, bases, details, image)).item()

    assert loss((one, one), (one, other)) < 0.01 < loss((one, one), (one, one)) == pytest.approx(1 / 2.01, rel=1e-3)
    assert loss((one, other), (one, one)) > loss((one, one), (one, one))
    nobody = Fused(image, image, presence & torch.tensor([True, False]).view(1, 2, 1, 1), (one, one), (one, one), image)
    assert decomposition(nobody).item() == 0


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


def test_the_leader_is_as_wide_as_planned_memory_holds() -> None:
    task = example_task(2, 3, topology="image_level")
    windows = (STANDARD_SCORES,) * 2
    chosen = leader_spec(task, "max", None, windows)
    assert chosen.width % 2 == 0 and chosen.width >= 2
    assert leader_spec(task, "max", 12, windows).width == 12
    wide = task.configuration.network.model_copy(update={"features": (64, 64, 64, 64)})
    plan = task.configuration.model_copy(update={"network": wide})
    assert leader_spec(replace(task, configuration=plan), "max", None, windows).width > chosen.width


def kept_elements(leader: Leader, image: Tensor) -> float:
    """float32 elements that autograd keeps for all of the losses, each memory once, weights left out."""
    weights = {weight.untyped_storage().data_ptr() for weight in leader.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        fused = leader(image)
        _ = intensity(fused, "max") + edges(fused) + decomposition(fused)
    return sum(kept.values()) / 4


@pytest.mark.parametrize(("modalities", "width"), [(1, 4), (2, 4), (2, 8), (3, 8), (4, 4)])
def test_memory_is_what_was_counted(modalities: int, width: int) -> None:
    spec = spec_of(modalities, 3, width)
    image = torch.randn(1, modalities, 16, 16, 16)
    measured = kept_elements(spec.build().train(), image)
    assert spec.cost((16, 16, 16)).activations == pytest.approx(measured, rel=0.05)


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


def test_means_over_nobody_are_nothing() -> None:
    assert mean_where(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 1, 1, dtype=torch.bool)).item() == 0
