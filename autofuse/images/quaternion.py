"""Rotations as NIfTI stores them: three parts of a unit quaternion, and a handedness (nifti1.h, method 2)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def rotation_of(quatern: tuple[float, ...], handed: float) -> NDArray[np.float64]:
    """3 x 3 matrix of the quaternion (a, b, c, d), given (b, c, d); its third column is negated if ``handed`` < 0."""
    b, c, d = quatern
    square = b * b + c * c + d * d
    a = math.sqrt(max(0.0, 1 - square))
    norm = math.sqrt(a * a + square)
    a, b, c, d = a / norm, b / norm, c / norm, d / norm
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    if handed < 0:
        rotation[:, 2] *= -1
    return rotation


def quaternion_of(rotation: NDArray[np.float64], handed: float) -> tuple[float, float, float]:
    """(b, c, d) of the rotation nearest to ``rotation``, with a ≥ 0; the inverse of ``rotation_of``."""
    left, _, right = np.linalg.svd(rotation * [1.0, 1.0, handed])
    m = left @ right
    # Each row or column of this matrix is the quaternion times one of its parts; the longest is the most precise.
    products = np.array(
        [
            [1 + m[0, 0] + m[1, 1] + m[2, 2], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], 1 + m[0, 0] - m[1, 1] - m[2, 2], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0]],
            [m[0, 2] - m[2, 0], m[0, 1] + m[1, 0], 1 + m[1, 1] - m[0, 0] - m[2, 2], m[1, 2] + m[2, 1]],
            [m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], 1 + m[2, 2] - m[0, 0] - m[1, 1]],
        ]
    )
    parts = products[int(np.argmax(np.diag(products)))]
    parts = parts / np.linalg.norm(parts)
    sign = -1.0 if parts[0] < 0 else 1.0
    b, c, d = (float(part * sign) for part in parts[1:])
    return b, c, d
