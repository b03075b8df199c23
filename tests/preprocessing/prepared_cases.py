"""Small plans, raw cases and stores that the tests of preprocessing and sampling share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from autofuse.dataset.raw import RawCase
from autofuse.dataset.types import IGNORE, Case, ImageFile, LabelClass, Labels
from autofuse.images.geometry import Geometry
from autofuse.images.image import Image
from autofuse.plan.types import Budget, Configuration, NetworkPlan, NormalisationPlan, Plan, TrainerChoice
from autofuse.preprocessing.prepare import prepare_case
from autofuse.preprocessing.store import Store

LABELS = Labels(classes=(LabelClass(name="one", raw_values=(1,)), LabelClass(name="two", raw_values=(2,))), ignore=9)


def tiny_plan(
    *,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    patch: tuple[int, ...] = (16, 16, 16),
    batch: int = 2,
    transpose: tuple[int, int, int] = (0, 1, 2),
    schemes: tuple[str, ...] = ("zscore", "zscore"),
    anisotropic_axis: int | None = None,
    mirror_axes: tuple[int, ...] = (0, 1, 2),
) -> Plan:
    """A plan with one configuration called "fine"; its network is never built."""
    network = NetworkPlan(
        features=(4,), kernels=((3,) * len(patch),), strides=((1,) * len(patch),), blocks=(1,), decoder_blocks=()
    )
    configuration = Configuration(
        name="fine",
        dimensions=2 if len(patch) == 2 else 3,
        spacing_mm=spacing,
        median_shape=(30, 30, 30),
        patch=patch,
        batch=batch,
        network=network,
        anisotropic_axis=anisotropic_axis,
        memory_gib=1.0,
    )
    return Plan(
        planner="test",
        dataset="test",
        fingerprint_digest="0" * 64,
        budget=Budget(memory_gib=1.0),
        modalities=tuple(f"m{index}" for index in range(len(schemes))),
        labels=LABELS,
        transpose=transpose,
        normalisation=tuple(NormalisationPlan(scheme=scheme) for scheme in schemes),
        configurations=(configuration,),
        configuration="fine",
        trainer=TrainerChoice(name="supervised"),
        steps=1,
        mirror_axes=mirror_axes,
        decisions=(),
    )


def raw_case(
    name: str = "a",
    shape: tuple[int, int, int] = (30, 34, 38),
    *,
    seed: int = 0,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    border: int = 0,
    absent: tuple[int, ...] = (),
    scribbled: bool = False,
    labelled: bool = True,
) -> RawCase:
    """Two smooth modalities, zero in a ``border``, with two boxes as classes that stand out in both."""
    generator = np.random.default_rng(seed)
    label = np.zeros(shape, dtype=np.int16)
    middle = [size // 2 for size in shape]
    label[middle[0] - 6 : middle[0], middle[1] - 6 : middle[1] + 6, middle[2] - 6 : middle[2] + 6] = 1
    label[middle[0] : middle[0] + 4, middle[1] - 6 : middle[1], middle[2] - 6 : middle[2]] = 2
    voxels = []
    for scale in (100.0, 1000.0):
        image = gaussian_filter(generator.normal(size=shape), 1.5) * scale + scale * (1 + label)
        inside = np.zeros(shape, dtype=bool)
        inside[tuple(slice(border, size - border) for size in shape)] = True
        voxels.append(np.where(inside, image, 0).astype(np.float32))
    if scribbled:
        label = strokes(label)
    geometry = Geometry(shape, spacing, (-3.0, 5.0, 11.0))
    files = tuple(None if index in absent else ImageFile(path=f"{name}_{index}") for index in range(2))
    images = tuple(None if index in absent else Image(array, geometry) for index, array in enumerate(voxels))
    case = Case(id=name, subject=name, images=files, label=f"{name}.nii.gz" if labelled else None)
    return RawCase(case, images, label if labelled else None, geometry)


def strokes(label: NDArray[np.int16]) -> NDArray[np.int16]:
    """One line a voxel wide through every class, in every third slice; nothing else is labelled."""
    scribble = np.full_like(label, IGNORE)
    for z in range(0, label.shape[0], 3):
        for value in range(3):
            rows = np.flatnonzero((label[z] == value).any(axis=1))
            if rows.size:
                row = rows[len(rows) // 2]
                columns = label[z, row] == value
                scribble[z, row, columns] = value
    return scribble


def fill_store(folder: Path, plan: Plan, cases: list[RawCase]) -> Store:
    """A store with these cases prepared for the plan's configuration."""
    configuration = plan.named(plan.configuration)
    store = Store(folder)
    for raw in cases:
        store.write(
            prepare_case(raw, plan, configuration),
            preparation=plan.preparation_digest(configuration),
            source_stamp="stamp",
            dimensions=configuration.dimensions,
        )
    return store
