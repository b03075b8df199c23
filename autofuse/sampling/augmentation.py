"""Drawn augmentations applied to crops: geometry once for all modalities, then intensities, each modality apart.

Everything is deterministic in the draws, on every device within float tolerance. A sample without rotation and zoom
is copied, not resampled; intensities change the batch's own memory. Blur, loss of resolution and shifts are separable
and linear: one small matrix per axis, applied as a product.
Shapes: B batch, M modality, K classes, S spatial axes (slowest first).
"""

from __future__ import annotations

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
    """The batch that the crops become, on ``device``."""
    device = torch.device(device)
    first = crops.samples[0]
    count, modalities = len(crops.samples), first.images.shape[0]
    image = torch.empty((count, modalities, *crops.patch), dtype=torch.float32, device=device)
    target = torch.empty((count, *crops.patch), dtype=torch.int64, device=device)
    membership = crops.prior_membership
    prior = None
    if membership is not None:
        membership = membership.to(device)
        prior = torch.empty((count, len(membership), *crops.patch), dtype=torch.float32, device=device)
    with exact_float32():
        for index, crop in enumerate(crops.samples):
            _place_image(image[index], crop)
            target[index] = _placed_indices(crop.label, crop, crop.label_fill, crops.patch, device)
            if prior is not None and membership is not None and crop.prior is not None:
                earlier = _placed_indices(crop.prior, crop, 0, crops.patch, device)
                prior[index] = membership[:, earlier.clamp_min(0)].float()
            apply_intensities(image[index], crop.draw, crops.keep_zero)
    return Batch(
        image=image,
        present=torch.stack([crop.present for crop in crops.samples]).to(device),
        target=target,
        prior=prior,
        cases=tuple(crop.case for crop in crops.samples),
        spacing_mm=crops.spacing_mm,
    )


def _place_image(out: Tensor, crop: Crop) -> None:
    """Fill ``out`` (M, *S) with the crop's images, straight or resampled (linear, 0 beyond the image)."""
    source = crop.images.to(out.device, non_blocking=True)
    if crop.draw.matrix is None:
        out.copy_(_flipped(source, crop.draw))
    else:
        out.copy_(_resampled(source.float(), crop, tuple(out.shape[1:]), "bilinear"))


def _placed_indices(source: Tensor, crop: Crop, fill: int, patch: tuple[int, ...], device: torch.device) -> Tensor:
    """(*S) int64 class indices of ``source`` (*E), straight or resampled (nearest, ``fill`` beyond the image)."""
    source = source.to(device, non_blocking=True)
    if crop.draw.matrix is None:
        return _flipped(source, crop.draw).long()
    lifted = source[None].float() - fill
    return _resampled(lifted, crop, patch, "nearest")[0].long() + fill


def _flipped(volume: Tensor, draw: AugmentationDraw) -> Tensor:
    axes = [axis - len(draw.flips) for axis, flip in enumerate(draw.flips) if flip]
    return volume.flip(axes) if axes else volume


def _resampled(source: Tensor, crop: Crop, patch: tuple[int, ...], mode: str) -> Tensor:
    """(N, *patch) from ``source`` (N, *E) under the draw's matrix; 0 beyond the box."""
    matrix = crop.draw.matrix
    assert matrix is not None
    axes = len(matrix)
    volume = source
    if axes < len(patch):  # in the plane: slices are treated as channels, which costs a third of a 3D grid
        volume = source.reshape(-1, *source.shape[-2:])
        flips = (False,) * axes
    else:
        flips = crop.draw.flips
    turned = matrix @ np.diag([-1.0 if flip else 1.0 for flip in flips])
    theta = _theta(turned, patch[-axes:], tuple(volume.shape[-axes:]), crop.centre[-axes:])
    size = [1, volume.shape[0], *patch[-axes:]]
    grid = F.affine_grid(torch.from_numpy(theta)[None].to(source.device, torch.float32), size, align_corners=False)
    out = F.grid_sample(volume[None], grid, mode=mode, padding_mode="zeros", align_corners=False)[0]
    if axes < len(patch):
        return _flipped(out.reshape(source.shape[0], *patch), crop.draw)
    return out


def _theta(
    matrix: NDArray[np.float64], patch: tuple[int, ...], box: tuple[int, ...], centre: tuple[float, ...]
) -> NDArray[np.float64]:
    """(D, D + 1) for ``affine_grid``, which counts in x, y, z and in units of half a side.

    Output voxel i lies at u = (2 i + 1) / P - 1, so its offset from the patch's centre is u P / 2; it looks at box
    voxel j = centre + A (u P / 2), which is v = (2 j + 1) / N - 1.
    """
    size_in, size_out = np.array(box, dtype=float), np.array(patch, dtype=float)
    linear = matrix * size_out[None, :] / size_in[:, None]
    offset = (2 * np.array(centre) + 1) / size_in - 1
    return np.concatenate([linear[::-1, ::-1], offset[::-1, None]], axis=1)


def apply_intensities(image: Tensor, draw: AugmentationDraw, keep_zero: tuple[bool, ...]) -> None:
    """Change ``image`` (M, *S) in place as drawn; where ``keep_zero``, what was 0 in all modalities stays 0."""
    if all(item.is_nothing for item in draw.intensities):
        return
    inside = (image != 0).any(dim=0) if any(keep_zero) else None
    generator = torch.Generator().manual_seed(draw.noise_seed)
    for volume, intensity, stays in zip(image, draw.intensities, keep_zero, strict=True):
        if intensity.is_nothing:
            continue
        _apply(volume, intensity, draw.planar, generator)
        if stays and inside is not None:
            volume.mul_(inside)


def _apply(volume: Tensor, draw: IntensityDraw, planar: bool, generator: torch.Generator) -> None:
    if draw.shift_voxels is not None:
        separable_(volume, [_shift(size, by) for size, by in zip(volume.shape, draw.shift_voxels, strict=True)])
    if draw.noise_std is not None:
        # Drawn on the CPU whatever the device: the same sample everywhere.
        noise = torch.randn(volume.shape, generator=generator)
        volume.add_(noise.to(volume.device), alpha=draw.noise_std)
    if draw.blur_sigma is not None:
        separable_(volume, [_gaussian(size, sigma) for size, sigma in zip(volume.shape, draw.blur_sigma, strict=True)])
    if draw.brightness is not None:
        volume.mul_(draw.brightness)
    if draw.contrast is not None:
        change_contrast_(volume, draw.contrast)
    if draw.zoom is not None:
        first = volume.ndim - 2 if planar else 0
        sizes = enumerate(volume.shape)
        separable_(volume, [_coarse(size, draw.zoom) if axis >= first else None for axis, size in sizes])
    if draw.gamma_inverted is not None:
        change_gamma_(volume.neg_(), draw.gamma_inverted)
        volume.neg_()
    if draw.gamma is not None:
        change_gamma_(volume, draw.gamma)


def change_contrast_(volume: Tensor, factor: float) -> None:
    """Distances from the mean times ``factor``, clipped to the former range; in place."""
    low, high = volume.aminmax()
    mean = volume.mean()
    volume.sub_(mean).mul_(factor).add_(mean).clamp_(low, high)


def change_gamma_(volume: Tensor, gamma: float) -> None:
    """The curve x^gamma on the range of ``volume``; mean and standard deviation are as before. In place."""
    std, mean = torch.std_mean(volume, correction=0)
    low, high = volume.aminmax()
    volume.sub_(low).div_((high - low).clamp_min(_TINY)).pow_(gamma)
    new_std, new_mean = torch.std_mean(volume, correction=0)
    volume.sub_(new_mean).mul_(std / new_std.clamp_min(_TINY)).add_(mean)


def separable_(volume: Tensor, matrices: list[NDArray[np.float64] | None]) -> None:
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
