"""Fuse4Seg's leader and the losses of a fused image: what it keeps, what it costs, and where they are lowest."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
import torch
from torch import Tensor, nn

from autofuse.losses.probabilities import mean_where
from autofuse.plan.types import NormalisationPlan
from autofuse.testing.examples import example_task
from autofuse_trainers.fuse4seg.aggregate import aggregate, local_mean, slopes
from autofuse_trainers.fuse4seg.fusion_loss import correlation, decomposition, edges, intensity
from autofuse_trainers.fuse4seg.leader import Coupling, Fused, Leader
from autofuse_trainers.fuse4seg.leader_spec import Aggregate, LeaderSpec, leader_spec
from autofuse_trainers.fuse4seg.window import STANDARD_SCORES, shown, window_of

WINDOWS = (STANDARD_SCORES,) * 3
EVEN = {2: (1.0, 1.0), 3: (1.0, 1.0, 1.0)}
"""Spacing per axis, as multiples of the shortest."""
AGGREGATES = pytest.mark.parametrize("how", ["max", "mean", "saliency", "pyramid"])


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
    """A fused image that departs from the brightest of its sources, all between 0 and 1, without features."""
    there = torch.ones(sources.shape[:2], dtype=torch.bool) if present is None else present
    there = there.view(*there.shape, *(1,) * (sources.ndim - 2))
    return Fused(image, aggregate(sources, there, "max", EVEN[sources.ndim - 2]), sources, there, (), (), sources)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_couplings_lose_nothing(dimensions: int) -> None:
    leader = leader_of(2, dimensions)
    features = torch.randn(2, 4, *(8,) * dimensions)
    for coupling in leader.couplings:
        assert isinstance(coupling, Coupling)
        changed = coupling(features)
        assert (changed - features).abs().max() > 0.1
        torch.testing.assert_close(coupling.inverse(changed), features, rtol=1e-4, atol=1e-5)


@AGGREGATES
def test_the_order_of_modalities_does_not_matter(how: str) -> None:
    leader, image = leader_of(how=how), image_of()
    expected = leader(image)
    for order in permutations(range(3)):
        found = leader(image[:, list(order)])
        torch.testing.assert_close(found.image, expected.image, rtol=1e-4, atol=1e-5)
        for loss in (intensity, edges, decomposition):
            torch.testing.assert_close(loss(found), loss(expected), rtol=1e-4, atol=1e-6)


@AGGREGATES
def test_two_modalities_are_the_general_form(how: str) -> None:
    """A third one that is nowhere there changes neither the image nor the losses."""
    leader, two = leader_of(3, how=how), leader_of(2, how=how)
    two.load_state_dict(leader.state_dict())
    image = image_of(3)
    present = torch.tensor([[True, True, False]] * 2)
    among, alone = leader(image, present), two(image[:, :2])
    torch.testing.assert_close(among.image, alone.image, rtol=1e-4, atol=1e-5)
    for loss in (intensity, edges, decomposition):
        torch.testing.assert_close(loss(among), loss(alone), rtol=1e-4, atol=1e-6)


@AGGREGATES
def test_an_absent_modality_is_not_looked_at_and_nobody_there_is_black(how: str) -> None:
    leader, image = leader_of(how=how), image_of()
    present = torch.tensor([[True, True, False], [False, False, False]])
    found = leader(image, present).image
    spoiled = image.clone()
    spoiled[0, 2] = float("nan")
    torch.testing.assert_close(leader(spoiled, present).image[0], found[0])
    assert found[1].abs().max() == 0 and found[0].min() > 0
    fields = torch.ones(2, 3, 16, 24, dtype=torch.bool)
    fields[:, :, :, :4] = False
    assert leader(image, fields).image[..., :4].abs().max() == 0


@AGGREGATES
def test_a_voxel_depends_on_its_surroundings_alone(how: str) -> None:
    """No statistics of the patch: patches of one image fit together without a seam."""
    leader = leader_of(2, 2, how)
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
    assert aggregate(light, there, "max", EVEN[2]).flatten().tolist() == pytest.approx([0.4, 0.6, 0.5])
    assert aggregate(light, there, "mean", EVEN[2]).flatten().tolist() == pytest.approx([0.3, 0.35, 0.5])
    only = torch.tensor([True, False]).view(1, 2, 1, 1)
    for how in ("max", "mean", "saliency"):
        assert aggregate(light, only, how, EVEN[2]).flatten().tolist() == pytest.approx([0.2, 0.6, 0.5])  # type: ignore[arg-type]
    striped = torch.zeros(1, 2, 8, 8)
    striped[:, 0] = 0.5
    striped[:, 1, :, ::2] = 1.0
    assert aggregate(striped, there, "saliency", EVEN[2])[..., 4, 4] > 0.99, "the striped one is followed"


@pytest.mark.parametrize("shape", [(24, 24), (1, 24, 24), (16, 24, 24)])
def test_a_pyramid_keeps_what_one_modality_alone_shows(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    axes, there = len(shape), torch.ones(1, 2, *(1,) * len(shape), dtype=torch.bool)
    light = 0.4 + 0.01 * torch.randn(1, 2, *shape)
    middle = (..., *(slice(max(count // 2 - 2, 0), count // 2 + 2) for count in shape))
    light[:, 0][middle] += 0.3  # bright in the first, and nothing in the second
    steps = EVEN[axes]

    def contrast(how: Aggregate) -> float:
        image = aggregate(light, there, how, steps)[:, 0]
        return float(image[middle].mean() - image.median())

    assert contrast("mean") == pytest.approx(0.15, abs=0.02)
    assert contrast("pyramid") > 0.25
    alike = light[:, :1].expand(-1, 2, *light.shape[2:])
    torch.testing.assert_close(aggregate(alike, there, "pyramid", steps), light[:, :1])


def test_a_pyramid_of_one_modality_is_that_modality_wherever_it_sees() -> None:
    light = torch.rand(1, 2, 12, 12)
    there = torch.ones(1, 2, 12, 12, dtype=torch.bool)
    there[:, 1] = False
    torch.testing.assert_close(aggregate(light, there, "pyramid", EVEN[2]), light[:, :1])
    there[:, 0, :5] = False
    found = aggregate(light, there, "pyramid", EVEN[2])
    torch.testing.assert_close(found[..., 5:, :], light[:, :1, 5:])
    assert found[..., :5, :].abs().max() == 0


def test_a_pyramid_does_not_blur_across_thick_slices() -> None:
    light = torch.rand(1, 2, 6, 12, 12)
    there = torch.ones(1, 2, 1, 1, 1, dtype=torch.bool)
    thick = aggregate(light, there, "pyramid", (10.0, 1.0, 1.0))
    slices = [aggregate(light[:, :, z], there[..., 0], "pyramid", EVEN[2]) for z in range(6)]
    torch.testing.assert_close(thick, torch.stack(slices, dim=2))


def test_slopes_and_low_frequencies_by_hand() -> None:
    image = torch.tensor([[0.0, 1.0, 3.0], [2.0, 1.0, 0.0]]).view(1, 1, 2, 3)
    assert slopes(image).flatten().tolist() == [3.0, 2.0, 3.0, 1.0, 1.0, 0.0]
    assert local_mean(image, (0, 1)).flatten().tolist() == pytest.approx([0.5, 4 / 3, 2.0, 1.5, 1.0, 0.5])
    assert local_mean(image, (0, 0)) is image


def test_local_means_can_be_differentiated_twice_and_reach_over_short_axes() -> None:
    image = torch.rand(1, 1, 5, 7, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: local_mean(x, (2, 1, 4)), image)
    assert torch.autograd.gradgradcheck(lambda x: local_mean(x, (2, 1, 4)).square(), image)
    flat = local_mean(image.detach(), (0, 0, 4))
    torch.testing.assert_close(flat, image.detach().mean(-1, keepdim=True).expand_as(flat))


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
    assert intensity(fused_of(best, sources)).item() == 0
    assert intensity(fused_of(best + 0.1, sources)).item() == pytest.approx(0.1, rel=1e-4)
    alike = sources[:, :1].expand(-1, 3, -1, -1)
    assert edges(fused_of(alike[:, :1], alike)).item() == 0
    assert edges(fused_of(alike[:, :1].flip(2), alike)).item() > 0.1


def test_intensities_by_hand_and_absent_sources_do_not_count() -> None:
    sources = torch.tensor([0.2, 0.9]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    image = torch.full((1, 1, 2, 2), 0.5)
    assert intensity(fused_of(image, sources)).item() == pytest.approx(0.4)
    only = torch.tensor([[True, False]])
    assert intensity(fused_of(image, sources, only)).item() == pytest.approx(0.3)


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
        return decomposition(Fused(image, image, image, presence, bases, details, image)).item()

    assert loss((one, one), (one, other)) < 0.01 < loss((one, one), (one, one)) == pytest.approx(1 / 2.01, rel=1e-3)
    assert loss((one, other), (one, one)) > loss((one, one), (one, one))
    absent = presence & torch.tensor([True, False]).view(1, 2, 1, 1)
    nobody = Fused(image, image, image, absent, (one, one), (one, one), image)
    assert decomposition(nobody).item() == 0


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
        _ = intensity(fused) + edges(fused) + decomposition(fused)
    return sum(kept.values()) / 4


@pytest.mark.parametrize(("modalities", "width"), [(1, 4), (2, 4), (2, 8), (3, 8), (4, 4)])
def test_memory_is_what_was_counted(modalities: int, width: int) -> None:
    spec = spec_of(modalities, 3, width)
    image = torch.randn(1, modalities, 16, 16, 16)
    measured = kept_elements(spec.build().train(), image)
    assert spec.cost((16, 16, 16)).activations == pytest.approx(measured, rel=0.05)


def test_means_over_nobody_are_nothing() -> None:
    assert mean_where(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 1, 1, dtype=torch.bool)).item() == 0
