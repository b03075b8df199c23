"""Predicts one large case in a process of its own and prints, as JSON, its peak memory and what was planned.

python large_case.py FOLDER DEPTH HEIGHT WIDTH CLASSES PATCH SPACING CASES
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from inference_fakes import Voxelwise, class_labels, make_model, make_task

from autofuse.dataset.types import Case, Dataset, ImageFile, Modality
from autofuse.foundation import console
from autofuse.foundation.machine import peak_memory_gib
from autofuse.images import read_label_image
from autofuse.images.geometry import Geometry
from autofuse.images.write import write_image
from autofuse.inference.folder import predict_cases, require_predicted
from autofuse.inference.memory import resident_gib


def make_volume(shape: tuple[int, int, int], classes: int) -> np.ndarray:
    """Boxes of every class on background 0, as intensities."""
    volume = np.zeros(shape, dtype=np.int16)
    for k in range(classes):
        z, y = (k % 5) * shape[0] // 5, (k // 5) * shape[1] // 4
        volume[z + 2 : z + shape[0] // 6, y + 3 : y + shape[1] // 5, shape[2] // 4 : shape[2] // 2] = k + 1
    volume[0, 0, 0] = volume[-1, -1, -1] = 1  # nothing is cropped
    return volume


def main() -> None:
    folder = Path(sys.argv[1])
    *shape, classes, patch = (int(word) for word in sys.argv[2:7])
    spacing, count = float(sys.argv[7]), int(sys.argv[8])
    torch.set_num_threads(2)
    console.configure(quiet=True)
    names = [f"case_{number}" for number in range(count)]
    for name in names:
        path = folder / f"{name}_0000.nii.gz"
        if not path.exists():
            write_image(path, make_volume((shape[0], shape[1], shape[2]), classes), Geometry(tuple(shape)))  # type: ignore[arg-type]
    if len(sys.argv) > 9:  # only prepare the images: writing them is not what is measured
        return
    labels = class_labels(classes)
    task = make_task(labels, patch=(patch, patch, patch), spacing_mm=(spacing,) * 3, batch=1)
    model = make_model(task, Voxelwise(outputs=classes + 1))
    cases = tuple(Case(id=name, subject=name, images=(ImageFile(path=f"{name}_0000.nii.gz"),)) for name in names)
    dataset = Dataset(
        name="large", root=str(folder), layout="images", modalities=(Modality(name="CT"),), labels=labels, cases=cases
    )
    before = resident_gib()
    started = time.monotonic()
    outcomes = predict_cases([model], dataset, cases, folder / "out", mirror=False)
    seconds = time.monotonic() - started
    require_predicted(outcomes)
    peak = peak_memory_gib()
    mask = read_label_image(folder / "out" / f"{names[0]}.nii.gz").voxels
    truth = make_volume((shape[0], shape[1], shape[2]), classes)
    print(json.dumps({"before": before, "peak": peak, "agreement": float((mask == truth).mean()), "seconds": seconds}))


if __name__ == "__main__":
    main()
