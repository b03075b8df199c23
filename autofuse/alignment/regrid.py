"""An image on another grid in one interpolation: cubic B-spline (or linear) at the places that an affine map names.

Where the axes of both grids are parallel, the interpolation is a product with one small matrix per axis, as in
``preprocessing.resample``; oblique grids go through scipy's ``affine_transform``. Both take the image to continue
beyond its border as it ends there. Along an axis on which the target's voxels are longer than the image's, the image is
smoothed first: a Gaussian of half the surplus, (step - 1) / 2 voxels, as scikit-image does against aliasing.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from autofuse.alignment.field_of_view import Box, covered_voxels, index_map, parallel_axes
from autofuse.alignment.types import Rigid
from autofuse.images.geometry import Geometry

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Order = Literal[1, 3]

_LEAST_SIGMA = 0.05
"""A narrower Gaussian changes nothing that single precision holds."""


def regrid(
    voxels: NDArray[Any],
    geometry: Geometry,
    target: Geometry,
    rigid: Rigid | None = None,
    *,
    order: Order = 3,
    device: str | torch.device = "cpu",
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(*target.shape) float32 of the image on the target grid, and where it is covered; 0 elsewhere.

    A voxel is covered if its centre lies in the image's field of view. Values are clipped to the image's range.

    Args:
        voxels: (z, y, x), finite.
        rigid: from world positions of the target to those of the image; None where both agree.
        order: 3 for cubic B-splines, 1 for linear interpolation.
        device: of the products for parallel axes; oblique grids are computed on the CPU.
    """
    if voxels.shape != geometry.shape:
        raise ValueError(f"expected {geometry.shape} voxels, not {voxels.shape}")
    out = np.zeros(target.shape, dtype=np.float32)
    covered = covered_voxels(geometry, target, rigid)
    box = _box_of(covered)
    if box is None:
        return out, covered
    matrix = index_map(geometry, target, rigid)
    matrix[:3, 3] += matrix[:3, :3] @ [part.start for part in box]
    shape = tuple(part.stop - part.start for part in box)
    source = np.array(voxels, dtype=np.float32, order="C")
    axes = parallel_axes(matrix, shape)
    if axes is None:
        part = _oblique(source, matrix, shape, order)
    else:
        part = _separable(source, matrix, shape, axes, order, device)
    out[box] = np.where(covered[box], part.clip(source.min(), source.max()), 0)
    return out, covered


def product(volume: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """``matrix`` (n_out, n_in) applied along ``axis`` of ``volume`` (z, y, x)."""
    matrix = matrix.to(volume.device)
    if axis == 2:
        return volume @ matrix.T
    if axis == 1:
        return matrix @ volume
    return (matrix @ volume.flatten(1)).reshape(matrix.shape[0], *volume.shape[1:])


def _separable(
    source: NDArray[np.float32],
    matrix: NDArray[np.float64],
    shape: tuple[int, ...],
    axes: tuple[int, int, int],
    order: Order,
    device: str | torch.device,
) -> NDArray[np.float32]:
    import torch

    # What little the axes deviate is taken at the middle of the target.
    middle = (np.asarray(shape) - 1) / 2
    weights = []
    for axis, along in enumerate(axes):
        step = float(matrix[axis, along])
        first = float(matrix[axis, :3] @ middle + matrix[axis, 3] - step * middle[along])
        weights.append(_weights(source.shape[axis], shape[along], first, step, order))
    volume = torch.from_numpy(source).to(device)
    with torch.no_grad():
        # Axes that shrink most first, so that later products are small.
        for axis in sorted(range(3), key=lambda axis: len(weights[axis]) / source.shape[axis]):
            volume = product(volume, axis, torch.from_numpy(weights[axis]))
    turned: NDArray[np.float32] = volume.permute(*np.argsort(axes).tolist()).cpu().numpy()
    return turned


@lru_cache(maxsize=64)
def _weights(size: int, count: int, first: float, step: float, order: Order) -> NDArray[np.float32]:
    """(count, size): what each of ``size`` voxels in a line adds to the values at first, first + step ..."""
    from scipy.ndimage import gaussian_filter1d, map_coordinates

    places = (first + step * np.arange(count))[None]
    columns = [map_coordinates(impulse, places, order=order, mode="nearest") for impulse in np.eye(size)]
    weights = np.stack(columns, axis=1)
    sigma = _smoothing(abs(step))
    if sigma:
        weights = weights @ gaussian_filter1d(np.eye(size), sigma, axis=0, mode="nearest")
    return weights.astype(np.float32)


def _oblique(
    source: NDArray[np.float32], matrix: NDArray[np.float64], shape: tuple[int, ...], order: Order
) -> NDArray[np.float32]:
    from scipy.ndimage import affine_transform, gaussian_filter

    # A step along a target axis goes some way along several image axes; together they are the target's voxel.
    sigmas = [_smoothing(float(np.linalg.norm(row))) for row in matrix[:3, :3]]
    if any(sigmas):
        source = gaussian_filter(source, sigmas, mode="nearest")
    moved: NDArray[np.float32] = affine_transform(
        source, matrix[:3, :3], matrix[:3, 3], shape, output=np.float32, order=order, mode="nearest"
    )
    return moved


def _smoothing(step: float) -> float:
    """Standard deviation, in voxels, of the Gaussian before sampling every ``step`` voxels; 0 for none."""
    sigma = (step - 1) / 2
    return sigma if sigma > _LEAST_SIGMA else 0.0


def _box_of(mask: NDArray[np.bool_]) -> Box | None:
    """The smallest box that holds all that is true; None if nothing is."""
    spans = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        if not len(hit):
            return None
        spans.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return spans[0], spans[1], spans[2]
