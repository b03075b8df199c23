"""Drawn augmentations applied to crops: geometry once for all modalities, then intensities, each modality apart.

A modality that is shifted against the others takes a mask of its own along.

Everything is deterministic in the draws, on every device within float tolerance. A sample without rotation and zoom
is copied, not resampled; intensities change the batch's own memory. Blur, loss of resolution and shifts are separable
and linear: one small matrix per axis, applied as a product.
Shapes: B batch, M modality, K classes, S spatial axes (slowest first).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from autofuse.preprocessing.resample import axis_weights, exact_float32
from autofuse.sampling.batch import Batch
from autofuse.sampling.crops import Crop, Crops
from autofuse.sampling.draw import AugmentationDraw, IntensityDraw

_TINY = 1e-8


def augment(crops: Crops, device: torch.device | str = "cpu") -> Batch:
    """The batch that the crops become, on ``device``.

    Where the field of view of a modality ends inside a crop, the batch says so in ``covered`` and the modality is
    exactly 0 beyond; one that sees nothing of a finished patch counts as absent in it.
    """
    device = torch.device(device)
    first = crops.samples[0]
    count, modalities = len(crops.samples), first.images.shape[0]
    image = torch.empty((count, modalities, *crops.patch), dtype=torch.float32, device=device)
    several = first.label.shape[: first.label.ndim - len(crops.patch)]
    target = torch.empty((count, *several, *crops.patch), dtype=torch.int64, device=device)
    present = torch.stack([crop.present for crop in crops.samples]).to(device)
    covered = None
    if any(crop.covered is not None for crop in crops.samples):
        covered = torch.ones(image.shape, dtype=torch.bool, device=device)
    membership = crops.prior_membership
    prior = None
    if membership is not None:
        membership = membership.to(device)
        prior = torch.empty((count, len(membership), *crops.patch), dtype=torch.float32, device=device)
    with exact_float32():
        for index, crop in enumerate(crops.samples):
            geometry = _Cut(crop, crops.patch, device)
            geometry.image_into(image[index])
            target[index] = geometry.labels() if several else geometry.indices(crop.label, crop.fills[0])
            if prior is not None and membership is not None and crop.prior is not None:
                prior[index] = membership[:, geometry.indices(crop.prior, 0)].float()
            seen = None
            if covered is not None and crop.covered is not None:
                seen = covered[index]
                geometry.coverage_into(seen)
            apply_intensities(image[index], crop.draw, crops.keep_zero, seen)
    return Batch(
        image=image,
        present=present if covered is None else present & covered.flatten(2).any(dim=2),
        target=target,
        prior=prior,
        cases=tuple(crop.case for crop in crops.samples),
        spacing_mm=crops.spacing_mm,
        covered=covered,
        step_cases=crops.step_cases,
    )


class _Cut:
    """How one sample's patch is cut from its box: straight, or through one sampling grid for images and labels.

    A draw that stays in the plane acts on slices as if they were channels, which costs a tenth of a 3D grid.
    """

    def __init__(self, crop: Crop, patch: tuple[int, ...], device: torch.device) -> None:
        self.crop, self.patch, self.device = crop, patch, device
        matrix = crop.draw.matrix
        self.axes = 0 if matrix is None else len(matrix)
        self.grid: Tensor | None = None
        if matrix is not None:
            # Flipping the finished patch is the same as looking along the negative axis.
            signs = [-1.0 if flip else 1.0 for flip in crop.draw.flips[-self.axes :]]
            box, centre = crop.images.shape[-self.axes :], crop.centre[-self.axes :]
            self.grid = sampling_grid(matrix * np.array(signs), patch[-self.axes :], tuple(box), centre).to(device)

    def image_into(self, out: Tensor) -> None:
        """Fill ``out`` (M, *S): linear interpolation, 0 beyond the image."""
        source = self.crop.images.to(self.device, non_blocking=True)
        out.copy_(self._flipped(source) if self.grid is None else self._sampled(source.float(), "bilinear"))

    def indices(self, source: Tensor, fill: int) -> Tensor:
        """(*S) int64 class indices of ``source`` (*E): nearest, ``fill`` beyond the image."""
        source = source.to(self.device, non_blocking=True)
        if self.grid is None:
            return self._flipped(source).long()
        return self._sampled(source[None].float() - fill, "nearest")[0].long() + fill

    def labels(self) -> Tensor:
        """(M, *S) int64: the mask of each modality, moved along where that modality is shifted against the others."""
        crop = self.crop
        masks = []
        for mask, fill, intensity in zip(crop.label, crop.fills, crop.draw.intensities, strict=True):
            found = self.indices(mask, fill)
            shift = intensity.shift_voxels
            masks.append(found if shift is None else shifted(found, shift, fill))
        return torch.stack(masks)

    def coverage_into(self, out: Tensor) -> None:
        """Fill ``out`` (M, *S) bool: nearest; what lies beyond the box counts as seen, as zeros there do."""
        assert self.crop.covered is not None
        source = self.crop.covered.to(self.device, non_blocking=True)
        if self.grid is None:
            out.copy_(self._flipped(source))
        else:
            out.copy_(self._sampled((~source).float(), "nearest") == 0)

    def _flipped(self, volume: Tensor) -> Tensor:
        """What the grid has not flipped already is flipped here."""
        flips = self.crop.draw.flips[: len(self.patch) - self.axes]
        axes = [axis - len(self.patch) for axis, flip in enumerate(flips) if flip]
        return volume.flip(axes) if axes else volume

    def _sampled(self, source: Tensor, mode: str) -> Tensor:
        """(N, *S) from ``source`` (N, *E) through the grid; 0 beyond the box."""
        assert self.grid is not None
        volume = source if self.axes == len(self.patch) else source.flatten(0, 1)
        out = F.grid_sample(volume[None], self.grid[None], mode=mode, padding_mode="zeros", align_corners=False)[0]
        return self._flipped(out.reshape(source.shape[0], *self.patch))


def shifted(indices: Tensor, shift_voxels: Sequence[float], fill: int) -> Tensor:
    """(*S): ``indices`` as an image would be after the same shift; the nearest voxel, ``fill`` beyond the border."""
    out = indices
    for axis, by in enumerate(shift_voxels):
        size = out.shape[axis]
        places = torch.arange(size, device=out.device) + round(by)
        inside = (places >= 0) & (places < size)
        along = [-1 if other == axis else 1 for other in range(out.ndim)]
        out = torch.where(inside.view(along), out.index_select(axis, places.clamp(0, size - 1)), fill)
    return out


def sampling_grid(
    matrix: NDArray[np.float64], patch: tuple[int, ...], box: tuple[int, ...], centre: tuple[float, ...]
) -> Tensor:
    """(*patch, D) positions for ``grid_sample``, which counts in x, y, z from -1 to 1 between a box's outer borders.

    Output voxel i, at offset i - (P - 1) / 2 from the patch's centre, looks at box voxel j = centre + A offset, which
    is v = (2 j + 1) / N - 1.
    """
    axes = len(patch)
    grid = torch.empty((*patch, axes))
    for row in range(axes):
        total = torch.tensor((2 * centre[row] + 1) / box[row] - 1, dtype=torch.float32)
        for column, size in enumerate(patch):
            offset = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
            part = (offset * (2 * matrix[row, column] / box[row])).float()
            total = total + part.reshape([-1 if axis == column else 1 for axis in range(axes)])
        grid[..., axes - 1 - row] = total
    return grid


def apply_intensities(
    image: Tensor, draw: AugmentationDraw, keep_zero: tuple[bool, ...], covered: Tensor | None = None
) -> None:
    """Change ``image`` (M, *S) in place as drawn; where ``keep_zero``, what was 0 in all modalities stays 0.

    Args:
        covered: (M, *S) bool, moved along where a modality is shifted against the others. What is not covered plays no
            part in the statistics of contrast and gamma and is 0 in the end.
    """
    if all(item.is_nothing for item in draw.intensities):
        if covered is not None:
            image.mul_(covered)
        return
    inside = (image != 0).any(dim=0) if any(keep_zero) else None
    generator = torch.Generator().manual_seed(draw.noise_seed)
    for index, (volume, intensity, stays) in enumerate(zip(image, draw.intensities, keep_zero, strict=True)):
        seen = None if covered is None else covered[index]
        if not intensity.is_nothing:
            _apply(volume, intensity, draw.planar, generator, seen)
            if stays and inside is not None:
                volume.mul_(inside)
        if seen is not None:
            volume.mul_(seen)


def _apply(
    volume: Tensor, draw: IntensityDraw, planar: bool, generator: torch.Generator, seen: Tensor | None = None
) -> None:
    if draw.shift_voxels is not None:
        shifts = [_shift(size, by) for size, by in zip(volume.shape, draw.shift_voxels, strict=True)]
        separable_(volume, shifts)
        if seen is not None:
            moved = seen.float()
            separable_(moved, shifts)
            seen.copy_(moved > 0.5)
    if draw.noise_std is not None:
        # Drawn on the CPU whatever the device: the same sample everywhere.
        noise = torch.randn(volume.shape, generator=generator)
        volume.add_(noise.to(volume.device), alpha=draw.noise_std)
    if draw.blur_sigma is not None:
        separable_(volume, [_gaussian(size, sigma) for size, sigma in zip(volume.shape, draw.blur_sigma, strict=True)])
    if draw.brightness is not None:
        volume.mul_(draw.brightness)
    if draw.contrast is not None:
        _where_seen(volume, seen, change_contrast_, draw.contrast)
    if draw.zoom is not None:
        first = volume.ndim - 2 if planar else 0
        sizes = enumerate(volume.shape)
        separable_(volume, [_coarse(size, draw.zoom) if axis >= first else None for axis, size in sizes])
    if draw.gamma_inverted is not None:
        _where_seen(volume.neg_(), seen, change_gamma_, draw.gamma_inverted)
        volume.neg_()
    if draw.gamma is not None:
        _where_seen(volume, seen, change_gamma_, draw.gamma)


def _where_seen(volume: Tensor, seen: Tensor | None, change: Callable[[Tensor, float], None], by: float) -> None:
    """``change`` the voxels that are seen, as if there were no others."""
    if seen is None:
        change(volume, by)
        return
    part = volume[seen]
    if part.numel():
        change(part, by)
        volume[seen] = part


def change_contrast_(volume: Tensor, factor: float) -> None:
    """Distances from the mean times ``factor``, clipped to the former range; in place."""
    low, high = volume.aminmax()
    mean = volume.mean()
    volume.sub_(mean).mul_(factor).add_(mean).clamp_(low, high)


def change_gamma_(volume: Tensor, gamma: float) -> None:
    """The curve x^gamma on the range of ``volume``; mean and standard deviation are as before. In place."""
    low, high = volume.aminmax()
    mean, std = volume.mean(), _spread(volume - volume.mean())
    volume.sub_(low).div_((high - low).clamp_min(_TINY)).pow_(gamma)
    volume.sub_(volume.mean())
    volume.mul_(std / _spread(volume).clamp_min(_TINY)).add_(mean)


def _spread(centred: Tensor) -> Tensor:
    """Standard deviation of what has mean 0; torch's own takes 25 times as long."""
    spread: Tensor = torch.linalg.vector_norm(centred) / centred.numel() ** 0.5
    return spread


def separable_(volume: Tensor, matrices: Sequence[NDArray[np.float64] | None]) -> None:
    """One (n, n) matrix along each axis of ``volume`` (*S), None for none; in place."""
    out = volume
    for axis, matrix in enumerate(matrices):
        if matrix is None:
            continue
        weights = torch.from_numpy(matrix.astype(np.float32)).to(volume.device)
        if axis == volume.ndim - 1:
            out = out @ weights.T
        elif axis == 0:
            out = (weights @ out.flatten(1)).reshape(volume.shape)
        else:
            out = torch.matmul(weights, out)
    if out is not volume:
        volume.copy_(out)


def _gaussian(size: int, sigma: float) -> NDArray[np.float64]:
    """Rows sum to one, so that a constant image stays constant up to its border."""
    distance = np.arange(size)[:, None] - np.arange(size)[None, :]
    weights = np.exp(-0.5 * (distance / sigma) ** 2)
    normalised: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalised


def _coarse(size: int, zoom: float) -> NDArray[np.float64]:
    """Down to ``zoom`` times the size by picking voxels, and up again by linear interpolation."""
    small = max(1, round(size * zoom))
    product: NDArray[np.float64] = axis_weights(small, size, 1) @ axis_weights(size, small, 0)
    return product


def _shift(size: int, by: float) -> NDArray[np.float64]:
    """Linear interpolation ``by`` voxels further on; 0 beyond the border."""
    position = np.arange(size)[:, None] + by
    weights: NDArray[np.float64] = np.clip(1.0 - np.abs(position - np.arange(size)[None, :]), 0.0, None)
    return weights
