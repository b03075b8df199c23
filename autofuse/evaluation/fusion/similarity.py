"""Fusion metrics that compare neighbourhoods of the fused image with those of a source: VIF, Qabf, SSIM.

All take images in [0, 1], (y, x) or (z, y, x), and look within slices across ``slice_axis``: people read slices, and
voxels are often much longer across them. Sums run over all slices, so that a slice counts as much as it shows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autofuse.evaluation.fusion.greys import WHITE, Unit, require_alike, slices

Plane = NDArray[np.float64]

SCALES = (17, 9, 5, 3)
"""Widths of VIF's windows, in pixels of the scale: the finest first. Each scale has half the pixels of the last."""
NOISE_VARIANCE = 2.0
"""Of the visual noise of VIF, in squared grey levels (0 to 255)."""
SSIM_WINDOW = 11
"""Smallest side of a slice that SSIM is defined on."""

_SSIM_AS_PUBLISHED = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
_FLAT = 1e-10
_GAIN, _STEEPNESS, _CENTRE = (0.9994, 0.9879), (-15.0, -22.0), (0.5, 0.8)
"""Qabf's sigmoids: first for edge strength, then for orientation."""


def visual_information_fidelity(fused: Unit, source: Unit, slice_axis: int = 0) -> float | None:
    """VIF in the pixel domain: the information about the source that a viewer can take from the fused image, over that
    which he can take from the source; 1 for a copy, 0 for nothing, above 1 for a copy of more contrast.

    Over four scales and all slices, in grey levels 0 to 255 with visual noise of variance 2; Gaussian windows of 17, 9,
    5 and 3 pixels, standard deviation a fifth of that. Scales that are smaller than their window are left out. None
    where the source shows nothing, or is smaller than 17 pixels.

    Source: Sheikh & Bovik 2006, doi 10.1109/TIP.2005.859378, in the multi-scale pixel form that its authors published.
    The table's score is the sum over the sources, as usual for fused images.
    """
    require_alike([fused, source])
    kept = whole = 0.0
    for image, reference in zip(slices(fused, slice_axis), slices(source, slice_axis), strict=True):
        told, known = _information(image * WHITE, reference * WHITE)
        kept, whole = kept + told, whole + known
    return kept / whole if whole > 0 else None


def edge_preservation(fused: Unit, sources: Sequence[Unit], slice_axis: int = 0) -> float | None:
    """Qabf: how well the strength and the orientation of every source's edges stand in the fused image, weighted by
    their strength; 0 to 0.975 (a copy of a single source). None where no source has an edge.

    Per pixel and source Q = Γg / (1 + exp(κg (G - σg))) · Γα / (1 + exp(κα (A - σα))) from Sobel's gradients, with G
    the smaller over the larger strength and A = 1 - (angle between both orientations) / 90°. Orientations are taken
    modulo 180°, so that two almost vertical edges count as alike. Γ, κ, σ as published; weight = strength.

    Source: Xydeas & Petrovic 2000, doi 10.1049/el:20000267.
    """
    require_alike([fused, *sources])
    total = weights = 0.0
    for plane, *references in zip(*(slices(image, slice_axis) for image in (fused, *sources)), strict=True):
        strength, angle = _edges(plane)
        for reference in references:
            own_strength, own_angle = _edges(reference)
            quality = _quality(strength, angle, own_strength, own_angle)
            total += float((quality * own_strength).sum())
            weights += float(own_strength.sum())
    return total / weights if weights > _FLAT else None


def structural_similarity(fused: Unit, source: Unit, slice_axis: int = 0) -> float | None:
    """SSIM with data range 1: the mean over all pixels and slices; 1 for a copy. None for slices below 11 pixels.

    Gaussian window of 11 x 11 pixels, standard deviation 1.5, K1 = 0.01, K2 = 0.03, population covariance.

    Source: Wang et al. 2004, doi 10.1109/TIP.2003.819861; computed by scikit-image. The table's score is the mean over
    the sources.
    """
    from skimage.metrics import structural_similarity as ssim

    require_alike([fused, source])
    values = []
    for image, reference in zip(slices(fused, slice_axis), slices(source, slice_axis), strict=True):
        if min(image.shape) < SSIM_WINDOW:
            return None
        values.append(float(ssim(reference, image, **_SSIM_AS_PUBLISHED)))  # type: ignore[no-untyped-call]
    return sum(values) / len(values)


def _information(image: Plane, reference: Plane) -> tuple[float, float]:
    """What is told about the reference by the image and by itself, summed over scales and pixels."""
    told = known = 0.0
    for scale, width in enumerate(SCALES):
        if scale:
            if min(image.shape) < width:
                break
            image, reference = _blurred(image, width)[::2, ::2], _blurred(reference, width)[::2, ::2]
        if min(image.shape) < width:
            break
        gain, noise, variance = _distortion(image, reference, width)
        told += float(np.log2(1 + np.square(gain) * variance / (noise + NOISE_VARIANCE)).sum())
        known += float(np.log2(1 + variance / NOISE_VARIANCE).sum())
    return told, known


def _distortion(image: Plane, reference: Plane, width: int) -> tuple[Plane, Plane, Plane]:
    """Per window: gain and noise variance that make the image of the reference, and the reference's variance."""
    mean, own_mean = _blurred(image, width), _blurred(reference, width)
    variance = np.maximum(_blurred(image * image, width) - mean * mean, 0)
    own_variance = np.maximum(_blurred(reference * reference, width) - own_mean * own_mean, 0)
    shared = _blurred(image * reference, width) - mean * own_mean
    gain = shared / (own_variance + _FLAT)
    noise = variance - gain * shared
    # Where the reference is flat, or the image runs against it, all that the image shows is noise.
    foreign = (own_variance < _FLAT) | (gain < 0)
    gain, noise = np.where(foreign, 0, gain), np.where(foreign, variance, noise)
    flat = variance < _FLAT
    gain, noise = np.where(flat, 0, gain), np.where(flat, 0, noise)
    return gain, np.maximum(noise, _FLAT), np.where(own_variance < _FLAT, 0, own_variance)


def _blurred(plane: Plane, width: int) -> Plane:
    """Gaussian means over windows of ``width`` pixels that lie wholly in the plane: smaller by width - 1."""
    from scipy.ndimage import correlate1d

    reach = width // 2
    weights = np.exp(-0.5 * np.square((np.arange(width) - reach) / (width / 5)))
    weights /= weights.sum()
    for axis in (0, 1):
        plane = correlate1d(plane, weights, axis=axis)
    blurred: Plane = plane[reach : plane.shape[0] - reach, reach : plane.shape[1] - reach]
    return blurred


def _edges(plane: Plane) -> tuple[Plane, Plane]:
    """Strength and orientation (radians) of Sobel's gradient; the plane goes on beyond its border as it ends there."""
    from scipy.ndimage import sobel

    down, across = sobel(plane, axis=0, mode="nearest"), sobel(plane, axis=1, mode="nearest")
    return np.hypot(down, across), np.arctan2(down, across)


def _quality(strength: Plane, angle: Plane, own_strength: Plane, own_angle: Plane) -> Plane:
    larger = np.maximum(strength, own_strength)
    ratio = np.minimum(strength, own_strength) / np.where(larger > 0, larger, 1)
    apart = np.abs(angle - own_angle) % np.pi
    alike = 1 - np.minimum(apart, np.pi - apart) / (np.pi / 2)
    quality = np.ones_like(ratio)
    for value, gain, steepness, centre in zip((ratio, alike), _GAIN, _STEEPNESS, _CENTRE, strict=True):
        quality *= gain / (1 + np.exp(steepness * (value - centre)))
    return quality
