"""Images on one scale, [0, 1] with 256 grey levels, so that every row of a table is scored alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse.alignment.common_grid import background_value
from autofuse.foundation.errors import DataError
from autofuse.foundation.values import Value

LEVELS = 256
WHITE = LEVELS - 1
PERCENTILES = (0.5, 99.5)
"""Of the body's intensities; they become 0 and 1."""

Unit = NDArray[np.floating[Any]]
"""An image in [0, 1]: (y, x) or (z, y, x)."""


class Window(Value):
    """The intensities that become 0 and 1."""

    lower: float
    upper: float


def body_of(voxels: NDArray[Any]) -> NDArray[np.bool_]:
    """Where an image shows something: it is finite, and not the one value that at least 5 % of its voxels share."""
    finite = np.isfinite(voxels)
    constant = background_value(voxels[finite]) if finite.any() else None
    return np.asarray(finite if constant is None else finite & (voxels != constant), np.bool_)


def robust_window(voxels: NDArray[Any], body: NDArray[np.bool_] | None = None) -> Window:
    """The 0.5th and the 99.5th percentile of the body's intensities; of all finite ones where there is no body.

    They are values that occur, so that an image which was cut off at them keeps them: to bring it to [0, 1] once more
    changes nothing.

    Args:
        body: where to look; None for ``body_of`` the image.
    """
    inside = body_of(voxels) if body is None else body & np.isfinite(voxels)
    values = voxels[inside] if inside.any() else voxels[np.isfinite(voxels)]
    if not values.size:
        return Window(lower=0.0, upper=0.0)
    lower, upper = np.percentile(values, PERCENTILES, method="nearest")
    return Window(lower=float(lower), upper=float(upper))


def to_unit(voxels: NDArray[Any], window: Window) -> NDArray[np.float32]:
    """The image in [0, 1], float32: cut off at the window's ends. NaN becomes 0, and so does a window without width."""
    if not window.upper > window.lower:
        return np.zeros(voxels.shape, np.float32)
    unit = np.empty(voxels.shape, np.float32)
    for index, part in enumerate(voxels):
        scaled = (part.astype(np.float64) - window.lower) / (window.upper - window.lower)
        unit[index] = np.nan_to_num(scaled.clip(0, 1), nan=0.0)
    return unit


def to_levels(image: Unit) -> NDArray[np.uint8]:
    """Grey levels 0 to 255 of an image in [0, 1], rounded."""
    levels: NDArray[np.uint8] = np.rint(np.clip(image, 0, 1) * WHITE).astype(np.uint8)
    return levels


def histogram(image: Unit) -> NDArray[np.int64]:
    """(256,) voxels of each grey level; counted slice by slice, to hold little in memory."""
    counts = np.zeros(LEVELS, np.int64)
    for plane in slices(image):
        counts += np.bincount(to_levels(plane).reshape(-1), minlength=LEVELS)
    return counts


def require_alike(images: Sequence[NDArray[Any]]) -> None:
    """Nothing, if there are images, and all are 2D or all 3D, of one shape, and finite.

    Raises:
        DataError: if not.
    """
    if not images:
        raise DataError("A fused image cannot be judged without a source.")
    shapes = {image.shape for image in images}
    if len(shapes) > 1 or images[0].ndim not in (2, 3) or not images[0].size:
        raise DataError(
            "The fused image and its sources must have one shape.",
            found=", ".join(" x ".join(map(str, shape)) for shape in sorted(shapes)),
            expected="(y, x) or (z, y, x), the same for all",
        )
    if not all(np.isfinite(image).all() for image in images):
        raise DataError(
            "Images are judged in [0, 1]; this one has voxels that are not finite numbers.",
            remedy="Bring it there with autofuse.evaluation.fusion.greys.to_unit.",
        )


def slices(image: NDArray[Any], axis: int = 0) -> Iterator[NDArray[np.float64]]:
    """The slices of a volume across ``axis``, one after another; of a 2D image itself."""
    planes = image[None] if image.ndim == 2 else np.moveaxis(image, axis, 0)
    for plane in planes:
        yield plane.astype(np.float64)
