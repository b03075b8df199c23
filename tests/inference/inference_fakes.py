"""A plan, a trainer whose output can be computed by hand, and cases, all small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from autofuse.dataset.raw import RawCase
from autofuse.dataset.types import Case, ImageFile, LabelClass, Labels
from autofuse.images.geometry import Geometry
from autofuse.images.image import Image
from autofuse.plan.task import Task
from autofuse.plan.types import Budget, Configuration, NetworkPlan, NormalisationPlan, Plan, TrainerChoice
from autofuse.sampling.batch import Batch
from autofuse.training.model import Model
from autofuse.training.run import RunPlan
from autofuse.training.trainer import Trainer


def class_labels(count: int) -> Labels:
    """``count`` foreground classes with raw values 1, 2 ..."""
    return Labels(classes=tuple(LabelClass(name=f"class {i}", raw_values=(i,)) for i in range(1, count + 1)))


REGIONS = Labels(
    classes=(
        LabelClass(name="whole", raw_values=(1, 2, 4)),
        LabelClass(name="core", raw_values=(1, 4)),
        LabelClass(name="enhancing", raw_values=(4,)),
    ),
    region_values=(2, 1, 4),
)


def make_task(
    labels: Labels,
    patch: tuple[int, ...] = (8, 8, 8),
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    modalities: int = 1,
    **changes: Any,
) -> Task:
    """A task whose preprocessing leaves intensities as they are."""
    plan_changes = {key: changes.pop(key) for key in ("transpose", "mirror_axes") if key in changes}
    stages = (tuple([3] * len(patch)), tuple([3] * len(patch)))
    network = NetworkPlan(
        features=(4, 8),
        kernels=stages,
        strides=(tuple([1] * len(patch)), tuple([2] * len(patch))),
        blocks=(1, 1),
        decoder_blocks=(1,),
    )
    configuration = Configuration(
        name=changes.pop("name", "full"),
        dimensions=len(patch),
        spacing_mm=spacing_mm,
        median_shape=(16, 16, 16),
        patch=patch,
        batch=changes.pop("batch", 2),
        network=network,
        memory_gib=1.0,
        **changes,
    )
    plan = Plan(
        planner="default",
        dataset="fake",
        fingerprint_digest="0" * 64,
        budget=Budget(memory_gib=8.0),
        modalities=tuple(f"modality {m}" for m in range(modalities)),
        labels=labels,
        transpose=plan_changes.get("transpose", (0, 1, 2)),
        mirror_axes=plan_changes.get("mirror_axes", (0, 1, 2)),
        normalisation=tuple(NormalisationPlan(scheme="none") for _ in range(modalities)),
        configurations=(configuration,),
        configuration=configuration.name,
        trainer=TrainerChoice(name="supervised"),
        steps=1,
        decisions=(),
    )
    return Task(plan, configuration)


class Bias(nn.Module):
    """One number, so that members differ and a device can be asked for."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))


@dataclass(frozen=True)
class Voxelwise(Trainer):
    """Logits that are a function of the voxel's own intensity: tiles, weights and mirrorings must not show at all.

    Classes: channel c is -(v - c)², so that class round(v) wins. Regions: region r is v - r - 0.5.
    """

    name: ClassVar[str] = "voxelwise"

    outputs: int = 3
    regions: bool = False
    broken: bool = False

    def networks(self, task: Task) -> nn.ModuleDict:
        return nn.ModuleDict({"net": Bias(0.0)})

    def segment(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        value = batch.image[:, :1] + nets["net"].value
        steps = torch.arange(self.outputs).reshape(1, -1, *[1] * (value.ndim - 2))
        if self.broken:
            return torch.full_like(value, float("nan")).expand(-1, self.outputs, *value.shape[2:]).clone()
        return value - steps - 0.5 if self.regions else -((value - steps) ** 2)


@dataclass(frozen=True)
class Blurred(Trainer):
    """Logits from a fixed random convolution of all channels: neighbours, borders and order of axes matter."""

    name: ClassVar[str] = "blurred"

    outputs: int = 3

    def networks(self, task: Task) -> nn.ModuleDict:
        torch.manual_seed(7)
        convolution = nn.Conv3d if task.configuration.dimensions == 3 else nn.Conv2d
        return nn.ModuleDict({"net": convolution(task.modalities + task.prior_channels, self.outputs, 3, padding=1)})

    def segment(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        logits: Tensor = nets["net"](batch.inputs().float())
        return logits


def make_model(task: Task, trainer: Trainer, bias: float = 0.0, fold: int = 0) -> Model:
    """A model as ``load_model`` would give it."""
    nets = trainer.networks(task).eval().requires_grad_(False)
    if isinstance(nets["net"], Bias):
        nets["net"].value.fill_(bias)
    run = RunPlan(
        plan_digest=task.plan.digest(),
        configuration=task.configuration.name,
        trainer=trainer.name,
        fields={},
        fold=fold,
        seed=1,
        steps=1,
        steps_per_epoch=1,
        threads=1,
        precision="fp32",
        device="cpu",
        labelled=("a",),
        autofuse_version="0",
        torch_version="0",
    )
    return Model(task, trainer, nets, run)


def make_case(*volumes: np.ndarray, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> RawCase:
    """A case whose modalities are these volumes (z, y, x)."""
    geometry = Geometry(volumes[0].shape, spacing_mm)  # type: ignore[arg-type]
    case = Case(id="case", subject="case", images=tuple(ImageFile(path=f"{m}.nii.gz") for m in range(len(volumes))))
    return RawCase(case, tuple(Image(volume, geometry) for volume in volumes), None, geometry)
