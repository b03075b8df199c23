"""What goes into the prediction of one case, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from autofuse.dataset.types import Labels
from autofuse.foundation.machine import Precision
from autofuse.images.geometry import Geometry
from autofuse.inference.memory import MemoryPlan
from autofuse.inference.recipe import StructureSteps
from autofuse.inference.spool import Spool
from autofuse.inference.tiles import STEP
from autofuse.inference.uncertainty import Uncertainty
from autofuse.plan.task import Task
from autofuse.preprocessing.placement import Placement
from autofuse.training.model import AnyModel


@dataclass(frozen=True)
class PredictOptions:
    """How to predict.

    Attributes:
        step: distance of tiles as a share of the patch.
        mirror: average over mirrored copies along the axes that the plan names.
        device: "cpu", "cuda", "cuda:1".
        precision: of the network; None for what it was trained with, where the device is of the same kind.
        memory_gib: the most that the process (or the device) may hold; None for a share of what is free.
        probabilities: keep them on the native grid.
        coded: keep them as one byte each (``autofuse.inference.coding``), for choosing.
        uncertainty: map it, and give volumes with intervals.
        thresholds: per region, the probability above which a voxel belongs to it.
        temperature: log-odds of what is kept or mapped are divided by it; masks do not depend on it.
        steps: of post-processing.
        scratch: folder for sums that do not fit into memory; None for the system's temporary folder.
        modality: channel whose own mask is wanted, on its own grid, where modalities have their own; else None.
    """

    step: float = STEP
    mirror: bool = True
    device: str = "cpu"
    precision: Precision | None = None
    memory_gib: float | None = None
    probabilities: bool = False
    coded: bool = False
    uncertainty: bool = False
    thresholds: tuple[float, ...] | None = None
    temperature: float = 1.0
    steps: tuple[StructureSteps, ...] = ()
    scratch: Path | None = None
    modality: int | None = None

    @property
    def keeps(self) -> bool:
        """Whether probabilities of the whole case are needed after its mask is painted."""
        return self.probabilities or self.coded or self.uncertainty


@dataclass(frozen=True)
class CaseOnGrid:
    """A prepared case as prediction holds it: images (M, z, y, x) of half or single floats, which are present (M,), and
    whether one of these does not see all of the grid (it is NaN there)."""

    images: NDArray[np.floating[Any]]
    present: NDArray[np.bool_]
    placement: Placement
    partial_view: bool = False


@dataclass(frozen=True)
class Seen:
    """What a prediction was made from.

    Attributes:
        absent: modalities that the case lacks, or that see nothing of it.
        partly: modality and the share of the prepared grid that it covers, where that is not all.
        grid: modality on whose grid the mask lies; "" where all lie on one.
    """

    absent: tuple[str, ...] = ()
    partly: tuple[tuple[str, float], ...] = ()
    grid: str = ""

    def in_words(self) -> str:
        """Such as "predicted without FLAIR, with T2 in 63% of the image"; empty where everything was seen."""
        parts = [f"without {name}" for name in self.absent]
        parts += [f"with {name} in {share:.0%} of the image" for name, share in self.partly]
        return "predicted " + ", ".join(parts) if parts else ""


@dataclass(frozen=True)
class LoadedCase:
    """A case ready for its members; the raw voxels are gone.

    Attributes:
        geometry: of the native grid.
        prepared: by grid key, as ``grid_key`` gives it.
        priors: by grid and earlier configuration, as ``prior_key`` gives them, the masks of the earlier stage on the
            prepared grid (K, z, y, x) bool.
        seen: which modalities are there.
        own: per modality the native grid of its image, None where it is absent.
    """

    id: str
    geometry: Geometry
    prepared: Mapping[str, CaseOnGrid]
    priors: Mapping[str, Tensor] = field(default_factory=dict)
    seen: Seen = Seen()
    own: tuple[Geometry | None, ...] = ()


@dataclass(frozen=True)
class Probabilities:
    """Probabilities on the native grid; in memory, or in a file that vanishes with this value."""

    spool: Spool
    placement: Placement
    labels: Labels

    def output(self, channel: int) -> NDArray[np.float16]:
        """(z, y, x) native; outside the crop background is 1 and everything else 0."""
        background = channel == 0 and not self.labels.has_regions
        return self.placement.inverse(self.spool.output(channel), fill=1.0 if background else 0.0)

    def whole(self) -> NDArray[np.float16]:
        """(C, z, y, x) native: all outputs at once, in memory."""
        return np.stack([self.output(channel) for channel in range(self.spool.outputs)])


@dataclass(frozen=True)
class Prediction:
    """What was predicted for one case.

    Attributes:
        indices: (z, y, x) int16 class indices (position in (0, *raw_values)) on the native grid.
        probabilities: only if asked for.
        memory: what was planned.
        seen: what it was made from.
        uncertainty: only if asked for.
    """

    case: str
    indices: NDArray[np.int16]
    geometry: Geometry
    labels: Labels
    probabilities: Probabilities | None
    memory: MemoryPlan
    seen: Seen = Seen()
    uncertainty: Uncertainty | None = None

    def raw_labels(self) -> NDArray[np.integer]:
        """(z, y, x) label values as files hold them."""
        from autofuse.dataset.label_codes import decode_labels

        return decode_labels(self.indices, self.labels)

    def save(self, path: str | Path) -> None:
        """Write the mask, atomically and verified; the ending decides the format."""
        from autofuse.images.write import write_labels

        write_labels(path, self.raw_labels(), self.geometry)


def grid_key(task: Task) -> str:
    """Names the grid on which a configuration sees a case: equal keys, equal prepared case."""
    return f"{task.plan.preparation_digest(task.configuration)}-{task.configuration.dimensions}d"


def prior_names(model: AnyModel) -> tuple[str, ...]:
    """Under which names the masks of the earlier stage are looked for: that of its run, then of its configuration."""
    names = (model.run.prior_run, model.task.configuration.previous)
    return tuple(name for name in names if name is not None)


def prior_key(model: AnyModel) -> str:
    """Names the masks that a cascade's second stage is given: whose they are, and on which grid."""
    return f"{prior_names(model)[0] if prior_names(model) else None}-{grid_key(model.task)}"
