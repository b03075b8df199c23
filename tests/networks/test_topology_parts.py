"""What each topology promises on its own: symmetry, isolation, means of probabilities, heads, fused images."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from measured_cost import STATISTICS_SHARE, measured_activations
from network_plans import everything, small_plan
from torch import Tensor, nn

from autofuse.networks import TOPOLOGIES, topology
from autofuse.networks.gather import largest
from autofuse.networks.heads import head_weights, merge_logits
from autofuse.networks.image_level import ImageLevel
from autofuse.networks.image_level_spec import FuserSpec, image_level
from autofuse.networks.per_modality import ChannelAttention, PerModality
from autofuse.networks.shared_kernels import ModalityNorm, SharedKernels
from autofuse.networks.specific_shared import SpecificShared
from autofuse.networks.specific_shared_spec import specific_shared
from autofuse.networks.specs import Sizes
from autofuse.networks.stems import GatedMerge, Stems
from autofuse.plan.cost import Cost


def network_of(name: str, modalities: int = 3, prior: int = 0, **changes: object) -> nn.Module:
    torch.manual_seed(0)
    plan = small_plan(dimensions=2, **changes)
    network = topology(name)(plan, modalities, prior, 3).build().eval()
    for key, weight in network.named_parameters():
        if "norm" not in key and not weight.detach().abs().max() > 0:
            nn.init.normal_(weight, std=0.3)
    return network


def image_of(channels: int = 3) -> Tensor:
    return torch.randn(2, channels, 16, 24)


def test_the_order_of_modalities_does_not_matter_to_the_cross_branch() -> None:
    network = network_of("specific_shared", prior=1)
    assert isinstance(network, SpecificShared)
    image, present = image_of(4), torch.tensor([[True, True, False], [True, True, True]])
    order = [2, 0, 1]
    expected = network(image, present)[0]
    network.encoders = nn.ModuleList(network.encoders[index] for index in order)
    swapped = network(torch.cat([image[:, order], image[:, 3:]], dim=1), present[:, order])[0]
    torch.testing.assert_close(swapped, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(network(image, present)[0], expected, atol=1e-3)


def test_the_order_of_modalities_does_not_matter_to_the_fused_image() -> None:
    network = network_of("image_level")
    assert isinstance(network, ImageLevel)
    image, order = image_of(), [1, 2, 0]
    torch.testing.assert_close(network.fuse(image[:, order]), network.fuse(image), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(network(image[:, order])[0], network(image)[0], rtol=1e-3, atol=1e-3)


def test_a_fused_image_lies_between_0_and_1_and_is_0_where_nobody_sees() -> None:
    network = network_of("image_level")
    assert isinstance(network, ImageLevel)
    present = torch.ones(2, 3, 16, 24, dtype=torch.bool)
    present[:, :, :4] = False
    fused = network.fuse(image_of(), present)
    assert fused.shape == (2, 1, 16, 24) and fused[:, :, :4].abs().max() == 0
    assert fused[:, :, 4:].min() > 0 and fused.max() < 1 and fused[:, :, 4:].std() > 0.01


class MeanSpec:
    """A fuser of somebody else's: the mean."""

    def cost(self, size: Sizes) -> Cost:
        return Cost()

    def build(self) -> nn.Module:
        class Mean(nn.Module):
            def forward(self, modalities: Tensor, presence: Tensor) -> Tensor:
                return modalities.mean(1, keepdim=True)

        return Mean()


def test_another_fuser_takes_the_place_of_ours() -> None:
    fuser: FuserSpec = MeanSpec()
    network = image_level(small_plan(dimensions=2), 3, 0, 3, fuser=fuser).build()
    image = image_of()
    torch.testing.assert_close(network.fuse(image), image.mean(1, keepdim=True))
    assert network(image)[0].shape == (2, 3, 16, 24)


def test_stems_are_isolated_and_one_modality_alone_is_merged_whole() -> None:
    network = network_of("stems")
    assert isinstance(network, Stems) and isinstance(network.merge, GatedMerge)
    features = [torch.randn(1, 4, 3, 3) for _ in range(3)]
    alone = torch.tensor([False, True, False]).view(1, 3, 1, 1)
    merged = network.merge(features, alone, features[0][:, :0])
    torch.testing.assert_close(merged, torch.cat([0 * features[0], features[1], 0 * features[2]], dim=1))
    untouched = [GatedMerge(network.merge.spec)(features, present, features[0][:, :0]) for present in (alone, ~alone)]
    torch.testing.assert_close(untouched[1], torch.cat([features[0] / 2, 0 * features[1], features[2] / 2], dim=1))


def test_stems_of_one_modality_are_the_planned_network() -> None:
    plan = small_plan()
    costs = [topology(name)(plan, 1, 0, 3).cost((16, 16, 16)) for name in ("stems", "early")]
    assert costs[0] == costs[1]


@pytest.mark.parametrize("name", ["late", "per_modality", "shared_kernels"])
def test_merged_logits_are_the_mean_of_the_present_ones_probabilities(name: str) -> None:
    network = network_of(name)
    image, present = image_of(), torch.tensor([[True, False, True], [True, True, True]])
    found = network.branches(image, present)  # type: ignore[operator]
    each = torch.stack([torch.softmax(levels[0], 1) for levels in found.specific], 1)
    expected = torch.stack([each[0, [0, 2]].mean(0), each[1].mean(0)])
    torch.testing.assert_close(torch.softmax(found.logits[0], 1), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network(image, present)[0], found.logits[0])
    assert [tuple(features.shape[2:]) for features in found.bottlenecks] == [(2, 3)] * 3


def test_regions_are_merged_as_sigmoids() -> None:
    torch.manual_seed(0)
    logits, weights = 8 * torch.randn(2, 3, 2, 4, 4), torch.softmax(torch.randn(2, 3, 4, 4), 1)
    merged = merge_logits(logits, weights, regions=True)
    torch.testing.assert_close(torch.sigmoid(merged), (weights.unsqueeze(2) * torch.sigmoid(logits)).sum(1))
    extreme = merge_logits(torch.full((1, 2, 1, 1, 1), 500.0), torch.full((1, 2, 1, 1), 0.5), regions=True)
    torch.testing.assert_close(extreme, torch.full((1, 1, 1, 1), 500.0))


@pytest.mark.parametrize("name", ["late", "per_modality", "shared_kernels"])
def test_regions_cost_what_they_keep(name: str) -> None:
    plan = small_plan(dimensions=2)
    spec = topology(name)(plan, 2, 1, 4, regions=True)
    kept = measured_activations(spec.build().train(), torch.randn(1, 3, 32, 24))
    assert kept == pytest.approx(spec.cost((32, 24)).activations, rel=STATISTICS_SHARE)


def test_what_nobody_sees_is_left_to_those_who_see_the_rest() -> None:
    presence = torch.zeros(2, 2, 4, 4, dtype=torch.bool)
    presence[0, 0, :2] = presence[0, 1, :1] = True
    weights = head_weights(presence, (4, 4))
    assert weights[0, :, :, 0].tolist() == [[0.5, 1.0, 0.5, 0.5], [0.5, 0.0, 0.5, 0.5]]
    assert (weights[1] == 0.5).all()


def test_each_modality_passes_shared_kernels_on_its_own() -> None:
    network = network_of("shared_kernels")
    assert isinstance(network, SharedKernels)
    for layer in network.modules():
        if isinstance(layer, ModalityNorm):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
    image = image_of()
    found = network.branches(image)
    for modality in range(3):
        alone = torch.zeros(2, 3, dtype=torch.bool)
        alone[:, modality] = True
        only = network(image, alone)[0]
        torch.testing.assert_close(torch.softmax(only, 1), torch.softmax(found.specific[modality][0], 1))


def test_unpaired_cases_train_shared_kernels_and_only_their_own_norms() -> None:
    network = network_of("shared_kernels").train()
    present = torch.tensor([[False, True, False], [True, False, False]])
    sum(level.square().mean() for level in network(image_of(), present)).backward()
    for layer in network.modules():
        if isinstance(layer, ModalityNorm):
            assert layer.weight.grad is not None
            assert [bool(row.abs().max() > 0) for row in layer.weight.grad] == [True, True, False]
    twin = copy.deepcopy(network).eval()  # as the moving average does
    assert twin.rows is next(layer for layer in twin.modules() if isinstance(layer, ModalityNorm)).rows  # type: ignore[union-attr]
    torch.testing.assert_close(twin(image_of()[:1])[0].shape, torch.Size([1, 3, 16, 24]))


def test_channel_attention_is_the_formula() -> None:
    torch.manual_seed(0)
    layer, features = ChannelAttention(), 0.2 * torch.randn(2, 5, 3, 4)
    torch.testing.assert_close(layer(features), features)
    nn.init.constant_(layer.gamma, 0.7)
    flat = features.flatten(2)
    energy = flat @ flat.transpose(1, 2)
    attention = torch.softmax(energy.max(-1, keepdim=True).values - energy, -1)
    torch.testing.assert_close(layer(features), features + 0.7 * (attention @ flat).view_as(features))


def test_modalities_meet_at_the_bottleneck_and_nowhere_else() -> None:
    network = network_of("per_modality")
    assert isinstance(network, PerModality)
    image, present = image_of(), torch.tensor([[True, False, True]] * 2)
    other = image.clone()
    other[:, 0] += 1.5 * torch.randn(2, 16, 24)
    first, second = network.branches(image, present), network.branches(other, present)
    torch.testing.assert_close(first.bottlenecks[2], second.bottlenecks[2])
    assert not torch.allclose(first.specific[2][0], second.specific[2][0])  # through the fused bottleneck


def test_specific_decoders_can_be_left_out_and_cost_nothing_then() -> None:
    plan = small_plan(dimensions=2)
    whole, lean = (specific_shared(plan, 2, 1, 3, specific_decoders=flag) for flag in (True, False))
    network = lean.build().train()
    assert network.branches(image_of()).specific == ()
    said = lean.cost((16, 24))
    assert said.parameters == sum(weight.numel() for weight in network.parameters()) < whole.cost((16, 24)).parameters
    kept = measured_activations(network, torch.randn(1, 3, 16, 24))
    assert kept == pytest.approx(said.activations, rel=2 * STATISTICS_SHARE)
    levels = whole.build().train().branches(image_of())
    assert len(levels.logits) == 2 and [len(specific) for specific in levels.specific] == [2, 2]


def test_the_largest_is_that_of_the_present_ones_with_their_gradient() -> None:
    features = [torch.tensor([[[[value]]]], requires_grad=True) for value in (-3.0, -1.0, 5.0)]
    found = largest(features, torch.tensor([True, True, False]).view(1, 3, 1, 1))
    found.sum().backward()
    assert found.item() == -1.0 and [float(one.grad or 0) for one in features] == [0.0, 1.0, 0.0]
    assert largest(features, torch.zeros(1, 3, 1, 1, dtype=torch.bool)).item() == 0.0


@pytest.mark.parametrize("name", sorted(TOPOLOGIES))
def test_one_small_case_is_learned_by_heart(name: str) -> None:
    """Two bright squares, each seen by one modality only."""
    torch.manual_seed(0)
    image, target = 0.3 * torch.randn(1, 2, 24, 24), torch.zeros(1, 24, 24, dtype=torch.long)
    for modality, start in enumerate((3, 14)):
        image[0, modality, start : start + 7, start : start + 7] += 2
        target[0, start : start + 7, start : start + 7] = 1
    network = topology(name)(small_plan(dimensions=2, features=(8, 16, 16, 16)), 2, 0, 2).build().train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(40):
        loss = sum(
            F.cross_entropy(level, target[:, :: 24 // level.shape[2], :: 24 // level.shape[3]])
            for level in everything(network, image)
            if level.shape[2] >= 12
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    found = network.eval()(image)[0].argmax(1)
    assert 2 * ((found == 1) & (target == 1)).sum() / ((found == 1).sum() + (target == 1).sum()) > 0.95
