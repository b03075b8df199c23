"""What was decided for a data set, and why. A plan is written once and never changed; other dials give another plan."""

from __future__ import annotations

from typing import ClassVar, Literal, Protocol

from pydantic import Field, JsonValue

from autofuse.dataset.types import Labels
from autofuse.fingerprint.types import Fingerprint
from autofuse.foundation.values import StoredValue, Value, is_empty, short_hash

Triple = tuple[float, float, float]
Axes = tuple[int, int, int]
Sizes = tuple[int, ...]

Normalisation = Literal["zscore", "zscore_nonzero", "ct", "rescale_0_1", "none"]


class Budget(StoredValue):
    """The two dials, memory and time, what this machine was measured to do, and what the user wishes. With the
    fingerprint it is all that a planner may read, so that the same two give the same plan, byte for byte.

    Attributes:
        memory_gib: what training may use at its peak (device memory, or RAM on a CPU).
        minutes: time for training one fold; None for the default number of steps.
        device: "cpu" or "cuda".
        precision: what the loop will compute in.
        flops_per_s: convolution FLOPs a second, forward + backward, of a U-Net at that precision, measured; None where
            it was not measured (no time dial).
        elements_per_s: activation elements a second for the memory-bound rest (norm, non-linearity, concatenation).
        threads: CPU threads that were used.
        expect_missing: whether any modality may be absent at prediction, though training cases have them all.
        want_fused: whether a fused image that a person can read is asked for.
        topology: of every configuration's network, where one is asked for; None lets the planner's rules decide.
        decoders: that its networks shall have.
    """

    kind: ClassVar[str] = "budget"

    memory_gib: float = Field(gt=0.2)
    minutes: float | None = Field(default=None, gt=0)
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    flops_per_s: float | None = None
    elements_per_s: float | None = None
    threads: int = 1
    expect_missing: bool = False
    want_fused: bool = False
    topology: str | None = None
    decoders: int = Field(default=1, ge=1, le=2)


class NormalisationPlan(Value):
    """How one modality's intensities become comparable; statistics are used by "ct" only."""

    scheme: Normalisation
    mean: float = 0.0
    std: float = 1.0
    lower: float = 0.0
    upper: float = 0.0


class NetworkPlan(Value):
    """The segmentation network, stage by stage, highest resolution first.

    Attributes:
        topology: how modalities meet (a block of ``autofuse.networks``): "early" is concatenation.
        encoder: plain or residual blocks.
        features: channels per stage.
        kernels, strides: per stage, per axis (2 or 3 axes, slowest first); the first stride is all ones.
        blocks: blocks per encoder stage; decoder_blocks: per decoder stage (one fewer).
        deep_supervision: whether the decoder's lower stages are trained too (lowest resolution off).
        decoders: that memory and time are planned for; a second one belongs to methods that compare two.
    """

    topology: str = "early"
    encoder: Literal["plain", "residual"] = "plain"
    features: Sizes = Field(min_length=1)
    kernels: tuple[Sizes, ...]
    strides: tuple[Sizes, ...]
    blocks: Sizes
    decoder_blocks: Sizes
    deep_supervision: bool = True
    modality_dropout: float = Field(default=0.0, ge=0, le=1)
    decoders: int = Field(default=1, ge=1, le=2)


class Configuration(Value):
    """One way to see the data: a grid, a patch and a network.

    Attributes:
        dimensions: 2 (slices of the first axis after ``Plan.transpose``) or 3.
        spacing_mm: target spacing, transposed axis order, always three.
        median_shape: median case at that spacing, transposed, always three.
        patch: voxels per axis, 2 or 3 of them; batch: samples per step.
        anisotropic_axis: transposed axis that is resampled apart (nearest), or None.
        previous: configuration whose masks are an extra input (cascade), or None.
        memory_gib: predicted peak while training; seconds_per_step: predicted, None where speed was not measured.
    """

    name: str
    dimensions: Literal[2, 3]
    spacing_mm: Triple
    median_shape: Axes
    patch: Sizes
    batch: int = Field(ge=1)
    network: NetworkPlan
    anisotropic_axis: int | None = None
    previous: str | None = None
    memory_gib: float
    seconds_per_step: float | None = None


class TrainerChoice(Value):
    """A trainer by its registered name, and the hyper-parameters that differ from its defaults."""

    name: str
    fields: dict[str, JsonValue] = Field(default_factory=dict)


class Challenger(Value):
    """What might do better than the default: another trainer, another topology, or both.

    Attributes:
        trainer: with the fields that differ from its defaults.
        topology: of ``autofuse.networks``; None for the default's. decoders: that its network has.
        because: why it might win.
    """

    trainer: TrainerChoice
    topology: str | None = None
    decoders: int = Field(default=1, ge=1, le=2)
    because: str


class RegistrationPlan(Value):
    """Every modality but the reference is moved rigidly onto it while preprocessing, in training and prediction.

    Attributes:
        largest_shift_mm, largest_rotation_degrees: a transform beyond these is a failure and is not used.
    """

    largest_shift_mm: float = Field(default=80.0, gt=0)
    largest_rotation_degrees: float = Field(default=30.0, gt=0)


class Decision(Value):
    """One decision: what was chosen, the rule that fired, the numbers it read, and what was passed over."""

    what: str
    chosen: str
    rule: str
    evidence: dict[str, JsonValue] = Field(default_factory=dict)
    alternatives: tuple[str, ...] = ()


class Plan(StoredValue):
    """Everything that preprocessing, training and prediction need to know about a data set.

    Attributes:
        transpose: which raw axis (z, y, x = 0, 1, 2) comes first, second, third; the coarsest comes first.
        configurations: by preference; ``configuration`` is the one trained by default.
        trainer: default; challengers: what else could do better, for the arbiter to try.
        reference: channel whose grid masks are made and written on.
        far_background: whether what lies beyond the reach of every structure's strokes is taught as background.
        masks_per_modality: whether each modality is taught by, and predicted as, a mask of its own, on its own grid.
        registration: how modalities are brought onto each other; None where they are taken to lie as they should.
        steps: default length of training one fold.
        mirror_axes: transposed axes (0, 1, 2; a 2D patch has 1 and 2) along which mirroring makes sense.
    """

    kind: ClassVar[str] = "plan"

    planner: str
    dataset: str
    fingerprint_digest: str
    budget: Budget
    modalities: tuple[str, ...]
    labels: Labels
    transpose: Axes
    normalisation: tuple[NormalisationPlan, ...]
    configurations: tuple[Configuration, ...] = Field(min_length=1)
    configuration: str
    trainer: TrainerChoice
    challengers: tuple[Challenger, ...] = ()
    steps: int = Field(ge=1)
    decisions: tuple[Decision, ...]
    mirror_axes: tuple[int, ...] = (0, 1, 2)
    reference: int = Field(default=0, ge=0)
    registration: RegistrationPlan | None = None
    far_background: bool = False
    masks_per_modality: bool = Field(default=False, exclude_if=is_empty)

    def named(self, configuration: str) -> Configuration:
        """The configuration called so.

        Raises:
            KeyError: if there is none.
        """
        for item in self.configurations:
            if item.name == configuration:
                return item
        raise KeyError(configuration)

    def preparation_digest(self, configuration: Configuration) -> str:
        """Hash of everything that the prepared store of ``configuration`` depends on; names its folder."""
        return short_hash(
            {
                "fingerprint": self.fingerprint_digest,
                "transpose": self.transpose,
                "normalisation": [item.model_dump(mode="json") for item in self.normalisation],
                "labels": self.labels.model_dump(mode="json"),
                "spacing_mm": configuration.spacing_mm,
                "anisotropic_axis": configuration.anisotropic_axis,
                "reference": self.reference,
                "far_background": self.far_background,
                "registration": None if self.registration is None else self.registration.model_dump(mode="json"),
            }
        )


class Planner(Protocol):
    """What an entry point of ``autofuse.planners`` must be: a callable object that decides from numbers alone."""

    def plan(self, fingerprint: Fingerprint, labels: Labels, budget: Budget) -> Plan:
        """The plan for this fingerprint under this budget; deterministic, reads nothing else."""
        ...
