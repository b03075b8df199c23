"""Predicts a large case in a process of its own and writes, as JSON, its peak memory, stated before and measured,
seconds and agreement.

python large_case.py FOLDER DEPTH HEIGHT WIDTH CLASSES PATCH SPACING STEP [images]

With "images" only the images are made: writing them is not what is measured.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from inference_fakes import Voxelwise, class_labels, make_model, make_task
from torch import Tensor, nn

from autofuse.dataset.types import Case, Dataset, ImageFile, Modality
from autofuse.foundation import console
from autofuse.foundation.machine import peak_memory_gib
from autofuse.images import read_label_image
from autofuse.images.geometry import Geometry
from autofuse.images.write import write_image
from autofuse.inference.folder import predict_cases, require_predicted
from autofuse.inference.forecast import forecast, grids_of, headers_of, loads_of
from autofuse.inference.memory import resident_gib
from autofuse.inference.prediction import PredictOptions
from autofuse.sampling.batch import Batch


def make_volume(shape: tuple[int, int, int], classes: int) -> np.ndarray:
    """Boxes of every class on background 0, as intensities."""
    volume = np.zeros(shape, dtype=np.int16)
    for k in range(classes):
        z, y = (k % 5) * shape[0] // 5, (k // 5) * shape[1] // 4
        volume[z + 2 : z + shape[0] // 6, y + 3 : y + shape[1] // 5, shape[2] // 4 : shape[2] // 2] = k + 1
    volume[0, 0, 0] = volume[-1, -1, -1] = 1  # nothing is cropped
    return volume


@dataclass(frozen=True)
class Hungry(Voxelwise):
    """Takes as much memory as a network with so many full-resolution feature maps alive at once."""

    feature_maps: int = 0

    def segment(self, nets: nn.ModuleDict, batch: Batch) -> Tensor:
        held = [torch.ones_like(batch.image[:, 0]) for _ in range(self.feature_maps)]
        logits = super().segment(nets, batch)
        del held
        return logits


def main() -> None:
    folder = Path(sys.argv[1])
    *shape, classes, patch = (int(word) for word in sys.argv[2:7])
    spacing, step = float(sys.argv[7]), float(sys.argv[8])
    torch.set_num_threads(1)
    console.configure(quiet=True)
    truth = make_volume((shape[0], shape[1], shape[2]), classes)
    if len(sys.argv) > 9:
        write_image(folder / "large_0000.nii.gz", truth, Geometry((shape[0], shape[1], shape[2])))
        return
    del truth
    labels = class_labels(classes)
    task = make_task(labels, patch=(patch, patch, patch), spacing_mm=(spacing,) * 3, batch=1)
    model = make_model(task, Hungry(outputs=classes + 1, feature_maps=int(os.environ.get("FEATURE_MAPS", "0"))))
    cases = (Case(id="large", subject="large", images=(ImageFile(path="large_0000.nii.gz"),)),)
    dataset = Dataset(
        name="large", root=str(folder), layout="images", modalities=(Modality(name="CT"),), labels=labels, cases=cases
    )
    options = PredictOptions(mirror=False, step=step)
    told = forecast(
        [model], {"large": loads_of(grids_of([model]), headers_of(dataset, cases[0]))}, options, overlap=True
    )
    before = resident_gib()
    started = time.monotonic()
    outcomes = predict_cases([model], dataset, cases, folder / "out", options=options)
    seconds = time.monotonic() - started
    require_predicted(outcomes)
    peak = peak_memory_gib()
    mask = read_label_image(folder / "out" / "large.nii.gz").voxels
    truth = make_volume((shape[0], shape[1], shape[2]), classes)
    agreement = float((mask == truth).mean())
    stated = 0.0 if told is None else told.peak_gib
    json.dump(
        {"before": before, "stated": stated, "peak": peak, "agreement": agreement, "seconds": seconds}, sys.stdout
    )


if __name__ == "__main__":
    main()
