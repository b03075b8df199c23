"""One loss at several resolutions of a decoder (Lee et al., arXiv 1409.5185; weights as in nnU-Net).

Shape legend: B batch, C output channel, S spatial axes (slowest first).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from autofuse.foundation.errors import ModelError

Loss = Callable[[Tensor, Tensor], Mapping[str, Tensor]]


def level_weights(levels: int) -> tuple[float, ...]:
    """1, 1/2, 1/4 … for ``levels`` resolutions, highest first, scaled to add up to 1."""
    halves = [0.5**level for level in range(levels)]
    return tuple(half / sum(halves) for half in halves)


def deep_supervision(outputs: Sequence[Tensor], target: Tensor, loss: Loss) -> dict[str, Tensor]:
    """The terms of ``loss``, each averaged over resolutions with ``level_weights``.

    Args:
        outputs: logits (B, C, *S / r), highest resolution first; the lowest stage of a decoder is not among them.
        target: (B, *S) class indices at full resolution.
        loss: from logits and a target of their size to named scalars.

    Raises:
        ModelError: if the size of an output does not divide the target's.
    """
    terms: dict[str, Tensor] = {}
    for weight, logits in zip(level_weights(len(outputs)), outputs, strict=True):
        for name, value in loss(logits, nearest(target, tuple(logits.shape[2:]))).items():
            terms[name] = weight * value if name not in terms else terms[name] + weight * value
    return terms


def nearest(target: Tensor, size: tuple[int, ...]) -> Tensor:
    """Every n-th voxel of ``target`` (B, *S), as a view (B, *size).

    Labels and IGNORE are picked, never averaged; of an even number of voxels the one after the middle is taken.

    Raises:
        ModelError: if ``size`` does not divide the target's.
    """
    whole = tuple(target.shape[1:])
    if len(size) != len(whole) or any(voxels % small for voxels, small in zip(whole, size, strict=True)):
        raise ModelError(
            "Logits and labels do not lie on grids that fit each other.",
            found=f"logits {size}, labels {whole}",
            expected="a whole number of label voxels per logit on each axis",
            remedy="Use the planned patch.",
        )
    steps = [voxels // small for voxels, small in zip(whole, size, strict=True)]
    return target[(slice(None), *(slice(step // 2, None, step) for step in steps))]
