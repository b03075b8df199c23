"""Where a prepared case lies in its raw images, so that masks find the way back.

The way there: crop (raw axes), transpose, resample. The way back: resample, transpose back, uncrop.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse.foundation.values import Value
from autofuse.images.geometry import Geometry

Triple = tuple[float, float, float]
Shape = tuple[int, int, int]
Span = tuple[int, int]


class Placement(Value):
    """How a prepared case was cut from its raw grid.

    Attributes:
        raw_shape, raw_spacing_mm, origin_mm, direction: the raw grid (see ``Geometry``), array order.
        crop: per raw axis, first voxel kept and the one after the last.
        transpose: raw axis that became the first, second, third.
        cropped_shape: after crop and transpose, before resampling.
        prepared_shape, prepared_spacing_mm: of the prepared grid (transposed order).
    """

    raw_shape: Shape
    raw_spacing_mm: Triple
    origin_mm: Triple
    direction: tuple[Triple, Triple, Triple]
    crop: tuple[Span, Span, Span]
    transpose: Shape
    cropped_shape: Shape
    prepared_shape: Shape
    prepared_spacing_mm: Triple

    @property
    def geometry(self) -> Geometry:
        """The raw grid."""
        return Geometry(self.raw_shape, self.raw_spacing_mm, self.origin_mm, self.direction)

    @property
    def prepared_geometry(self) -> Geometry:
        """The prepared grid: it shares its outer borders with the cropped part of the raw one."""
        ratios = [old / new for old, new in zip(self.cropped_shape, self.prepared_shape, strict=True)]
        first = np.ones(4)
        for axis, ratio in zip(self.transpose, ratios, strict=True):
            first[axis] = self.crop[axis][0] + (ratio - 1) / 2
        x, y, z = (float(value) for value in (self.geometry.affine() @ first)[:3])
        along_x, along_y, along_z = ((row[a], row[b], row[c]) for row in self.direction for a, b, c in [self.transpose])
        return Geometry(self.prepared_shape, self.prepared_spacing_mm, (x, y, z), (along_x, along_y, along_z))

    def forward(self, array: NDArray[Any]) -> NDArray[Any]:
        """A view of ``array`` (..., raw z, y, x), cropped and transposed: (..., *cropped_shape)."""
        if array.shape[-3:] != self.raw_shape:
            raise ValueError(f"expected {self.raw_shape} raw voxels, not {array.shape[-3:]}")
        (z0, z1), (y0, y1), (x0, x1) = self.crop
        cropped = array[..., z0:z1, y0:y1, x0:x1]
        leading = array.ndim - 3
        return cropped.transpose(*range(leading), *(leading + axis for axis in self.transpose))

    def inverse(self, array: NDArray[Any], fill: float = 0) -> NDArray[Any]:
        """``array`` (..., *cropped_shape) in its place in a raw grid (..., z, y, x) of ``fill``, same type."""
        if array.shape[-3:] != self.cropped_shape:
            raise ValueError(f"expected {self.cropped_shape} cropped voxels, not {array.shape[-3:]}")
        out = np.full((*array.shape[:-3], *self.raw_shape), fill, dtype=array.dtype)
        self.forward(out)[...] = array
        return out


def place(
    geometry: Geometry,
    crop: tuple[slice, ...],
    transpose: Shape,
    target_spacing_mm: Triple,
    *,
    keep_first_axis: bool = False,
) -> Placement:
    """The placement of a case whose raw grid is ``geometry``, cropped to ``crop`` (raw axes).

    Prepared sizes are round(cropped size * spacing / target), at least 1; the prepared spacing is what really comes
    out, so that the extent in mm is unchanged.

    Args:
        target_spacing_mm: transposed axis order.
        keep_first_axis: leave the first transposed axis as it is (2D configurations see single slices).
    """
    spans = [(part.start, part.stop) for part in crop]
    cropped = [spans[axis][1] - spans[axis][0] for axis in transpose]
    spacing = [geometry.spacing_mm[axis] for axis in transpose]
    target = [spacing[0] if keep_first_axis else target_spacing_mm[0], *target_spacing_mm[1:]]
    shape = [max(1, round(cropped[axis] * spacing[axis] / target[axis])) for axis in range(3)]
    return Placement(
        raw_shape=geometry.shape,
        raw_spacing_mm=geometry.spacing_mm,
        origin_mm=geometry.origin_mm,
        direction=geometry.direction,
        crop=(spans[0], spans[1], spans[2]),
        transpose=transpose,
        cropped_shape=(cropped[0], cropped[1], cropped[2]),
        prepared_shape=(shape[0], shape[1], shape[2]),
        prepared_spacing_mm=(
            cropped[0] * spacing[0] / shape[0],
            cropped[1] * spacing[1] / shape[1],
            cropped[2] * spacing[2] / shape[2],
        ),
    )
