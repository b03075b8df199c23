"""A phantom data set on disk: an nnU-Net raw folder whose truth is known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofuse.foundation.errors import UsageError
from autofuse.foundation.files import folder_atomically
from autofuse.phantom.acquisition import acquire
from autofuse.phantom.anatomy import Anatomy, next_frame, random_anatomy, tissue_map
from autofuse.phantom.options import STRUCTURES, PhantomOptions
from autofuse.phantom.scribbles import scribble
from autofuse.phantom.views import View, as_stored, draw_views, rigid_of

ENDING = ".nii.gz"
TRUTH_FILE = "phantom.json"
"""Beside dataset.json: the options, and per case its subject, missing modalities, shifts, rotations and grids."""
IGNORE_VALUE = len(STRUCTURES) + 1
_TRAIN, _TEST, _PRESENCE = 0, 1, 2
_UNTOLD_DEFAULTS = ("coarse", "narrow", "rotated_degrees", "turned", "warped_mm", "labels_per_modality")
"""Options that are recorded only where they differ from their defaults, so that a phantom without them stays as it was
before they existed."""


Tissue = NDArray[np.uint8]


@dataclass(frozen=True)
class _Sitting:
    """One case to be imaged."""

    case: str
    subject: str
    anatomy: Anatomy
    present: tuple[bool, ...]
    random: np.random.Generator


def write_phantom(folder: str | Path, options: PhantomOptions | None = None) -> Path:
    """The folder, holding the data set that ``options`` describe; nothing is done if it does already.

    Raises:
        UsageError: if the options make no sense, or the folder holds something else.
        ResourceError: if it cannot be written.
    """
    options = options or PhantomOptions()
    options.check()
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if _options_of(folder) == _as_json(options):
            return folder
        raise UsageError(
            "The folder for the phantom holds something else.",
            file=folder,
            expected="no folder, an empty one, or the same phantom",
            remedy="Choose another folder, or remove this one.",
        )
    with folder_atomically(folder) as temp:
        told = _write_cases(temp, options)
        _write_json(temp / "dataset.json", _description(options))
        _write_json(temp / TRUTH_FILE, {"options": _as_json(options), "cases": told})
    return folder


def _write_cases(folder: Path, options: PhantomOptions) -> dict[str, Any]:
    """Images and labels of all cases; what is true of each, by id."""
    told = {}
    sittings = _sittings(options, _TRAIN, options.cases, "phantom")
    for index, sitting in enumerate(sittings):
        tissue = tissue_map(sitting.anatomy, options, (0.0, 0.0, 0.0))
        looks = _looks(sitting, tissue, options)
        told[sitting.case] = _write_images(folder / "imagesTr", sitting, looks, options)
        labelled = index < options.cases - options.unlabelled
        for name, truth, view in _truths(sitting, looks, options):
            if labelled:
                drawn = scribble(truth, IGNORE_VALUE, options, sitting.random) if options.scribbles else truth
                _write_labels(folder / "labelsTr", name, drawn, view, options)
            if options.scribbles or options.unlabelled:
                _write_labels(folder / "labelsTr_dense", name, truth, view, options)
    for sitting in _sittings(options, _TEST, options.test_cases, "test"):
        tissue = tissue_map(sitting.anatomy, options, (0.0, 0.0, 0.0))
        looks = _looks(sitting, tissue, options)
        told[sitting.case] = _write_images(folder / "imagesTs", sitting, looks, options)
        for name, truth, view in _truths(sitting, looks, options):
            _write_labels(folder / "labelsTs", name, truth, view, options)
    return told


def _looks(sitting: _Sitting, tissue: Tissue, options: PhantomOptions) -> list[tuple[View, Tissue]]:
    """Each modality's view of a case, and the tissue as it lies there; ``tissue`` is the map of the plain view."""
    shifts = [_shift(sitting.random, options) if k else (0.0, 0.0, 0.0) for k in range(options.modalities)]
    looks = []
    for view in draw_views(sitting.random, shifts, options):
        anatomy = sitting.anatomy
        if view.warp is not None:
            anatomy = replace(anatomy, warp=anatomy.warp + view.warp)
        moved = any(view.shift_mm) or view.rotation is not None or view.warp is not None
        looks.append((view, tissue_map(anatomy, options, view.shift_mm, view.rotation) if moved else tissue))
    return looks


def _truths(
    sitting: _Sitting, looks: list[tuple[View, Tissue]], options: PhantomOptions
) -> Iterator[tuple[str, Tissue, View]]:
    """Names of label maps, what they show, and the view in which they lie: one a case, or one a modality."""
    if not options.labels_per_modality:
        yield sitting.case, _label(looks[0][1]), View()
        return
    for modality, (view, tissue) in enumerate(looks):
        if sitting.present[modality]:
            yield f"{sitting.case}_{modality:04d}", _label(tissue), view


def _sittings(options: PhantomOptions, part: int, count: int, prefix: str) -> list[_Sitting]:
    """Who is imaged; each case has a random stream of its own, so fewer cases are a beginning of more."""
    present = _presence(options, part, count)
    sittings = []
    anatomy: Anatomy | None = None
    for index in range(count):
        subject, frame = divmod(index, options.frames)
        random = np.random.default_rng([options.seed, part, index])
        anatomy = random_anatomy(random, options) if frame == 0 or anatomy is None else next_frame(anatomy, random)
        name = f"{prefix}_{subject + 1:03d}"
        case = f"{name}_frame{frame + 1}" if options.frames > 1 else name
        sittings.append(_Sitting(case, name, anatomy, present[index], random))
    return sittings


def _presence(options: PhantomOptions, part: int, count: int) -> list[tuple[bool, ...]]:
    """Per case, which modalities it has: at least one; and each modality is in two of the cases if there are two."""
    random = np.random.default_rng([options.seed, _PRESENCE, part])
    present = random.random((count, options.modalities)) >= options.missing
    keeper = random.integers(0, options.modalities, count)
    for index in range(count):
        if not present[index].any():
            present[index, keeper[index]] = True
    # Masks lie on the grid of the first modality, which a case must have where the others' grids differ.
    present[:, 0] |= options.own_grids
    for modality in range(options.modalities):
        lacking = np.flatnonzero(~present[:, modality])
        needed = max(0, min(2, count) - int(present[:, modality].sum()))
        present[lacking[:needed], modality] = True
    return [tuple(bool(item) for item in row) for row in present]


def _write_images(
    folder: Path, sitting: _Sitting, looks: list[tuple[View, Tissue]], options: PhantomOptions
) -> dict[str, Any]:
    """Write one case's images; what is true of it."""
    from autofuse.images import write_image

    views, grids = [view for view, _ in looks], []
    for modality, (view, seen) in enumerate(looks):
        image, geometry = as_stored(acquire(seen, modality, options, sitting.random), view, options)
        grids.append(asdict(geometry))
        if sitting.present[modality]:
            write_image(folder / f"{sitting.case}_{modality:04d}{ENDING}", image, geometry)
    told = {
        "subject": sitting.subject,
        "shift_mm": [[round(part, 6) for part in view.shift_mm] for view in views],
        "present": list(sitting.present),
    }
    return told | _told_views(views, grids, options)


def _told_views(views: list[View], grids: list[dict[str, Any]], options: PhantomOptions) -> dict[str, Any]:
    """Per modality its grid, and the transform that brings it onto the first one, where options ask for such things."""
    told: dict[str, Any] = {"grids": grids} if options.own_grids else {}
    if options.rotated_degrees:
        told["rigid"] = [rigid_of(view, options).model_dump(mode="json") for view in views]
    return told


def _shift(random: np.random.Generator, options: PhantomOptions) -> tuple[float, float, float]:
    """A random vector of length shift_mm, (z, y, x); in the plane for single slices."""
    direction = random.standard_normal(3)
    if options.dimensions == 2:
        direction[0] = 0
    # + 0.0 turns -0.0 into 0.0
    z, y, x = (float(part) + 0.0 for part in direction / np.linalg.norm(direction) * options.shift_mm)
    return z, y, x


def _write_labels(folder: Path, name: str, label: Tissue, view: View, options: PhantomOptions) -> None:
    from autofuse.images import write_labels

    stored, geometry = as_stored(label.astype(np.int16), view, options)
    write_labels(folder / f"{name}{ENDING}", stored, geometry)


def _label(tissue: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """0 for air and body, then the structures in order."""
    return np.where(tissue > 1, tissue - 1, 0).astype(np.uint8)


def _description(options: PhantomOptions) -> dict[str, Any]:
    labels = {"background": 0} | {name: value for value, name in enumerate(STRUCTURES, start=1)}
    if options.scribbles:
        labels["ignore"] = IGNORE_VALUE
    content: dict[str, Any] = {
        "channel_names": {str(index): name for index, name in enumerate(options.channel_names())},
        "labels": labels,
        "numTraining": options.cases,
        "file_ending": ENDING,
    }
    extensions: dict[str, Any] = {}
    if options.missing:
        extensions["optional_modalities"] = list(options.channel_names())
    if options.labels_per_modality:
        extensions["labels_per_modality"] = True
    if options.frames > 1:
        extensions["subject_pattern"] = "(?P<subject>.+)_frame"
    if extensions:
        content["autofuse"] = extensions
    return content


def _as_json(options: PhantomOptions) -> Any:
    """The options as they are recorded."""
    plain = asdict(PhantomOptions())
    told = {
        name: value for name, value in asdict(options).items() if name not in _UNTOLD_DEFAULTS or value != plain[name]
    }
    return json.loads(json.dumps(told))


def _options_of(folder: Path) -> Any:
    """The options of the phantom in ``folder``, or None if it is none."""
    try:
        return json.loads((folder / TRUTH_FILE).read_text()).get("options")
    except (OSError, ValueError, AttributeError):
        return None


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")
