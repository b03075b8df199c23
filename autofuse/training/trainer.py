"""What a training method is: a frozen dataclass that answers four questions. The engine owns the loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from autofuse.plan.task import Task
from autofuse.sampling.batch import Batch

Half = Literal["whole", "upper", "lower"]
Wanted = Literal["labelled", "unlabelled", "any"]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
"""Types of fields: what ``--set`` gives is held to these bounds, before anything is trained."""


@dataclass(frozen=True)
class Progress:
    """How far training is: ``step`` of ``steps``; ``fraction`` in [0, 1) drives every ramp and schedule.

    Where training fits a time, ``steps`` is an estimate that is corrected on the way; ``done`` then holds the share
    that never jumps, and it alone should drive ramps.
    """

    step: int
    steps: int
    done: float | None = None

    @property
    def fraction(self) -> float:
        """Share of the training that is done."""
        return self.step / self.steps if self.done is None else self.done

    def ramp(self, over: float, start: float = 0.0) -> float:
        """exp(-5 (1 - t)²), t from 0 to 1 while the share ``over`` of the training passes from ``start`` on (Laine and
        Aila, arXiv 1610.02242): from 0.007 to 1, and 1 ever after."""
        past = self.fraction - start
        t = 1.0 if past >= over else max(0.0, past / over) if over else 0.0
        return math.exp(-5 * (1 - t) ** 2)


@dataclass(frozen=True)
class Stream:
    """One kind of batch that a method asks for at every step.

    Attributes:
        name: key under which the batch reaches the objectives.
        cases: which cases of the training fold feed it.
        share: its share of the plan's batch size (at least one sample each).
        foreground: share of patches centred on a labelled foreground voxel; the rest lie anywhere
            (anywhere labelled, where labels are sparse).
        half: the whole training fold, or one of two disjoint halves (bi-level methods).
        taught: whether targets are what the method's teachers found (``Trainer.teaching``), not labels.
    """

    name: str = "labelled"
    cases: Wanted = "labelled"
    share: float = 1.0
    foreground: float = 1 / 3
    half: Half = "whole"
    taught: bool = False


@dataclass(frozen=True)
class Teaching:
    """Who labels the unlabelled cases of a training fold before a method is trained on it.

    Attributes:
        trainer: registered name of the first round's teachers.
        members: how many there are, of different seeds; the mean of their probabilities decides.
        rounds: in each later one the method itself, having learned from the labels before, is the teacher.
        confidence: a voxel whose probability is lower stays unlabelled.
        least_dice: held-out Dice below which teachers are not believed.
    """

    trainer: str
    members: int
    rounds: int
    confidence: float
    least_dice: float

    @property
    def trainings(self) -> int:
        """How many models are trained in all, the one that is wanted among them."""
        return self.members * self.rounds + 1


Batches = Mapping[str, Batch]
Terms = Callable[[nn.ModuleDict, Batches, Progress], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Objective:
    """One optimiser step: which networks move, and the named, weighted scalars whose sum they descend.

    Attributes:
        moves: keys of the ModuleDict; no other network changes.
        terms: called with all networks, this step's batches by stream name, and the progress.
        every: taken at every n-th step.
    """

    name: str
    moves: tuple[str, ...]
    terms: Terms
    every: int = 1


@dataclass(frozen=True)
class Trainer:
    """Base of every training method; fields are its hyper-parameters, all with defaults, all JSON-able.

    Construction only stores. A variant is the same class with other field values, never another class.
    ``foreground``, ``rotation`` and ``scaling`` are shares of the samples; the other ways to augment are nnU-Net's.
    Modality dropout begins when the share ``dropout_start`` of the training is done and grows over the next
    ``dropout_ramp`` to what is planned; the share ``whole_samples`` of the samples is spared throughout. Measured on
    phantoms of three modalities, each of which alone shows one structure (500 steps, one seed, mean Dice with all
    modalities / mean over all subsets that lack one): from the start 0.593 / 0.479, a structure was not found at all;
    from half of the training on 0.892 / 0.624, with half of the samples spared 0.901 / 0.615; from 0.65 on, with half
    of them spared, 0.905 / 0.617; no dropout 0.914 / 0.387; concatenation with zeros 0.916 / 0.403.
    ``topology`` is that of ``autofuse.networks`` which a method is made for (None: any will do), ``decoders`` how many
    memory is planned for: a command that names the trainer gets a plan for these.
    ``jitter_mm`` is the largest shift of one modality against the others, in half of the samples.
    ``masks_each`` says that the method can teach each modality by a mask of its own and find one for each
    (``segment_each``).
    """

    name: ClassVar[str]
    topology: ClassVar[str | None] = None
    decoders: ClassVar[int] = 1
    masks_each: ClassVar[bool] = False

    learning_rate: Weight = 1e-2
    momentum: Share = 0.99
    weight_decay: Weight = 3e-5
    gradient_clip: Annotated[float, Field(gt=0)] = 12.0
    ema_decay: Share = 0.0
    foreground: Share = 1 / 3
    rotation: Share = 0.2
    scaling: Share = 0.2
    dropout_start: Share = 0.65
    dropout_ramp: Share = 0.25
    whole_samples: Share = 0.5
    jitter_mm: Weight = 0.0

    def dropout_in_force(self, progress: Progress) -> float:
        """Share of the planned modality dropout: a network learns from complete cases first, then to do without."""
        past = progress.fraction - self.dropout_start
        return float(past >= 0) if self.dropout_ramp == 0 else min(1.0, max(0.0, past / self.dropout_ramp))

    def streams(self) -> tuple[Stream, ...]:
        """Which batches each step needs."""
        return (Stream(foreground=self.foreground),)

    def networks(self, task: Task) -> nn.ModuleDict:
        """Freshly initialised networks by name."""
        raise NotImplementedError

    def objectives(self, task: Task) -> tuple[Objective, ...]:
        """What each optimiser step descends, in order."""
        raise NotImplementedError

    def teaching(self) -> Teaching | None:
        """Who labels unlabelled cases for the streams that are ``taught``; None where there are none."""
        return None

    def segment(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        """Logits (B, C, *S) at the resolution of the image; the only thing that prediction calls."""
        raise NotImplementedError

    def segment_each(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        """Logits (B, M, C, *S), each modality's own; what prediction calls where modalities carry masks of their own.

        Those of an absent modality are finite and mean nothing.
        """
        raise NotImplementedError

    def fuses(self, task: Task) -> bool:
        """Whether ``fused`` gives an image."""
        return False

    def fused(self, nets: nn.ModuleDict, batch: Batch) -> Tensor | None:
        """The image (B, 1, *S) in [0, 1] that is segmented, for people to look at; None where there is no such one."""
        return None

    def after_step(self, nets: nn.ModuleDict, progress: Progress) -> None:
        """Called without gradients when all objectives of a step are done; the place where a mean teacher follows.

        Must be a function of its arguments alone, and must not read values back from the device.
        """

    def watched(self, nets: nn.ModuleDict) -> Mapping[str, float]:
        """What of its networks' state training notes at the end of each epoch, by name; nothing by default."""
        return {}

    def remarks(self, before: Mapping[str, float], now: Mapping[str, float]) -> tuple[str, ...]:
        """What people are told of how ``watched`` changed over an epoch, a sentence each; ``before`` is {} at first."""
        return ()
