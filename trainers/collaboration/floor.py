"""Whether the mean teacher still knows its trade: its Dice on labelled batches, held against a floor of its own.

A teacher that falls below the floor is set back to the student and counts for nothing until it has risen above it
again. All of it stays on the device and in buffers, so that a run that goes on from a checkpoint goes on the same way.
Shape legend: B batch, M modality, C structure, S spatial axes (slowest first).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from autofuse.dataset.types import IGNORE
from autofuse.sampling import ranks

MEMORY = 0.9
"""Share of a running Dice that stays at each look."""


class TeacherWatch(nn.Module):
    """Running Dice of student and teacher, the best that the student had, and whether the teacher counts.

    Buffers: ``student``, ``teacher``, ``best``; ``counts`` is 1 while the teacher counts and 0 after a fall, until it
    has recovered; ``falls`` and ``recoveries`` say how often either happened. What was seen of a batch waits in
    ``seen`` for the end of the step, since terms change nothing.
    """

    student: Tensor
    teacher: Tensor
    best: Tensor
    counts: Tensor
    falls: Tensor
    recoveries: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("student", "teacher", "best", "falls", "recoveries"):
            self.register_buffer(name, torch.zeros(()))
        self.register_buffer("counts", torch.ones(()))
        self.seen: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def take_in(self) -> None:
        """Take in the Dice of both that was seen; nothing changes where the student's is NaN: nothing was to be found.
        A teacher's that is not finite counts as 0."""
        if self.seen is None:
            return
        (student, teacher), self.seen = self.seen, None
        known = torch.isfinite(student)
        for running, found in ((self.student, student), (self.teacher, torch.nan_to_num(teacher))):
            running.copy_(torch.where(known, running.lerp(found.float(), 1 - MEMORY), running))
        self.best.copy_(torch.maximum(self.best, self.student))

    @torch.no_grad()
    def judge(self, floor: float) -> Tensor:
        """Whether the teacher falls now, a bool on the device; ``floor`` is a share of the student's best.

        A fallen teacher begins at 0 again and has recovered when its running Dice, by then of weights that follow the
        student anew, is at the floor.
        """
        low = self.teacher < floor * self.best
        falls, recovers = low & (self.counts > 0), ~low & (self.counts == 0)
        self.falls.add_(falls)
        self.recoveries.add_(recovers)
        self.counts.copy_(torch.where(low, 0.0, 1.0))
        self.teacher.copy_(torch.where(falls, 0.0, self.teacher))
        return falls

    def told(self) -> dict[str, float]:
        """All numbers by name; waits for the device."""
        return {name: float(buffer) for name, buffer in self.named_buffers()}


def remarks(before: Mapping[str, float], now: Mapping[str, float], floor: float) -> tuple[str, ...]:
    """What people should know of how the numbers of ``TeacherWatch.told`` changed."""
    said = []
    fell = round(now["falls"] - before.get("falls", 0.0))
    if fell:
        times = "" if fell == 1 else f" {fell} times"
        said.append(
            f"The mean teacher fell below its floor{times} (a Dice of {floor * now['best']:.3f} on labelled patches, "
            f"{floor:g} of the student's best): it follows the student anew, and counts for nothing until it recovers."
        )
    if now["recoveries"] > before.get("recoveries", 0.0) and now["counts"]:
        said.append(f"The mean teacher has recovered (Dice {now['teacher']:.3f} on labelled patches) and counts again.")
    return tuple(said)


def dice_on(heads: Sequence[Tensor], targets: Sequence[Tensor], membership: Tensor, presence: Tensor) -> Tensor:
    """2 Σ p t / (Σ p² + Σ t) of all heads, structures and labelled voxels together, a scalar; NaN without foreground.

    Of the whole batch, whichever process holds a sample: all must judge the teacher alike.

    Args:
        heads: M times the probability of each structure, (B, C, *S); targets: M times (B, *S) class indices.
        membership: (C, class indices) bool, which index belongs to which structure.
        presence: (B, M, *1) or (B, M, *S) bool; what a modality does not see does not count.
    """
    sums = torch.zeros(3, device=presence.device)
    for modality, (found, target) in enumerate(zip(heads, targets, strict=True)):
        labelled = ((target != IGNORE) & presence[:, modality]).unsqueeze(1)
        inside = membership[:, target.clamp(min=0)].transpose(0, 1) & labelled
        p = found.detach().float() * labelled
        sums = sums + torch.stack([(p * inside).sum(), (p**2).sum(), inside.sum()])
    shared, sizes, true = ranks.sum_over_ranks(sums)
    return torch.where(true > 0, 2 * shared / (sizes + true).clamp(min=1e-6), torch.nan)
