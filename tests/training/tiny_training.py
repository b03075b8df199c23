"""A training so small that it takes milliseconds a step: bright blobs in noise, a network of three convolutions."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autofuse.dataset.types import LabelClass, Labels
from autofuse.plan.task import Task
from autofuse.plan.types import (
    Budget,
    Configuration,
    Decision,
    NetworkPlan,
    NormalisationPlan,
    Plan,
    TrainerChoice,
)
from autofuse.sampling.batch import Batch
from autofuse.training.run import RunPlan, plan_run
from autofuse.training.seeds import mix
from autofuse.training.state import ValidationResult
from autofuse.training.trainer import Batches, Objective, Progress, Stream, Trainer

SIZE = 12
CASES = tuple(f"case_{number}" for number in range(6))


@dataclasses.dataclass(frozen=True)
class Tiny(Trainer):
    """Soft Dice and cross-entropy on three convolutions with dropout (so that random numbers matter)."""

    name: ClassVar[str] = "tiny"

    learning_rate: float = 0.02
    momentum: float = 0.9
    width: int = 4
    dropout: float = 0.1
    poison: str = ""
    pause_s: float = 0.0

    def networks(self, task: Task) -> nn.ModuleDict:
        return nn.ModuleDict({"segmenter": blob_network(self.width, self.dropout)})

    def objectives(self, task: Task) -> tuple[Objective, ...]:
        return (Objective("supervised", ("segmenter",), self._terms),)

    def _terms(self, nets: nn.ModuleDict, batches: Batches, progress: Progress) -> Mapping[str, Tensor]:
        batch = batches["labelled"]
        assert batch.target is not None
        logits = nets["segmenter"](batch.image)
        if self.poison and self.poison in batch.cases:
            logits = logits * float("nan")
        if self.pause_s:
            time.sleep(self.pause_s)
        return {"dice": soft_dice(logits, batch.target), "cross_entropy": F.cross_entropy(logits.float(), batch.target)}

    def segment(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        logits: Tensor = nets["segmenter"](batch.image)
        return logits


@dataclasses.dataclass(frozen=True)
class Pair(Trainer):
    """Two networks, two objectives, two streams: the second sees the first's output and moves only itself."""

    name: ClassVar[str] = "pair"

    learning_rate: float = 0.02
    momentum: float = 0.9
    follower_every: int = 1

    def streams(self) -> tuple[Stream, ...]:
        return (Stream("upper", half="upper"), Stream("lower", half="lower", share=0.5))

    def networks(self, task: Task) -> nn.ModuleDict:
        leader = nn.Sequential(nn.Conv3d(1, 1, 3, padding=1), nn.BatchNorm3d(1))
        return nn.ModuleDict({"leader": leader, "follower": blob_network(4, 0.0)})

    def objectives(self, task: Task) -> tuple[Objective, ...]:
        return (
            Objective("lead", ("leader",), self._lead),
            Objective("follow", ("follower",), self._follow, every=self.follower_every),
        )

    def _lead(self, nets: nn.ModuleDict, batches: Batches, progress: Progress) -> Mapping[str, Tensor]:
        batch = batches["upper"]
        assert batch.target is not None
        return {"loss": F.cross_entropy(nets["follower"](nets["leader"](batch.image)).float(), batch.target)}

    def _follow(self, nets: nn.ModuleDict, batches: Batches, progress: Progress) -> Mapping[str, Tensor]:
        batch = batches["lower"]
        assert batch.target is not None
        return {"loss": F.cross_entropy(nets["follower"](nets["leader"](batch.image)).float(), batch.target)}

    def segment(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        logits: Tensor = nets["follower"](nets["leader"](batch.image))
        return logits


class Blobs:
    """Batches of blobs by stream name, a function of (seed, stream, step); remembers whether it was closed."""

    def __init__(self, streams: Mapping[str, tuple[str, ...]], first_step: int, seed: int = 0) -> None:
        self.streams, self.step, self.seed, self.closed = streams, first_step, seed, False

    def __iter__(self) -> Iterator[Mapping[str, Batch]]:
        while True:
            yield {name: blobs(cases, mix(self.seed, name, self.step)) for name, cases in self.streams.items()}
            self.step += 1

    def close(self) -> None:
        self.closed = True


def blob_loader(streams: Mapping[str, tuple[str, ...]] | None = None, seed: int = 0):
    """A loader factory over blobs."""
    chosen = streams or {"labelled": CASES}
    return lambda first_step: Blobs(chosen, first_step, seed)


def blobs(cases: tuple[str, ...], number: int, count: int = 2) -> Batch:
    """``count`` noisy images (B, 1, 12, 12, 12) of one bright ball each, of cases drawn by ``number``."""
    generator = torch.Generator().manual_seed(number)
    chosen = tuple(cases[int(torch.randint(len(cases), (), generator=generator))] for _ in range(count))
    grid = torch.stack(torch.meshgrid(*[torch.arange(SIZE)] * 3, indexing="ij")).float()
    centres = 4 + 4 * torch.rand(count, 3, 1, 1, 1, generator=generator)
    target = ((grid - centres) ** 2).sum(1) < 9
    image = target.float()[:, None] + 0.3 * torch.randn(count, 1, SIZE, SIZE, SIZE, generator=generator)
    return Batch(image, torch.ones(count, 1, dtype=torch.bool), target.long(), cases=chosen)


def blob_network(width: int, dropout: float) -> nn.Module:
    """Logits of two classes."""
    return nn.Sequential(
        nn.Conv3d(1, width, 3, padding=1),
        nn.InstanceNorm3d(width, affine=True),
        nn.LeakyReLU(0.01),
        nn.Dropout3d(dropout),
        nn.Conv3d(width, width, 3, padding=1),
        nn.LeakyReLU(0.01),
        nn.Conv3d(width, 2, 1),
    )


def soft_dice(logits: Tensor, target: Tensor) -> Tensor:
    """1 - soft Dice of the foreground."""
    chance = logits.float().softmax(1)[:, 1]
    truth = (target == 1).float()
    return 1 - (2 * (chance * truth).sum() + 1e-5) / (chance.sum() + truth.sum() + 1e-5)


def hard_dice(nets: nn.ModuleDict, trainer: Trainer, number: int = 99) -> ValidationResult:
    """Dice of the trainer's segmentation on blobs of its own."""
    batch = blobs(("held_out",), number, count=4)
    assert batch.target is not None
    found, truth = trainer.segment(nets, batch).argmax(1) == 1, batch.target == 1
    dice = float(2 * (found & truth).sum() / (found.sum() + truth.sum()))
    return ValidationResult(dice, {"ball": dice})


def tiny_task(batch: int = 2, steps: int = 40) -> Task:
    """A task of one modality and one class."""
    network = NetworkPlan(
        features=(4,),
        kernels=((3, 3, 3),),
        strides=((1, 1, 1),),
        blocks=(1,),
        decoder_blocks=(),
        deep_supervision=False,
    )
    configuration = Configuration(
        name="3d",
        dimensions=3,
        spacing_mm=(1.0, 1.0, 1.0),
        median_shape=(SIZE, SIZE, SIZE),
        patch=(SIZE, SIZE, SIZE),
        batch=batch,
        network=network,
        memory_gib=0.1,
    )
    plan = Plan(
        planner="by hand",
        dataset="blobs",
        fingerprint_digest="0" * 64,
        budget=Budget(memory_gib=1.0),
        modalities=("bright",),
        labels=Labels(classes=(LabelClass(name="ball", raw_values=(1,)),)),
        transpose=(0, 1, 2),
        normalisation=(NormalisationPlan(scheme="none"),),
        configurations=(configuration,),
        configuration="3d",
        trainer=TrainerChoice(name="tiny"),
        steps=steps,
        decisions=(Decision(what="size", chosen="tiny", rule="tests are fast"),),
    )
    return Task(plan, configuration)


def tiny_run(task: Task, trainer: Trainer, **wanted: object) -> RunPlan:
    """A run of ``trainer`` on one thread in fp32; epochs of 5 steps unless told otherwise."""
    per_epoch = wanted.pop("steps_per_epoch", 5)
    every = wanted.pop("validate_every", 1)
    options = {"fold": 0, "labelled": CASES, "threads": 1, "precision": "fp32", "seed": 7} | wanted
    run = plan_run(task, type(trainer).name, trainer, **options)  # type: ignore[arg-type]
    return run.model_copy(update={"steps_per_epoch": per_epoch, "validate_every": every})
