"""What was asked of a workspace: memory, time, planner, device, wishes. Kept, so that resuming makes the same plan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from autofuse.foundation.errors import ModelError, UsageError
from autofuse.foundation.values import StoredValue

DEFAULT_PLANNER = "default"
DIALS_FILE = "dials.json"
ANY = "auto"


class Dials(StoredValue):
    """What the plan in a workspace was asked for; dials.json.

    Attributes:
        memory_gib: of the device, a GPU's own where ``device`` is "cuda"; None for what it has free.
        minutes: None for the planner's default length.
        shared_by: folds that share ``minutes`` with all else of `autofuse run`; None where it is for training one fold.
        expect_missing, want_fused, topology: the wishes of the budget (``autofuse.plan.types.Budget``).
    """

    kind: ClassVar[str] = "dials"

    planner: str = DEFAULT_PLANNER
    device: Literal["cpu", "cuda"]
    memory_gib: float | None = Field(default=None, gt=0)
    minutes: float | None = Field(default=None, gt=0)
    shared_by: int | None = Field(default=None, ge=1)
    expect_missing: bool = False
    want_fused: bool = False
    topology: str | None = None

    @property
    def wishes(self) -> dict[str, bool | str | None]:
        """What is not measured on the machine: fields of the budget that are asked for."""
        return {"expect_missing": self.expect_missing, "want_fused": self.want_fused, "topology": self.topology}


@dataclass(frozen=True)
class Asked:
    """What one command asks for; None leaves a dial as it was. ``shared_by`` goes with ``minutes``;
    the topology ``ANY`` takes back what was asked for. ``vram_gib`` is the memory dial under the name that it has on a
    GPU, and means nothing anywhere else."""

    planner: str | None = None
    device: Literal["cpu", "cuda"] | None = None
    memory_gib: float | None = None
    minutes: float | None = None
    shared_by: int | None = None
    expect_missing: bool | None = None
    want_fused: bool | None = None
    topology: str | None = None
    vram_gib: float | None = None

    def turned(self, before: Dials | None, default_device: Literal["cpu", "cuda"]) -> Dials:
        """``before`` with every dial turned that this command turns.

        Raises:
            UsageError: if a GPU's memory is dialled where there is none, or memory twice.
        """
        kept = before or Dials(device=default_device)
        device = self.device or kept.device
        minutes, shared_by = kept.minutes, kept.shared_by
        if self.minutes is not None:
            minutes, shared_by = self.minutes, self.shared_by
        return Dials(
            planner=self.planner or kept.planner,
            device=device,
            memory_gib=self._memory_gib(device) or kept.memory_gib,
            minutes=minutes,
            shared_by=shared_by,
            expect_missing=kept.expect_missing if self.expect_missing is None else self.expect_missing,
            want_fused=kept.want_fused if self.want_fused is None else self.want_fused,
            topology=kept.topology if self.topology is None else {ANY: None}.get(self.topology, self.topology),
        )

    def _memory_gib(self, device: str) -> float | None:
        if self.vram_gib is None:
            return self.memory_gib
        if self.memory_gib is not None:
            raise UsageError(
                "The memory dial is given twice.",
                found=f"--memory {self.memory_gib:g}GiB and --vram {self.vram_gib:g}GiB",
                remedy="Give --vram for a GPU's memory, --memory for RAM.",
            )
        if device != "cuda":
            raise UsageError(
                "There is no GPU here whose memory could be dialled: training computes on the CPU.",
                found=f"--vram {self.vram_gib:g}GiB",
                expected=f"--memory {self.vram_gib:g}GiB, which dials RAM",
                remedy="Give --memory, or --device cuda where there is a GPU; `autofuse doctor` says what torch sees.",
            )
        return self.vram_gib


def load_dials(folder: Path) -> Dials | None:
    """The dials kept in ``folder``; None where there are none, or they are damaged."""
    try:
        return Dials.load(folder / DIALS_FILE) if (folder / DIALS_FILE).exists() else None
    except ModelError:
        return None
