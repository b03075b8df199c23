"""The conformance suite finds what is wrong with bad trainers and planners, and says how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from autofuse.dataset.types import Labels
from autofuse.fingerprint.types import Fingerprint
from autofuse.foundation.registry import PLANNERS, load_registered
from autofuse.networks import build_network
from autofuse.plan.task import Task
from autofuse.plan.types import Budget, Plan
from autofuse.sampling.batch import Batch
from autofuse.testing import ConformanceError, MadeUpDataset, Setting, check_planner, check_trainer, example_fingerprint
from autofuse.training.trainer import Batches, Objective, Progress, Stream, Trainer

TRIED = (Setting(modalities=2, dimensions=2),)


def brier(logits: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of the softmax on labelled voxels: a loss of nobody's, but a sound one."""
    truth = torch.nn.functional.one_hot(target.clamp(min=0), logits.shape[1]).movedim(-1, 1)
    error = (logits.float().softmax(1) - truth).square().sum(1)
    labelled = target >= 0
    return (error * labelled).sum() / labelled.sum().clamp(min=1)


@dataclass(frozen=True)
class Good(Trainer):
    """Keeps every rule; the bad ones below break one each."""

    name: ClassVar[str] = "good"

    def networks(self, task: Task) -> nn.ModuleDict:
        return nn.ModuleDict({"net": build_network(task)})

    def objectives(self, task: Task) -> tuple[Objective, ...]:
        def terms(nets: nn.ModuleDict, batches: Batches, progress: Progress) -> Mapping[str, Tensor]:
            batch = batches["labelled"]
            assert batch.target is not None
            return self.learn(nets, batch, self.logits(nets, batch), batch.target)

        return (Objective("fit", moves=("net",), terms=terms),)

    def learn(self, nets: nn.ModuleDict, batch: Batch, logits: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        return {"brier": brier(logits, target)}

    def logits(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        logits: Tensor = nets["net"](batch.inputs(), batch.present)[0]
        return logits

    def segment(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        return self.logits(nets, batch)


def test_a_sound_trainer_passes_and_leaves_the_random_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    tried = (*TRIED, Setting(modalities=1, dimensions=3), Setting(modalities=3, dimensions=2, cascade=True))
    assert all(result.passed for result in check_trainer(Good, settings=tried))
    assert torch.equal(torch.rand(1), expected)


@dataclass(frozen=True)
class Nameless(Good):
    name: ClassVar[str] = "My Method!"


@dataclass(frozen=True)
class HoldsATensor(Good):
    weights: Any = field(default_factory=lambda: torch.ones(2))


@dataclass(frozen=True)
class HoldsAList(Good):
    weights: list[float] = field(default_factory=lambda: [1.0])


@dataclass(frozen=True)
class SameStreams(Good):
    def streams(self) -> tuple[Stream, ...]:
        return (Stream(), Stream(foreground=0.5))


@dataclass(frozen=True)
class SharesMemory(Good):
    def networks(self, task: Task) -> nn.ModuleDict:
        net = build_network(task)
        return nn.ModuleDict({"net": net, "twin": net})


@dataclass(frozen=True)
class MovesNothingKnown(Good):
    def objectives(self, task: Task) -> tuple[Objective, ...]:
        return (replace(super().objectives(task)[0], moves=("network",)),)


@dataclass(frozen=True)
class DividesByZero(Good):
    def learn(self, nets: nn.ModuleDict, batch: Batch, logits: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        return {"cross_entropy": torch.nn.functional.cross_entropy(logits, target, ignore_index=-1)}


@dataclass(frozen=True)
class GivesNaN(Good):
    def learn(self, nets: nn.ModuleDict, batch: Batch, logits: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        return {"brier": brier(logits, target), "odd": (logits - logits).sum().log() * 0}


@dataclass(frozen=True)
class GivesAMap(Good):
    def learn(self, nets: nn.ModuleDict, batch: Batch, logits: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        return {"map": logits.square()}


@dataclass(frozen=True)
class Detaches(Good):
    def learn(self, nets: nn.ModuleDict, batch: Batch, logits: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        return {"brier": brier(logits.detach(), target)}


@dataclass(frozen=True)
class OneOfTwoIsDeaf(Good):
    def networks(self, task: Task) -> nn.ModuleDict:
        return nn.ModuleDict({"net": build_network(task), "other": nn.Conv2d(1, 1, 1)})

    def objectives(self, task: Task) -> tuple[Objective, ...]:
        return (replace(super().objectives(task)[0], moves=("net", "other")),)


@dataclass(frozen=True)
class ClimbsUp(Good):
    def learn(self, nets: nn.ModuleDict, batch: Batch, logits: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        loss = brier(logits, target)
        return {"similarity": 2 * loss.detach() - loss}  # the gradient has the wrong sign


@dataclass(frozen=True)
class TakesStepsItself(Good):
    def learn(self, nets: nn.ModuleDict, batch: Batch, logits: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        with torch.no_grad():
            next(nets.parameters()).mul_(0.99)
        return super().learn(nets, batch, self.logits(nets, batch), target)


@dataclass(frozen=True)
class WritesIntoTheBatch(Good):
    def learn(self, nets: nn.ModuleDict, batch: Batch, logits: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        loss = brier(logits, target)
        batch.image.zero_()
        return {"brier": loss}


@dataclass(frozen=True)
class IgnoresLabels(Good):
    def learn(self, nets: nn.ModuleDict, batch: Batch, logits: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        return {"size": logits.square().mean()}


@dataclass(frozen=True)
class IgnoredIsBackground(Good):
    def learn(self, nets: nn.ModuleDict, batch: Batch, logits: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        return {"brier": brier(logits, target.clamp(min=0))}


@dataclass(frozen=True)
class BreaksWithoutAModality(Good):
    def logits(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        scale = batch.image.flatten(2).std(2)[:, :, None, None]
        normal: Tensor = nets["net"](batch.image / scale)[0]
        return normal


@dataclass(frozen=True)
class TooSmall(Good):
    def segment(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        return self.logits(nets, batch)[..., ::2]


@dataclass(frozen=True)
class Guesses(Good):
    def segment(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        logits = self.logits(nets, batch)
        return logits + torch.randn_like(logits)


@dataclass(frozen=True)
class NeedsATarget(Good):
    def segment(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        assert batch.target is not None
        return self.logits(nets, batch)


@dataclass(frozen=True)
class SaysItFuses(Good):
    def fuses(self, task: Task) -> bool:
        return True


@dataclass(frozen=True)
class TooBright(SaysItFuses):
    def fused(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        return 2 + batch.image[:, :1]


@dataclass(frozen=True)
class OneHeadForAll(Good):
    masks_each: ClassVar[bool] = True

    def learn(self, nets: nn.ModuleDict, batch: Batch, logits: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        one = target if target.ndim == batch.image.ndim - 1 else target[:, 0]
        return super().learn(nets, batch, logits, one)

    def segment_each(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        return self.segment(nets, batch)


@dataclass(frozen=True)
class LooksAtMates(Good):
    def logits(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        logits: Tensor = nets["net"](batch.image - batch.image.mean(0), batch.present)[0]
        return logits


@dataclass(frozen=True)
class Remembers(Good):
    seen: ClassVar[list[int]] = []

    def learn(self, nets: nn.ModuleDict, batch: Batch, logits: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        self.seen.append(1)
        return {"brier": brier(logits, target) / len(self.seen)}


@dataclass(frozen=True)
class Wanders(Good):
    def after_step(self, nets: nn.ModuleDict, progress: Progress) -> None:
        for weight in nets.parameters():
            weight.add_(torch.randn_like(weight))


@dataclass(frozen=True)
class OneModalityOnly(Good):
    def networks(self, task: Task) -> nn.ModuleDict:
        return nn.ModuleDict({"net": build_network(task, in_channels=1)})


BAD: dict[type[Trainer], tuple[str, str]] = {
    Nameless: ("is_named", "lower-case"),
    HoldsATensor: ("is_a_value", "JSON"),
    HoldsAList: ("is_a_value", "tuple"),
    SameStreams: ("streams_are_sound", "share a name"),
    SharesMemory: ("networks_are_sound", "shares memory"),
    MovesNothingKnown: ("objectives_are_sound", "'network'"),
    DividesByZero: ("unlabelled_batches_are_harmless", "is nan; guard divisions"),
    GivesNaN: ("terms_are_finite_scalars", "'odd'"),
    GivesAMap: ("terms_are_finite_scalars", "one number"),
    Detaches: ("terms_are_finite_scalars", "detached"),
    OneOfTwoIsDeaf: ("gradient_reaches_what_moves", "'other'"),
    ClimbsUp: ("descent_lowers_the_loss", "sign"),
    TakesStepsItself: ("terms_only_compute", "leave steps to the loop"),
    WritesIntoTheBatch: ("terms_only_compute", "copy"),
    IgnoresLabels: ("labels_are_learned_from", "depends on the labels"),
    IgnoredIsBackground: ("labels_are_learned_from", "for class 0"),
    BreaksWithoutAModality: ("absent_modalities_are_harmless", "batch.present"),
    TooSmall: ("segmentation_is_sound", "(B, C, *S)"),
    Guesses: ("segmentation_is_sound", "random"),
    NeedsATarget: ("segmentation_is_sound", "AssertionError"),
    SaysItFuses: ("fused_images_are_sound", "fused() gives nothing"),
    TooBright: ("fused_images_are_sound", "in [0, 1]"),
    OneHeadForAll: ("each_modality_has_a_head", "(B, M, C, *S)"),
    LooksAtMates: ("samples_do_not_depend_on_their_mates", "mates"),
    Remembers: ("training_repeats", "state"),
    Wanders: ("after_step_repeats", "something else"),
    OneModalityOnly: ("terms_are_finite_scalars", "does not fit the network"),
}


@pytest.mark.parametrize("kind", BAD, ids=lambda kind: kind.__name__)
def test_a_bad_trainer_is_told_what_to_mend(kind: type[Trainer]) -> None:
    check, words = BAD[kind]
    with pytest.raises(ConformanceError) as caught:
        check_trainer(kind, settings=TRIED)
    about = [str(result) for result in caught.value.failed if result.check == check]
    assert about and words in about[0], str(caught.value)
    assert str(caught.value).startswith(f"{kind.__name__} fails")


def test_a_class_that_cannot_be_made_without_arguments_is_told_so() -> None:
    @dataclass(frozen=True)
    class Needy(Good):
        def __post_init__(self) -> None:
            raise ValueError("no data")

    with pytest.raises(ConformanceError, match="give every field a default"):
        check_trainer(Needy, settings=TRIED)


def test_a_class_that_is_no_value_is_told_so() -> None:
    class Loose:
        name = "loose"

    with pytest.raises(ConformanceError, match="derive from"):
        check_trainer(Loose, settings=TRIED)  # type: ignore[arg-type]


SMALL = [example_fingerprint(MadeUpDataset("small", ("T1", "T2"), shape=(40, 40, 40)))]
BUDGETS = (Budget(memory_gib=2.0), Budget(memory_gib=2.0, minutes=10.0, flops_per_s=5e10, elements_per_s=5e8))


def spoiling(change: Callable[[Plan, int], Plan]) -> Callable[[], Any]:
    """A planner that spoils each plan of the default one; told how many plans it made before."""
    count = 0

    class Spoiled:
        def plan(self, fingerprint: Fingerprint, labels: Labels, budget: Budget) -> Plan:
            nonlocal count
            count += 1
            return change(load_registered(PLANNERS, "default")().plan(fingerprint, labels, budget), count)

    return Spoiled


def reconfigured(plan: Plan, **changes: object) -> Plan:
    spoiled = tuple(item.model_copy(update=changes) for item in plan.configurations)
    return plan.model_copy(update={"configurations": spoiled})


BAD_PLANS: dict[str, tuple[Callable[[Plan, int], Plan], str, str]] = {
    "forgetful": (lambda plan, n: plan.model_copy(update={"steps": n}), "is_deterministic", "second plan differs"),
    "greedy": (lambda plan, n: reconfigured(plan, memory_gib=99.0), "stays_within_the_dials", "99.00 GiB"),
    "slow": (lambda plan, n: plan.model_copy(update={"steps": 10**7}), "stays_within_the_dials", "minutes of 10"),
    "odd patch": (
        lambda plan, n: reconfigured(plan, patch=tuple(size + 1 for size in plan.configurations[0].patch)),
        "networks_fit_their_patches",
        "multiple of",
    ),
    "unknown topology": (
        lambda plan, n: reconfigured(
            plan, network=plan.configurations[0].network.model_copy(update={"topology": "telepathy"})
        ),
        "networks_fit_their_patches",
        "telepathy",
    ),
    "silent": (lambda plan, n: plan.model_copy(update={"decisions": ()}), "decisions_are_explained", "empty"),
    "unfounded": (
        lambda plan, n: plan.model_copy(
            update={"decisions": tuple(item.model_copy(update={"evidence": {}}) for item in plan.decisions)}
        ),
        "decisions_are_explained",
        "no evidence",
    ),
    "foreign": (
        lambda plan, n: plan.model_copy(update={"fingerprint_digest": "f" * 64}),
        "belongs_to_its_inputs",
        "fingerprint.digest()",
    ),
    "unknown trainer": (
        lambda plan, n: plan.model_copy(update={"trainer": plan.trainer.model_copy(update={"name": "magic"})}),
        "belongs_to_its_inputs",
        "'magic'",
    ),
}


@pytest.mark.parametrize("name", BAD_PLANS)
def test_a_bad_planner_is_told_what_to_mend(name: str) -> None:
    change, check, words = BAD_PLANS[name]
    with pytest.raises(ConformanceError) as caught:
        check_planner(spoiling(change), SMALL, BUDGETS)
    about = "\n".join(str(result) for result in caught.value.failed if result.check == check)
    assert words in about, str(caught.value)


def test_a_planner_that_raises_is_told_so() -> None:
    def fails(plan: Plan, number: int) -> Plan:
        raise KeyError("shape")

    with pytest.raises(ConformanceError, match="raised KeyError"):
        check_planner(spoiling(fails), SMALL, BUDGETS)
