"""Boxes of voxels: a slice per array axis."""

from __future__ import annotations

from collections.abc import Sequence

Box = tuple[slice, ...]


def union(boxes: Sequence[Box | None]) -> Box:
    """The smallest box that holds all of ``boxes``; those that are None hold nothing."""
    found = [box for box in boxes if box is not None]
    return tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*found, strict=True))


def widened(box: Box, steps: int, shape: Sequence[int]) -> Box:
    """``box`` with ``steps`` voxels more on each side, as far as ``shape`` reaches."""
    return tuple(
        slice(max(0, part.start - steps), min(size, part.stop + steps)) for part, size in zip(box, shape, strict=True)
    )
