"""One case in a container: images where the interface says, the model that is in it, the mask where it is expected."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from autofuse.foundation.errors import DataError
from autofuse.foundation.files import write_bytes
from autofuse.road.steps import predict

if TYPE_CHECKING:
    from autofuse.images import Image
    from autofuse.sharing.submissions.interface import ContainerInput, ContainerInterface

CASE = "case"
ML_PER_MM3 = 1e-3


def segment_case(interface: ContainerInterface, workspace: Path, root: Path = Path("/")) -> Path:
    """The file of the mask that was written for the one case there is.

    Args:
        workspace: with the model in it; it is only read.
        root: put before the paths of the interface, for a rehearsal without a container.

    Raises:
        DataError: if an image that has to be there is not, there are several for one modality, or the model cannot do
            without one that is absent.
    """
    from autofuse.images import read_image, write_image, write_labels
    from autofuse.road.models import choose_model

    files = [_image_file(item, _below(root, item.path)) for item in interface.inputs]
    _require_some(interface, files)
    ending = choose_model(interface.model, workspace).dataset.file_ending
    with tempfile.TemporaryDirectory(prefix="autofuse-") as folder:
        scans, masks = Path(folder) / "images", Path(folder) / "masks"
        scans.mkdir()
        images = [None if file is None else read_image(file) for file in files]
        for channel, image in enumerate(images):
            if image is not None:
                write_image(scans / f"{CASE}_{channel:04d}{ending}", image.voxels, image.geometry)
        made = predict(interface.model, workspace=workspace, images=scans, out=masks, workers=0)
        mask, lies_on = _with_its_image(interface, masks / f"{made.cases[0]}{ending}", images)
    file = files[lies_on]
    assert file is not None
    result = _below(root, interface.result) / f"{_stem(file)}.mha"
    write_labels(result, mask.voxels, mask.geometry)
    if interface.volumes is not None:
        _write_volumes(interface, workspace, _below(root, interface.volumes), mask)
    return result


def _below(root: Path, path: str) -> Path:
    return root / path.lstrip("/")


def _image_file(item: ContainerInput, place: Path) -> Path | None:
    """The one image at a place of the interface; None where there is none and none need be.

    Raises:
        DataError: if there are several, or there has to be one.
    """
    from autofuse.images import SUPPORTED_ENDINGS

    there = sorted(place.iterdir()) if place.is_dir() else [place] if place.is_file() else []
    images = [path for path in there if not path.name.startswith(".") and path.name.lower().endswith(SUPPORTED_ENDINGS)]
    if len(images) == 1:
        return images[0]
    if len(images) > 1:
        raise DataError(
            f"There are several images of {item.modality}; a container is started once for each case.",
            file=place,
            found=", ".join(path.name for path in images[:5]),
            expected="one image",
        )
    if item.optional:
        return None
    raise DataError(
        f"The case lacks {item.modality}, which this container needs.",
        file=place,
        found=", ".join(path.name for path in there[:5]) or "no file",
        expected="one image: " + ", ".join(SUPPORTED_ENDINGS),
        remedy="Give the image; or make a container whose interface lets cases lack it, of a model that copes.",
    )


def _require_some(interface: ContainerInterface, files: list[Path | None]) -> None:
    if not any(files):
        raise DataError(
            "The case has no image at all.", expected="one in " + ", ".join(item.path for item in interface.inputs)
        )


def _with_its_image(interface: ContainerInterface, path: Path, images: list[Image | None]) -> tuple[Image, int]:
    """The mask with the grid of its image, not rounded as the file in between rounds it; and which image that is."""
    from dataclasses import replace

    from autofuse.dataset.grids import reference_channel
    from autofuse.images import read_label_image

    mask = read_label_image(path)
    grids = [None if image is None else image.geometry for image in images]
    channel = reference_channel(grids, interface.reference, mask.geometry)
    if channel is None or (image := images[channel]) is None:
        raise DataError("The mask lies on the grid of no image of the case.", file=path)
    return replace(mask, geometry=image.geometry), channel


def _stem(file: Path) -> str:
    """A file's name without its ending, .nii.gz taken as one."""
    from autofuse.images import SUPPORTED_ENDINGS

    ending = next(item for item in SUPPORTED_ENDINGS if file.name.lower().endswith(item))
    return file.name[: -len(ending)]


def _write_volumes(interface: ContainerInterface, workspace: Path, path: Path, mask: Image) -> None:
    """Volume in ml of each class, or of each region with everything that is painted over it."""
    import numpy as np

    from autofuse.road.models import choose_model

    labels = choose_model(interface.model, workspace).dataset.labels
    voxel_ml = float(np.prod(mask.geometry.spacing_mm)) * ML_PER_MM3
    volumes = {
        item.name: round(float(np.isin(mask.voxels, item.raw_values).sum()) * voxel_ml, 6) for item in labels.classes
    }
    write_bytes(path, (json.dumps(volumes, indent=1) + "\n").encode())
