"""A case segmented by contract.json, onnxruntime, numpy and scipy alone, as a stranger would write it."""

from __future__ import annotations

import json
import math
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from scipy.ndimage import label, zoom

Array = NDArray[Any]


def segment(folder: Path, images: list[Array | None], spacing_mm: tuple[float, ...]) -> tuple[Array, Array]:
    """Probabilities (C, z, y, x) and the mask (z, y, x) of images that lie on one grid; None for an absent one."""
    contract = json.loads((folder / "contract.json").read_text())["value"]
    there = [image for image in images if image is not None]
    places = [np.flatnonzero(np.any([image != 0 for image in there], axis=(0, *others))) for others in OTHERS]
    box = tuple(slice(int(place[0]), int(place[-1]) + 1) for place in places)
    order = contract["transpose"]
    cropped = [None if image is None else image[box].transpose(order).astype(np.float32) for image in images]
    spacing = [spacing_mm[axis] for axis in order]
    total: Array | float = 0.0
    for member in (item for item in contract["members"] if item["weight"]):
        total = total + member["weight"] * one_member(folder, contract, member, cropped, spacing)
    assert isinstance(total, np.ndarray)
    outside = np.zeros((total.shape[0], *there[0].shape), dtype=np.float32)
    outside[0] = 1.0
    outside[(slice(None), *box)] = total.transpose(0, *(1 + order.index(axis) for axis in range(3)))
    values = [0] + [item["raw_values"][0] for item in contract["labels"]["classes"]]
    return outside, postprocessed(np.array(values)[outside.argmax(0)], contract)


OTHERS = ((2, 3), (1, 3), (1, 2))
"""Axes of (image, z, y, x) beside z, y and x."""


def postprocessed(mask: Array, contract: Any) -> Array:
    """The mask after its steps; of these only that on the largest component is written here."""
    values = {item["name"]: item["raw_values"] for item in contract["labels"]["classes"]}
    for step in contract["postprocessing"]:
        assert step["largest_only"] and not step["fill_holes"] and step["least_mm3"] == 0
        numbered, _ = label(np.isin(mask, values[step["structure"]]), np.ones((3, 3, 3)))
        sizes = np.bincount(numbered.ravel())[1:]
        if sizes.size:
            mask = np.where((numbered > 0) & (numbered != 1 + sizes.argmax()), 0, mask)
    return mask


def one_member(folder: Path, contract: Any, member: Any, cropped: list[Array | None], spacing: list[float]) -> Array:
    """Probabilities of one network on the cropped, transposed grid."""
    assert contract["activation"] == "softmax" and member["anisotropic_axis"] is None and member["dimensions"] == 3
    shape = next(image.shape for image in cropped if image is not None)
    target = [max(1, round(n * mm / to)) for n, mm, to in zip(shape, spacing, member["spacing_mm"], strict=True)]
    image = np.zeros((len(cropped), *target), dtype=np.float32)
    seen = np.zeros(image.shape, dtype=bool)
    for channel, (volume, normalisation) in enumerate(zip(cropped, member["normalisation"], strict=True)):
        if volume is not None:
            assert normalisation["scheme"] == "zscore"
            normal = (volume - volume.mean()) / volume.std()
            resized = resample(normal, target, 3).clip(normal.min(), normal.max())
            image[channel], seen[channel] = resized.astype(np.float16), True
    logits = tiles(onnxruntime.InferenceSession(str(folder / member["file"])), contract, member, image, seen)
    exponent = np.exp(logits - logits.max(0))
    probabilities = exponent / exponent.sum(0)
    return np.stack([resample(channel, shape, 1) for channel in probabilities])


def resample(volume: Array, shape: Any, order: int) -> Array:
    factors = [new / old for new, old in zip(shape, volume.shape, strict=True)]
    return zoom(volume.astype(np.float64), factors, order=order, mode="nearest", grid_mode=True)


def tiles(session: Any, contract: Any, member: Any, image: Array, seen: Array) -> Array:
    """The Gaussian mean of all tiles' logits, each the mean over its flips."""
    patch, shape = member["patch"], image.shape[1:]
    gaps = [max(0, window - size) for window, size in zip(patch, shape, strict=True)]
    widths = [(0, 0), *((gap // 2, gap - gap // 2) for gap in gaps)]
    present = seen.any(axis=(1, 2, 3))
    image = np.pad(image, widths)
    seen = np.stack([np.pad(one, widths[1:], constant_values=here) for one, here in zip(seen, present, strict=True)])
    starts = []
    for size, window in zip(image.shape[1:], patch, strict=True):
        count = math.ceil((size - window) / max(1.0, contract["tile_step"] * window))
        starts.append([round(k * (size - window) / count) if count else 0 for k in range(count + 1)])
    curves = [
        np.exp(-0.5 * ((np.arange(window) - (window - 1) / 2) / (window * contract["tile_sigma"])) ** 2)
        for window in patch
    ]
    weight = curves[0][:, None, None] * curves[1][:, None] * curves[2]
    sums: Array | None = None
    weights = np.zeros(image.shape[1:])
    for corner in product(*starts):
        box = tuple(slice(first, first + window) for first, window in zip(corner, patch, strict=True))
        found = flipped_mean(session, member["mirror_axes"], image[(slice(None), *box)], seen[(slice(None), *box)])
        sums = np.zeros((len(found), *image.shape[1:])) if sums is None else sums
        sums[(slice(None), *box)] += found * weight
        weights[box] += weight
    assert sums is not None
    inner = tuple(slice(low, low + size) for (low, _), size in zip(widths[1:], shape, strict=True))
    return (sums / weights)[(slice(None), *inner)]


def flipped_mean(session: Any, axes: list[int], image: Array, seen: Array) -> Array:
    found = []
    for flips in (chosen for count in range(len(axes) + 1) for chosen in combinations(axes, count)):
        dims = [1 + axis for axis in flips]
        given = {"image": np.flip(image, dims)[None].copy(), "seen": np.flip(seen, dims)[None].copy()}
        found.append(np.flip(session.run(["logits"], given)[0][0], dims))
    return np.mean(found, axis=0)
