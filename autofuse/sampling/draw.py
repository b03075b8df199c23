"""What happens to one sample, drawn first and applied later: the same draw gives the same sample on every device."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import cos, radians, sin

import numpy as np
from numpy.typing import NDArray

Range = tuple[float, float]


@dataclass(frozen=True)
class AugmentationRecipe:
    """Probabilities and ranges; the defaults are nnU-Net's.

    Attributes:
        rotation, rotation_degrees: probability of a rotation and its largest angle about each axis.
        in_plane_degrees: largest angle where only the plane is rotated: 2D patches, and volumes whose largest axis is
            more than ``anisotropy`` times the first.
        elongated_degrees, elongation: the same for 2D patches with sides of a ratio above ``elongation``.
        scaling, scales: probability of a zoom and its factors; above 1 the patch sees more.
        mirror: probability along each axis that the plan allows.
        noise, noise_std: additive Gaussian noise.
        blur, blur_share, blur_sigma: Gaussian blur; share of modalities blurred then; sigma in voxels.
        brightness, contrast: probabilities; ``factors``: of both. Contrast keeps mean and range.
        low_resolution, low_resolution_share, zooms: sampled down to a fraction and up again.
        gamma, gamma_inverted, gammas: power curves on the image and on its negative; mean and spread are kept.
        jitter, jitter_mm: probability and largest shift per axis of one modality against the others.
    """

    rotation: float = 0.2
    rotation_degrees: float = 30.0
    in_plane_degrees: float = 180.0
    elongated_degrees: float = 15.0
    anisotropy: float = 3.0
    elongation: float = 1.5
    scaling: float = 0.2
    scales: Range = (0.7, 1.4)
    mirror: float = 0.5
    noise: float = 0.1
    noise_std: Range = (0.0, 0.1)
    blur: float = 0.2
    blur_share: float = 0.5
    blur_sigma: Range = (0.5, 1.0)
    brightness: float = 0.15
    contrast: float = 0.15
    factors: Range = (0.75, 1.25)
    low_resolution: float = 0.25
    low_resolution_share: float = 0.5
    zooms: Range = (0.5, 1.0)
    gamma: float = 0.3
    gamma_inverted: float = 0.1
    gammas: Range = (0.7, 1.5)
    jitter: float = 0.0
    jitter_mm: float = 0.0

    def planar(self, patch: tuple[int, ...]) -> bool:
        """Whether rotation, zoom and loss of resolution stay in the plane of the last two axes."""
        return len(patch) == 2 or max(patch) / patch[0] > self.anisotropy


NO_AUGMENTATION = AugmentationRecipe(
    rotation=0, scaling=0, mirror=0, noise=0, blur=0, brightness=0, contrast=0, low_resolution=0, gamma=0,
    gamma_inverted=0,
)  # fmt: skip


@dataclass(frozen=True)
class IntensityDraw:
    """What happens to one modality of one sample, in this order; None where nothing does."""

    shift_voxels: tuple[float, ...] | None = None
    noise_std: float | None = None
    blur_sigma: tuple[float, ...] | None = None
    brightness: float | None = None
    contrast: float | None = None
    zoom: float | None = None
    gamma_inverted: float | None = None
    gamma: float | None = None

    @property
    def is_nothing(self) -> bool:
        """Whether the modality stays as it is."""
        return self == _NOTHING


_NOTHING = IntensityDraw()


@dataclass(frozen=True)
class AugmentationDraw:
    """What happens to one sample.

    Attributes:
        matrix: (D, D) from patch voxels to image voxels about the patch's centre, acting on the last D spatial axes
            (2: in the plane); None where the patch is cut straight.
        flips: per axis of the patch, applied to the finished patch.
        intensities: per modality.
        noise_seed: of the sample's noise.
        planar: whether the loss of resolution stays in the plane.
    """

    matrix: NDArray[np.float64] | None
    flips: tuple[bool, ...]
    intensities: tuple[IntensityDraw, ...] = field(default=())
    noise_seed: int = 0
    planar: bool = False

    def reach(self, patch: tuple[int, ...]) -> tuple[float, ...]:
        """How far, in voxels from its centre along each axis, the patch's voxel centres reach into the image."""
        half = (np.array(patch) - 1) / 2
        if self.matrix is None:
            return tuple(half)
        axes = len(self.matrix)
        half[-axes:] = np.abs(self.matrix) @ half[-axes:]
        return tuple(half)


def draw_augmentation(
    recipe: AugmentationRecipe,
    generator: np.random.Generator,
    patch: tuple[int, ...],
    spacing_mm: tuple[float, ...],
    mirror_axes: tuple[int, ...],
    present: NDArray[np.bool_],
) -> AugmentationDraw:
    """A draw for one sample; absent modalities get none.

    Args:
        patch, spacing_mm: of the patch's 2 or 3 axes.
        mirror_axes: axes of the patch that may be mirrored.
    """
    planar = recipe.planar(patch)
    flips = tuple(
        bool(axis in mirror_axes and value < recipe.mirror) for axis, value in enumerate(generator.random(len(patch)))
    )
    matrix = _draw_matrix(recipe, generator, patch, spacing_mm, planar)
    noise_seed = int(generator.integers(1 << 62))
    shared = {name: generator.random() < getattr(recipe, name) for name in ("noise", "blur", "low_resolution")}
    intensities = tuple(
        _draw_intensity(recipe, generator, patch, spacing_mm, shared) if here else _NOTHING for here in present
    )
    return AugmentationDraw(matrix, flips, intensities, noise_seed, planar)


def _draw_matrix(
    recipe: AugmentationRecipe,
    generator: np.random.Generator,
    patch: tuple[int, ...],
    spacing_mm: tuple[float, ...],
    planar: bool,
) -> NDArray[np.float64] | None:
    """Rotation in mm (so that shapes stay shapes on anisotropic grids) and one zoom for all axes."""
    rotates, zooms = generator.random(2) < (recipe.rotation, recipe.scaling)
    axes = 2 if planar else 3
    matrix = np.eye(axes)
    if rotates:
        matrix = _rotation(generator.uniform(-1, 1, 1 if planar else 3) * radians(_largest_angle(recipe, patch)))
        size = np.array(spacing_mm[-axes:])
        matrix = matrix * size[None, :] / size[:, None]
    if zooms:
        matrix = matrix * generator.uniform(*recipe.scales)
    return matrix if rotates or zooms else None


def _largest_angle(recipe: AugmentationRecipe, patch: tuple[int, ...]) -> float:
    if not recipe.planar(patch):
        return recipe.rotation_degrees
    if len(patch) == 2 and max(patch) / min(patch) > recipe.elongation:
        return recipe.elongated_degrees
    return recipe.in_plane_degrees


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """2 x 2 for one angle, 3 x 3 for three (about the first, second and third axis, one after the other)."""
    if len(angles) == 1:
        return np.array([[cos(angles[0]), -sin(angles[0])], [sin(angles[0]), cos(angles[0])]])
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        one, two = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[one, one] = turn[two, two] = cos(angle)
        turn[one, two], turn[two, one] = -sin(angle), sin(angle)
        matrix = matrix @ turn
    return matrix


def _draw_intensity(
    recipe: AugmentationRecipe,
    generator: np.random.Generator,
    patch: tuple[int, ...],
    spacing_mm: tuple[float, ...],
    shared: dict[str, bool],
) -> IntensityDraw:
    def happens(probability: float) -> bool:
        return bool(generator.random() < probability)

    shift = None
    if happens(recipe.jitter):
        shift = tuple(float(generator.uniform(-1, 1) * recipe.jitter_mm / size) for size in spacing_mm)
    blurs = shared["blur"] and happens(recipe.blur_share)
    coarsens = shared["low_resolution"] and happens(recipe.low_resolution_share)
    return IntensityDraw(
        shift_voxels=shift,
        noise_std=float(generator.uniform(*recipe.noise_std)) if shared["noise"] else None,
        blur_sigma=tuple(generator.uniform(*recipe.blur_sigma, len(patch)).tolist()) if blurs else None,
        brightness=_factor(generator, recipe.factors) if happens(recipe.brightness) else None,
        contrast=_factor(generator, recipe.factors) if happens(recipe.contrast) else None,
        zoom=float(generator.uniform(*recipe.zooms)) if coarsens else None,
        gamma_inverted=_factor(generator, recipe.gammas) if happens(recipe.gamma_inverted) else None,
        gamma=_factor(generator, recipe.gammas) if happens(recipe.gamma) else None,
    )


def _factor(generator: np.random.Generator, limits: Range) -> float:
    """As often below 1 as above, uniform on each side."""
    low, high = limits
    below = low < 1 and generator.random() < 0.5
    return float(generator.uniform(low, 1.0) if below else generator.uniform(max(low, 1.0), high))
