"""The built networks: shapes, gradients, independence of batch mates, absent modalities, odd sizes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from network_plans import PLANS, small_plan
from torch import Tensor, nn

from autofuse.foundation.errors import ModelError
from autofuse.networks.blocks import InstanceNorm
from autofuse.networks.presence import drop_modalities, without_absent
from autofuse.networks.specs import ConvolutionSpec
from autofuse.networks.topologies import early
from autofuse.plan.types import NetworkPlan


def built(plan: NetworkPlan, modalities: int = 2, outputs: int = 3, prior: int = 0) -> nn.Module:
    torch.manual_seed(0)
    return early(plan, modalities, prior, outputs).build()


@pytest.mark.parametrize("name", PLANS)
def test_logits_have_the_size_of_the_image_and_lower_stages_follow(name: str) -> None:
    plan, patch = PLANS[name]
    network = built(plan)
    image = torch.randn(2, 2, *patch)
    levels = network.train()(image)
    stages = len(plan.features)
    assert len(levels) == (max(1, stages - 2) if plan.deep_supervision else 1)
    size = patch
    for index, level in enumerate(levels):
        size = tuple(voxels // step for voxels, step in zip(size, plan.strides[index], strict=True))
        assert level.shape == (2, 3, *size)
    only = network.eval()(image)
    assert len(only) == 1
    torch.testing.assert_close(only[0], levels[0])


@pytest.mark.parametrize("name", PLANS)
def test_gradient_reaches_every_parameter(name: str) -> None:
    plan, patch = PLANS[name]
    network = built(plan).train()
    for layer in network.modules():
        if isinstance(layer, InstanceNorm):  # residual branches begin at scale 0, which hides what lies before
            nn.init.uniform_(layer.weight, 0.5, 1.5)
    sum(level.square().mean() for level in network(torch.randn(2, 2, *patch))).backward()
    silent = [key for key, weight in network.named_parameters() if weight.grad is None or not weight.grad.abs().max()]
    assert silent == []


@pytest.mark.parametrize("name", ["plain 3D", "residual 2D"])
def test_a_sample_does_not_depend_on_its_batch_mates(name: str) -> None:
    plan, patch = PLANS[name]
    network = built(plan).eval()
    image = torch.randn(3, 2, *patch)
    with torch.no_grad():
        together = network(image)[0]
        alone = torch.cat([network(sample[None])[0] for sample in image])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_sizes_that_the_strides_do_not_divide_are_named() -> None:
    network = built(small_plan())
    with pytest.raises(ModelError) as caught:
        network(torch.zeros(1, 2, 16, 12, 16))
    assert "(16, 12, 16)" in str(caught.value) and "(8, 8, 8)" in str(caught.value)
    with pytest.raises(ModelError, match="does not fit the network"):
        network(torch.zeros(1, 3, 16, 16, 16))


def test_a_stage_of_one_voxel_trains_and_predicts_alike() -> None:
    network = built(small_plan())
    image = torch.randn(1, 2, 8, 8, 8)
    levels = network.train()(image)
    sum(level.square().mean() for level in levels).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())
    torch.testing.assert_close(network.eval()(image)[0], levels[0])


@pytest.mark.parametrize("name", ["plain 3D", "residual 2D"])
def test_bf16_autocast_gives_nearly_the_same_logits(name: str) -> None:
    plan, patch = PLANS[name]
    network = built(plan).train()
    image = torch.randn(2, 2, *patch)
    exact = network(image)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        levels = network(image)
    rough = levels[0]
    assert rough.dtype == torch.bfloat16
    sum(level.float().square().mean() for level in levels).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())
    assert (rough - exact).abs().mean() < 0.05 * exact.std()


@pytest.mark.parametrize("size", [(2, 4, 4), (2, 1, 3), (4, 4, 4), (1, 2, 2), (2, 8), (1, 1)], ids=str)
@pytest.mark.parametrize("step", [1, 2])
def test_bf16_weight_gradients_are_those_of_fp32(size: tuple[int, ...], step: int) -> None:
    """Fails without the care for short axes on CPUs that have bf16 instructions."""
    torch.manual_seed(0)
    axes = len(size)
    block = ConvolutionSpec(16, 32, (3,) * axes, (step,) * axes).build()
    block.norm = nn.Identity()
    image = torch.randn(2, 16, *size)
    weighting = torch.randn_like(block(image))
    gradients = []
    for reduced in (False, True):
        block.zero_grad()
        rubbish = [torch.full((count,), 1e4) for count in (64, 1000, 5000, 20000, 100000)]
        del rubbish  # what a kernel would read that does not clear its memory
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=reduced):
            features = block(image)
        (features.float() * weighting).sum().backward()
        gradients.append(block.convolution.weight.grad.clone())
    exact, rough = gradients
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()


def test_instance_norm_is_torchs() -> None:
    norm = InstanceNorm(4, activated=True)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    features = torch.randn(2, 4, 5, 6, 7, requires_grad=True)
    expected = F.leaky_relu(F.instance_norm(features, weight=norm.weight, bias=norm.bias), 0.01)
    torch.testing.assert_close(norm(features), expected)
    (ours,) = torch.autograd.grad(norm(features).pow(3).sum(), features)
    (theirs,) = torch.autograd.grad(expected.pow(3).sum(), features)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_absent_modalities_do_not_matter_whatever_the_image_holds_there() -> None:
    network = built(small_plan(), prior=1).eval()
    image = torch.randn(2, 3, 8, 8, 8)
    present = torch.tensor([[True, False], [True, True]])
    rubbish = image.clone()
    rubbish[0, 1] = torch.nan
    torch.testing.assert_close(network(rubbish, present)[0], network(image, present)[0])
    zeroed = without_absent(image, present)
    assert zeroed[0, 1].abs().max() == 0
    assert torch.equal(zeroed[0, [0, 2]], image[0, [0, 2]]) and torch.equal(zeroed[1], image[1])
    assert not torch.allclose(network(image, present)[0][0], network(image, None)[0][0])
    with pytest.raises(ModelError, match="present modalities"):
        network(image, torch.ones(2, 3, dtype=torch.bool))


def test_modality_dropout_spares_the_last_one_and_keeps_its_rate() -> None:
    torch.manual_seed(0)
    present = torch.tensor([[True, True, True, False]]).expand(4000, 4)
    kept = drop_modalities(present, 0.4)
    assert not kept[:, 3].any() and kept.any(1).all()
    assert torch.equal(drop_modalities(present, 1.0).sum(1), torch.ones(4000, dtype=torch.long))
    # Dropped unless it is the luckiest and all fell: 0.4 - 0.4 ** 3 / 3.
    torch.testing.assert_close(kept[:, :3].float().mean(), torch.tensor(1 - 0.4 + 0.4**3 / 3), atol=0.02, rtol=0)
    assert torch.equal(drop_modalities(present, 0.0), present)


def test_modality_dropout_acts_while_training_only() -> None:
    network = built(small_plan(modality_dropout=0.9))
    image = torch.randn(4, 2, 8, 8, 8)

    def spread(outputs: list[Tensor]) -> float:
        return max(float((output - outputs[0]).detach().abs().max()) for output in outputs)

    assert spread([network.train()(image)[0] for _ in range(4)]) > 1e-3
    assert spread([network.eval()(image)[0] for _ in range(4)]) < 1e-6


def test_fresh_features_keep_their_scale() -> None:
    torch.manual_seed(0)
    logits = built(small_plan(features=(16, 32, 32, 32))).eval()(torch.randn(2, 2, 16, 16, 16))[0]
    assert 0.3 < logits.std().item() < 3.0
