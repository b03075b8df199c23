"""Prediction in one call, for notebooks and scripts: a model and images in, a mask out; no workers, nothing written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse.dataset.places import place_images
from autofuse.dataset.raw import CaseFiles, RawCase
from autofuse.dataset.types import Case, Dataset, ImageFile, Modality
from autofuse.foundation.console import log
from autofuse.foundation.errors import DataError, UsageError
from autofuse.foundation.machine import default_device
from autofuse.images.geometry import Geometry
from autofuse.images.image import Image
from autofuse.inference.case import Priors, predict_case
from autofuse.inference.prediction import Prediction, PredictOptions
from autofuse.plan.types import Plan
from autofuse.training.model import RUN_NAME, Model, StoredModel, load_model, open_model

NamedModel = Model | str | Path
AnyImage = Image | str | Path | NDArray[Any] | tuple[NDArray[Any], Geometry] | None


def predict(
    model: NamedModel | Sequence[NamedModel],
    images: Sequence[AnyImage] | Mapping[str, AnyImage],
    *,
    mirror: bool = True,
    probabilities: bool = False,
    device: str | None = None,
    memory_gib: float | None = None,
    priors: Priors | None = None,
    case: str = "case",
    modality: str | None = None,
) -> Prediction:
    """The segmentation of one case.

    ``prediction.raw_labels()`` are the label values (z, y, x), ``prediction.geometry`` is their grid, and
    ``prediction.save(path)`` writes a mask file.

    Args:
        model: a run's fold folder, a run folder (all its folds are averaged), a loaded model, or several of these.
        images: per modality, in the plan's order or by name: a path, an ``Image``, an array (z, y, x) with 1 mm voxels,
            an array with its ``Geometry``, or None where the case lacks the modality. They may lie on different grids:
            the mask lies on that of the plan's reference modality, or of the first one there if that is absent.
        device: "cpu" or "cuda"; None takes a GPU where there is one.
        priors: for the second stage of a cascade, the first stage's class indices by configuration name.
        modality: whose mask, of a model that makes one for each; it lies on the grid of that modality's image.

    Raises:
        UsageError, DataError, ModelError, ResourceError: naming what is wrong.
    """
    device = default_device(device)
    wanted = [model] if isinstance(model, Model | str | Path) else list(model)
    models = [loaded for item in wanted for loaded in load_models(item, device)]
    if not models:
        raise UsageError("There is no model to predict with.")
    plan = models[0].task.plan
    options = PredictOptions(
        mirror=mirror,
        probabilities=probabilities,
        device=device,
        memory_gib=memory_gib,
        modality=_channel_of(modality, plan.modalities),
    )
    raw = _raw_case(case, _in_order(images, plan.modalities), plan)
    return predict_case(models, raw, options, priors=priors)


def _channel_of(modality: str | None, modalities: Sequence[str]) -> int | None:
    if modality is None or modality in modalities:
        return None if modality is None else list(modalities).index(modality)
    raise UsageError("The model has no such modality.", found=modality, expected=", ".join(modalities))


def load_models(model: NamedModel, device: str = "cpu") -> list[Model | StoredModel]:
    """The models that a folder holds: that of one fold, or those of all folds of a run.

    Raises:
        ModelError: if a model is missing or damaged.
        UsageError: if the folder holds no run.
    """
    if isinstance(model, Model):
        return [model]
    folder = Path(model)
    folds = [folder] if (folder / RUN_NAME).is_file() else sorted(path.parent for path in folder.glob(f"*/{RUN_NAME}"))
    if not folds:
        raise UsageError(
            "This folder holds no trained model.",
            found=str(folder),
            expected=f"a folder with {RUN_NAME} in it, or in the folders fold_0, fold_1 ... below",
        )
    # Members of an ensemble wait in their folders and visit the device one after another.
    return [open_model(fold) for fold in folds] if len(folds) > 1 else [load_model(folds[0], device=device)]


def _in_order(images: Sequence[AnyImage] | Mapping[str, AnyImage], modalities: Sequence[str]) -> list[AnyImage]:
    if isinstance(images, Mapping):
        unknown = sorted(set(images) - set(modalities))
        if unknown:
            raise UsageError(
                "The model has no such modality.", found=", ".join(unknown), expected=", ".join(modalities)
            )
        return [images.get(name) for name in modalities]
    if isinstance(images, str | Path) or len(images) != len(modalities):
        raise UsageError(
            "Give one image per modality, None where there is none.",
            found="one path" if isinstance(images, str | Path) else f"{len(images)} images",
            expected=f"{len(modalities)}: {', '.join(modalities)}",
        )
    return list(images)


def _raw_case(name: str, sources: Sequence[AnyImage], plan: Plan) -> RawCase:
    """The images as a case, each on its own grid; the reference grid is that of the plan's modality, else the first.

    Raises:
        DataError: without any image, if fields of view do not overlap, or if bare arrays differ in shape.
    """
    images = [None if source is None else _image(name, source) for source in sources]
    grids = [None if image is None else image.geometry for image in images]
    if not any(grids):
        raise DataError("The case has no image at all.", case=name)
    shapes = {image.voxels.shape for image in images if image is not None}
    if len(shapes) > 1 and any(isinstance(source, np.ndarray) for source in sources):
        raise DataError(
            "Arrays of different shapes need their geometries: without them nobody knows how they lie to each other.",
            case=name,
            found=", ".join(" x ".join(map(str, shape)) for shape in sorted(shapes)),
            remedy="Give each as (array, Geometry), as an Image or as a path.",
        )
    files = tuple(None if item is None else ImageFile(path=_named(item, m)) for m, item in enumerate(sources))
    modalities = tuple(Modality(name=modality) for modality in plan.modalities)
    dataset = Dataset(name=name, root="", layout="images", modalities=modalities, labels=plan.labels, cases=())
    case = Case(id=name, subject=name, images=files)
    places = place_images(CaseFiles(dataset, case), grids, None, plan.reference)
    for warning in places.warnings:
        log().warning("%s: %s", name, warning)
    return RawCase(case, tuple(images), None, places.geometry, places.warnings, places.channel)


def _named(source: AnyImage, channel: int) -> str:
    return str(source) if isinstance(source, str | Path) else f"image {channel}"


def _image(case: str, source: Image | str | Path | NDArray[Any] | tuple[NDArray[Any], Geometry]) -> Image:
    if isinstance(source, str | Path):
        from autofuse.images import read_image

        image = read_image(Path(source))
    elif isinstance(source, Image):
        image = source
    else:
        voxels, geometry = source if isinstance(source, tuple) else (source, None)
        voxels = np.asarray(voxels)
        voxels = voxels[None] if voxels.ndim == 2 else voxels
        shape = voxels.shape[-3:]
        image = Image(voxels, geometry or Geometry((int(shape[0]), int(shape[1]), int(shape[2]))))
    if image.voxels.ndim != 3 or image.voxels.shape != image.geometry.shape:
        raise DataError(
            "An image must have three axes (z, y, x) and fit its geometry.",
            case=case,
            found=f"shape {image.voxels.shape}",
            expected=f"{image.geometry.shape}",
        )
    if not np.isfinite(image.voxels).all():
        raise DataError("An image has voxels that are not finite numbers.", case=case)
    return image
