"""Pseudo labels: both decoders learn from their mixture, which itself learns nothing; zero where they agree."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from one_batch import HALFWAY, dice, learned_by_heart, terms_of

from autofuse.dataset.types import IGNORE
from autofuse.foundation.errors import UsageError
from autofuse.networks.cost import decoder_cost, network_cost
from autofuse.testing import example_batch, example_task
from autofuse.testing.trial import Trial
from autofuse_trainers.pseudo_labels import PseudoLabels, dropped


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("topology", ["early", "stems", "specific_shared", "image_level"])
def test_the_term_reaches_the_encoder_and_both_decoders(topology: str, regions: bool) -> None:
    task = example_task(2, 2, topology=topology, regions=regions)
    nets = PseudoLabels().networks(task).train()
    terms_of(PseudoLabels(), nets, task, example_batch(task, labelled="none"))["pseudo_labels"].backward()
    for name in ("segmenter", "second"):
        assert any(weight.grad is not None and bool(weight.grad.any()) for weight in nets[name].parameters())


def test_it_is_zero_where_the_decoders_agree() -> None:
    head = torch.randn(2, 1, 3, 4, 4).log_softmax(2)
    assert PseudoLabels().pseudo_term(head, head.clone()).item() == pytest.approx(0.0, abs=1e-6)
    assert PseudoLabels().pseudo_term(head, torch.randn(2, 1, 3, 4, 4).log_softmax(2)).item() > 0.01


def test_two_annotators_who_differ_only_where_ignored_teach_the_same() -> None:
    task = example_task(2, 2)
    batch = example_batch(task)
    assert batch.target is not None
    disputed = torch.rand(batch.target.shape, generator=torch.Generator().manual_seed(3)) < 0.4
    found = []
    for truth in (batch.target, torch.where(disputed, (batch.target + 1) % 3, batch.target)):
        torch.manual_seed(0)
        nets = PseudoLabels().networks(task)
        masked = replace(batch, target=truth.masked_fill(disputed, IGNORE))
        loss = torch.stack(list(terms_of(PseudoLabels(), nets, task, masked, HALFWAY).values())).sum()
        found.append(loss.item())
    assert found[0] == found[1]


def test_whole_channels_are_dropped_and_the_rest_scaled_up() -> None:
    torch.manual_seed(0)
    (level,) = dropped([torch.ones(4, 50, 3, 3)], 0.5)
    channels = level.flatten(2)
    assert set(channels.unique().tolist()) == {0.0, 2.0} and torch.equal(channels.amin(2), channels.amax(2))
    assert 0.8 < float(level.mean()) < 1.2
    assert torch.equal(dropped([level], 0.0)[0], level)


def test_networks_with_several_encoders_have_no_decoder_to_double() -> None:
    with pytest.raises(UsageError, match="two decoders"):
        PseudoLabels().networks(example_task(2, 2, topology="late"))


def test_a_second_decoder_is_planned_for() -> None:
    network = example_task().configuration.network
    one = network_cost(network, 2, 3, (8, 8, 8))
    two = network_cost(network.model_copy(update={"decoders": 2}), 2, 3, (8, 8, 8))
    more = decoder_cost(network, 3, (8, 8, 8))
    trial = Trial(PseudoLabels(), example_task())
    assert two.parameters - one.parameters == more.parameters
    assert more.parameters == sum(weight.numel() for weight in trial.networks()["second"].parameters())
    assert two.activations == pytest.approx(one.activations + more.activations)


def test_over_fits_one_small_case() -> None:
    task, trainer = example_task(dimensions=2), PseudoLabels()
    truth = example_batch(task, seed=4).target
    batch = example_batch(task, labelled="sparse", seed=4)
    assert truth is not None
    assert dice(trainer, learned_by_heart(trainer, task, batch, 100), batch, truth) > 0.95
