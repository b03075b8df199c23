"""CmFNet: every term reaches what it should train, is lowest at agreement, knows no order of modalities."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from one_batch import dice, each_shows_one_class, learned_by_heart, terms_of
from torch import Tensor, nn

from autofuse.dataset.types import IGNORE
from autofuse.losses import Neighbourhood, gated_crf
from autofuse.networks.specific_shared import SpecificShared
from autofuse.plan.task import Task
from autofuse.sampling.batch import Batch
from autofuse.testing import example_batch, example_task
from autofuse.testing.trial import without_modality
from autofuse.training.trainer import Progress
from autofuse_trainers.cmfnet import CmFNet, look, mean_of_heads
from autofuse_trainers.partial import Partial

TERMS = ("dice", "cross_entropy", "intra_modal", "inter_modal")
EITHER = pytest.mark.parametrize("regions", [False, True], ids=["classes", "regions"])


def task_of(modalities: int = 2, **options: object) -> Task:
    return example_task(modalities, 2, topology="specific_shared", **options)  # type: ignore[arg-type]


def networks(task: Task, trainer: CmFNet | None = None) -> nn.ModuleDict:
    """With gates that are not even, so that no gradient is zero by symmetry."""
    torch.manual_seed(1)
    nets = (trainer or CmFNet()).networks(task).train()
    with torch.no_grad():
        for weight in nets.parameters():
            weight += 0.02 * torch.randn_like(weight)
    return nets


def parts(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The encoders and decoders of the network, and its cross branch."""
    assert isinstance(network, SpecificShared)
    for kind in ("encoders", "decoders"):
        yield from ((f"{kind}.{index}", part) for index, part in enumerate(getattr(network, kind)))
    for kind in ("gathers", "stages", "decoder"):
        yield kind, getattr(network, kind)


@EITHER
@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize("term", TERMS)
def test_every_term_reaches_every_encoder_and_decoder(term: str, modalities: int, regions: bool) -> None:
    task = task_of(modalities, regions=regions)
    nets, batch = networks(task), example_batch(task, labelled="sparse")
    terms_of(CmFNet(), nets, task, batch)[term].backward()
    for name, part in parts(nets["segmenter"]):
        reached = [weight.grad is not None and bool(weight.grad.any()) for weight in part.parameters()]
        assert any(reached), f"{term} does not reach {name}"


def permuted(nets: nn.ModuleDict, order: list[int]) -> nn.ModuleDict:
    """The same networks for modalities in another order."""
    network = nets["segmenter"]
    assert isinstance(network, SpecificShared)
    network.encoders = nn.ModuleList(network.encoders[index] for index in order)
    network.decoders = nn.ModuleList(network.decoders[index] for index in order)
    return nets


@pytest.mark.parametrize("term", TERMS)
def test_no_term_knows_an_order_of_the_modalities(term: str) -> None:
    task, order = task_of(3), [2, 0, 1]
    batch = without_modality(example_batch(task, labelled="sparse"), 1, 0)
    other = replace(batch, image=batch.image[:, order], present=batch.present[:, order])
    one = terms_of(CmFNet(), networks(task), task, batch)[term]
    two = terms_of(CmFNet(), permuted(networks(task), order), task, other)[term]
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_two_modalities_are_no_special_case() -> None:
    """With M = 2, L_inter = D(p_1, p_x) + D(p_2, p_x) and L_intra is the sum of three energies."""
    task, trainer = task_of(2), CmFNet(ramp=0.0, inter_weight=1.0)
    nets, batch = networks(task), example_batch(task)
    found = terms_of(trainer, nets, task, batch)
    branches = nets["segmenter"].branches(batch.image, batch.present)  # type: ignore[operator]
    x, a, b = (levels[0].log_softmax(1) for levels in (branches.logits, *branches.specific))

    def apart(p: Tensor, q: Tensor) -> Tensor:
        return ((p.exp() - q.exp()) * (p - q)).sum(1).mean() / 2

    torch.testing.assert_close(found["inter_modal"], apart(a, x) + apart(b, x))
    near = Neighbourhood()
    energies = [
        gated_crf(head.exp().unsqueeze(1), image, batch.spacing_mm, near)
        for head, image in ((x, batch.image), (a, batch.image[:, :1]), (b, batch.image[:, 1:]))
    ]
    torch.testing.assert_close(found["intra_modal"], torch.stack(energies).sum())


def test_consistency_is_zero_where_heads_agree() -> None:
    task, trainer = task_of(2), CmFNet()
    logits = torch.randn(2, 1, 3, 8, 8).log_softmax(2)
    presence = torch.ones(2, 2, 1, 1, dtype=torch.bool)
    assert trainer.inter_modal([logits, logits.clone(), logits.clone()], presence).item() == 0
    sure = torch.full((2, 1, 3, 8, 8), -50.0)
    sure[:, :, 1] = 0.0
    assert trainer.intra_modal([sure] * 3, presence, example_batch(task)).item() == pytest.approx(0.0, abs=1e-6)


@EITHER
def test_two_annotators_who_differ_only_where_ignored_teach_the_same(regions: bool) -> None:
    task = task_of(2, regions=regions)
    batch = example_batch(task)
    assert batch.target is not None
    disputed = torch.rand(batch.target.shape, generator=torch.Generator().manual_seed(3)) < 0.4
    found = []
    for truth in (batch.target, torch.where(disputed, (batch.target + 1) % 3, batch.target)):
        nets = networks(task)
        masked = replace(batch, target=truth.masked_fill(disputed, IGNORE))
        loss = torch.stack(list(terms_of(CmFNet(), nets, task, masked).values())).sum()
        found.append((loss.item(), torch.autograd.grad(loss, list(nets.parameters()))))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(one, two) for one, two in zip(found[0][1], found[1][1], strict=True))


def test_an_unlabelled_case_teaches_by_the_regularisers_alone() -> None:
    task = task_of(2)
    found = terms_of(CmFNet(), networks(task), task, example_batch(task, labelled="none"))
    assert found["dice"].item() == found["cross_entropy"].item() == 0
    assert found["intra_modal"].item() > 0 and found["inter_modal"].item() > 0


def test_the_head_of_an_absent_modality_learns_nothing() -> None:
    task = task_of(2)
    batch = example_batch(task)
    alone = replace(batch, present=torch.tensor([[True, False]] * 2))
    nets = networks(task)
    torch.stack(list(terms_of(CmFNet(), nets, task, alone).values())).sum().backward()
    reached = {
        name: any(weight.grad is not None and bool(weight.grad.any()) for weight in part.parameters())
        for name, part in parts(nets["segmenter"])
    }
    assert not reached["decoders.1"] and not reached["encoders.1"]
    assert reached["decoders.0"] and reached["encoders.0"] and reached["decoder"]


def test_every_part_is_a_flag() -> None:
    task = task_of(2)
    nets, batch = networks(task), example_batch(task)
    names = {
        "intra": set(terms_of(CmFNet(intra_weight=0.0), nets, task, batch)),
        "inter": set(terms_of(CmFNet(inter_weight=0.0), nets, task, batch)),
    }
    assert names == {"intra": set(TERMS) - {"intra_modal"}, "inter": set(TERMS) - {"inter_modal"}}
    twice = terms_of(CmFNet(intra_weight=2.0, inter_weight=2.0), nets, task, batch)
    once = terms_of(CmFNet(intra_weight=1.0, inter_weight=1.0), nets, task, batch)
    for name in ("intra_modal", "inter_modal"):
        torch.testing.assert_close(twice[name], 2 * once[name])
    late, early = (terms_of(CmFNet(), nets, task, batch, Progress(step, 100)) for step in (99, 1))
    assert late["inter_modal"] > 50 * early["inter_modal"]


def test_without_regularisers_it_is_partial_on_another_network() -> None:
    task = example_task(2, 2)
    nets, batch = networks(task), example_batch(task, labelled="sparse")
    plain = terms_of(CmFNet(intra_weight=0.0, inter_weight=0.0), nets, task, batch)
    partial = terms_of(Partial(), nets, task, batch)
    assert {name: value.item() for name, value in plain.items()} == {k: v.item() for k, v in partial.items()}


def test_without_specific_heads_only_the_cross_head_is_trained() -> None:
    task, trainer = task_of(2), CmFNet(specific_heads=False)
    nets = networks(task, trainer)
    assert not len(nets["segmenter"].decoders)  # type: ignore[arg-type]
    found = terms_of(trainer, nets, task, example_batch(task))
    assert set(found) == set(TERMS) - {"inter_modal"}


@pytest.mark.parametrize("topology", ["late", "per_modality", "early", "stems", "shared_kernels"])
def test_without_the_cross_branch_it_trains_other_networks(topology: str) -> None:
    """That is how its parts are told apart: the same trainer on another topology."""
    task = example_task(2, 2, topology=topology)
    nets, batch = networks(task), example_batch(task, labelled="sparse")
    found = terms_of(CmFNet(), nets, task, batch)
    heads = topology in ("late", "per_modality", "shared_kernels")
    assert ("inter_modal" in found) == heads
    assert all(value.isfinite() for value in found.values())
    if heads:
        assert found["inter_modal"] > 0


@EITHER
def test_the_mean_of_all_heads_predicts_too(regions: bool) -> None:
    task, trainer = task_of(2, regions=regions), CmFNet(predict_with="mean")
    nets = networks(task).eval()
    batch: Batch = without_modality(example_batch(task), 0, 1)
    with torch.no_grad():
        branches = look(nets["segmenter"], batch)  # type: ignore[arg-type]
        x, a, b = (
            levels[0].sigmoid() if regions else levels[0].softmax(1) for levels in (branches.logits, *branches.specific)
        )
        logits = trainer.segment(nets, batch)
        torch.testing.assert_close(logits, mean_of_heads(nets["segmenter"], branches))  # type: ignore[arg-type]
        found = logits.sigmoid() if regions else logits.softmax(1)
    torch.testing.assert_close(found[0], (x[0] + a[0]) / 2, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[1], (x[1] + a[1] + b[1]) / 3, atol=1e-5, rtol=1e-4)


def test_over_fits_one_small_case() -> None:
    """Dice above 0.95 on every voxel, also on those whose label it never saw."""
    task, trainer = task_of(2), CmFNet()
    truth = example_batch(task, seed=4).target
    batch = example_batch(task, labelled="sparse", seed=4)
    assert truth is not None
    assert dice(trainer, learned_by_heart(trainer, task, batch, 160), batch, truth) > 0.95


def test_two_modalities_beat_either_alone() -> None:
    """Each modality shows one of the two classes only; judged on a batch that was not trained on."""
    task, trainer = task_of(2), CmFNet()
    scores = []
    for kept in ((True, True), (True, False), (False, True)):
        nets, test = (
            learned_by_heart(trainer, task, each_shows_one_class(task, 1, kept), 120),
            each_shows_one_class(task, 2, kept),
        )
        assert test.target is not None
        scores.append(dice(trainer, nets, test, test.target))
    assert scores[0] > 0.8 and scores[0] > max(scores[1:]) + 0.4
