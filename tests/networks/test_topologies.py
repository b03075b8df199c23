"""What every topology owes: any subset of modalities, nothing from absent ones, gradients, batch mates, cost."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from network_plans import PLANS, heads, small_plan
from torch import nn

from autofuse.dataset.types import LabelClass, Labels
from autofuse.foundation.errors import ModelError
from autofuse.losses import deep_supervision, dice_ce
from autofuse.networks import TOPOLOGIES, topology
from autofuse.networks.presence import (
    drop_modalities,
    gate_weights,
    mean_weights,
    set_modality_dropout,
    share_seen,
    without_absent,
)
from autofuse.plan.types import NetworkPlan

EVERY = sorted(TOPOLOGIES)
PATCH = {2: (16, 24), 3: (8, 16, 8)}
LABELS = Labels(classes=(LabelClass(name="one", raw_values=(1,)), LabelClass(name="two", raw_values=(2,))))


def built(name: str, plan: NetworkPlan, modalities: int = 2, prior: int = 0, outputs: int = 3) -> nn.Module:
    """The network with every gate and scale away from where it starts, so that nothing is hidden by a zero."""
    torch.manual_seed(0)
    network = topology(name)(plan, modalities, prior, outputs).build()
    for key, weight in network.named_parameters():
        if weight.ndim < 2 or not weight.detach().abs().max() > 0:
            nn.init.uniform_(weight, 0.2, 0.8) if "norm" in key else nn.init.normal_(weight, std=0.3)
    return network.eval()


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", EVERY)
def test_every_subset_gives_finite_logits_that_absent_modalities_do_not_change(name: str, dimensions: int) -> None:
    network = built(name, small_plan(dimensions=dimensions), modalities=3, prior=2)
    image = torch.randn(1, 5, *PATCH[dimensions])
    found = []
    with torch.no_grad():
        for subset in product([False, True], repeat=3):
            present = torch.tensor([subset])
            rubbish = image.clone()
            rubbish[:, :3][~present] = torch.nan
            logits = network(image, present)
            assert len(logits) == 1 and logits[0].shape == (1, 3, *PATCH[dimensions])
            assert logits[0].isfinite().all()
            torch.testing.assert_close(network(rubbish, present)[0], logits[0], rtol=0, atol=0)
            found.append(logits[0])
        torch.testing.assert_close(network(image)[0], found[-1])
    for index, one in enumerate(found):
        assert all((one - other).abs().max() > 1e-4 for other in found[:index])


@pytest.mark.parametrize("name", EVERY)
def test_voxels_that_a_modality_does_not_see_do_not_matter(name: str) -> None:
    network = built(name, small_plan())
    image = torch.randn(2, 2, 16, 16, 16)
    present = torch.ones(2, 2, 16, 16, 16, dtype=torch.bool)
    present[0, 1, :, 5:] = False
    present[:, :, :, :, 11:] = False  # seen by nobody
    rubbish = torch.where(present, image, torch.nan)
    with torch.no_grad():
        logits = network(image, present)[0]
        assert logits.isfinite().all()
        torch.testing.assert_close(network(rubbish, present)[0], logits, rtol=0, atol=0)
        assert not torch.allclose(logits, network(image)[0])
        whole = torch.ones_like(present)
        torch.testing.assert_close(network(image, whole)[0], network(image)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", EVERY)
def test_a_sample_does_not_depend_on_its_batch_mates_nor_on_their_presence(name: str, dimensions: int) -> None:
    network = built(name, small_plan(dimensions=dimensions), prior=1)
    image = torch.randn(3, 3, *PATCH[dimensions])
    present = torch.tensor([[True, False], [True, True], [False, True]])
    with torch.no_grad():
        together = network(image, present)[0]
        alone = [network(image[i : i + 1], present[i : i + 1])[0] for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("plan", ["plain 3D", "residual 2D", "anisotropic", "one stage", "no deep supervision"])
@pytest.mark.parametrize("name", EVERY)
def test_gradient_reaches_every_parameter_through_the_deeply_supervised_loss(name: str, plan: str) -> None:
    network, patch = built(name, PLANS[plan][0]).train(), PLANS[plan][1]
    target = torch.randint(0, 3, (2, *patch))
    for levels in heads(network, torch.randn(2, 2, *patch)):
        losses = deep_supervision(levels, target, lambda logits, labels: dice_ce(logits, labels, LABELS))
        sum(losses.values()).backward(retain_graph=True)  # type: ignore[union-attr]
    silent = [key for key, weight in network.named_parameters() if weight.grad is None or not weight.grad.abs().max()]
    assert silent == []
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())


@pytest.mark.parametrize("modalities", [1, 2, 4])
@pytest.mark.parametrize("name", EVERY)
def test_any_number_of_modalities_in_bf16_with_one_dropped(name: str, modalities: int) -> None:
    network = built(name, small_plan(modality_dropout=0.5), modalities, prior=1).train()
    image = torch.randn(2, modalities + 1, 16, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        levels = network(image)
    assert len(levels) == 2
    sum(level.float().square().mean() for level in levels).backward()
    gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", EVERY)
def test_bf16_gives_nearly_the_logits_of_fp32(name: str) -> None:
    network = built(name, small_plan())
    image = torch.randn(2, 2, 16, 16, 16)
    with torch.no_grad():
        exact = network(image)[0]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = network(image)[0]
    assert (rough - exact).abs().mean() < 0.1 * exact.std()


@pytest.mark.parametrize("name", EVERY)
def test_what_does_not_fit_is_named(name: str) -> None:
    network = built(name, small_plan())
    image = torch.randn(2, 2, 16, 16, 16)
    for present in (torch.ones(2, 3, dtype=torch.bool), torch.ones(2, 2, 8, 8, 8, dtype=torch.bool)):
        with pytest.raises(ModelError, match="present modalities"):
            network(image, present)
    for wrong in (torch.zeros(2, 3, 16, 16, 16), torch.zeros(2, 2, 16, 16)):
        with pytest.raises(ModelError, match="does not fit the network"):
            network(wrong)
    with pytest.raises(ModelError, match="strides"):
        network(torch.zeros(2, 2, 16, 12, 16))


@pytest.mark.parametrize("name", EVERY)
def test_fresh_logits_have_a_sensible_scale_for_any_subset(name: str) -> None:
    torch.manual_seed(0)
    network = topology(name)(small_plan(features=(16, 32, 32, 32)), 3, 0, 3).build().eval()
    image = torch.randn(1, 3, 16, 16, 16)
    with torch.no_grad():
        for subset in ([True, True, True], [True, False, False], [False, True, True]):
            assert 0.1 < network(image, torch.tensor([subset]))[0].std().item() < 3.0


def test_gates_of_any_subset_add_up_to_one() -> None:
    torch.manual_seed(0)
    scores, share = 50 * torch.randn(2, 3, 4, 4), (torch.rand(2, 3, 4, 4) - 0.4).clamp_min(0)
    for weights in (gate_weights(scores, share), mean_weights(share)):
        seen = (share > 0).any(1)
        assert seen.any() and not seen.all()
        torch.testing.assert_close(weights.sum(1), seen.float())
        assert weights[share == 0].abs().max() == 0
    sample = torch.tensor([[1.0, 0.0, 1.0]]).view(1, 3, 1, 1)
    torch.testing.assert_close(
        gate_weights(torch.zeros(1, 3, 4, 4), sample), torch.tensor([0.5, 0.0, 0.5]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    )


def test_a_coarse_voxel_counts_by_the_share_that_is_seen() -> None:
    presence = torch.zeros(1, 2, 4, 4, dtype=torch.bool)
    presence[0, 0, :, :3] = True
    presence[0, 1, 0, 0] = True
    share = share_seen(presence, (2, 2))
    assert share[0, 0].tolist() == [[1.0, 0.5], [1.0, 0.5]]
    assert share[0, 1].tolist() == [[0.25, 0.0], [0.0, 0.0]]
    assert share_seen(torch.ones(1, 2, 1, 1, dtype=torch.bool), (2, 2)).shape == (1, 2, 1, 1)


def test_modality_dropout_of_partly_seen_modalities_drops_whole_ones() -> None:
    torch.manual_seed(0)
    present = torch.zeros(2000, 3, 4, dtype=torch.bool)
    present[:, 0, :2] = present[:, 1, 1:] = True  # the third is never there
    kept = drop_modalities(present, 0.5)
    assert torch.equal(kept.flatten(2).any(2).unsqueeze(-1) & present, kept)
    assert kept.any(2).any(1).all() and not kept[:, 2].any()
    torch.testing.assert_close(kept[:, 0].any(1).float().mean(), torch.tensor(0.5 + 0.125), atol=0.04, rtol=0)


def test_zeros_stand_where_a_modality_sees_nothing() -> None:
    image = torch.randn(1, 3, 2, 2)
    present = torch.tensor([[[[True, False], [True, True]], [[False, False], [True, False]]]])
    seen = without_absent(image, present)
    assert torch.equal(seen[:, :2], image[:, :2] * present) and torch.equal(seen[:, 2], image[:, 2])


def test_modality_dropout_can_be_in_force_in_part() -> None:
    network = built("stems", small_plan(modality_dropout=0.8), 3).train()
    image, present = torch.randn(64, 3, 16, 8, 8), torch.ones(64, 3, dtype=torch.bool)
    kept = {}
    for share, whole in ((0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (1.0, 0.5), (1.0, 1.0)):
        set_modality_dropout(nn.ModuleDict({"segmenter": network}), share, whole)
        torch.manual_seed(0)
        kept[share, whole] = float(network.see(network.spec.inlet, image, present)[1].float().mean())
    assert kept[0.0, 0.0] == kept[1.0, 1.0] == 1.0
    assert 0.55 < kept[0.5, 0.0] < 0.7  # three of five stay, and a few that were a sample's last one
    assert kept[1.0, 0.0] < 0.45 < kept[1.0, 0.5] < 0.8
