"""One made-up case and freshly saved models; a process of its own predicts it, so that its memory can be watched.

    python benchmarks/predict_one.py make    '{"folder": "/tmp/x", "shape": [64, 64, 64], "members": 3}'
    python benchmarks/predict_one.py predict '{"folder": "/tmp/x", "shape": [64, 64, 64], "members": 3}'

What predicting states about its memory goes to stderr, as for every user.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from autofuse.dataset.opening import images_as_dataset
from autofuse.images.geometry import Geometry
from autofuse.images.write import write_image
from autofuse.inference.folder import predict_cases, require_predicted
from autofuse.inference.prediction import PredictOptions
from autofuse.plan.task import Task
from autofuse.testing.examples import example_labels, example_task
from autofuse.training.checkpoint import NET, About, prefixed, save_checkpoint
from autofuse.training.model import PLAN_NAME, RUN_NAME, checkpoint_path, open_model
from autofuse.training.run import RunPlan, make_trainer

ENDING = ".nii"
"""Without compression, which is not what is measured and would take most of the time."""
_BLOBS = 40


@dataclass(frozen=True)
class Asked:
    """What is predicted.

    Attributes:
        shape: z, y, x of the only case; classes: foreground ones; members: of the ensemble.
        patch: edge of a tile; features: of the two stages of the network; step: distance of tiles in patches.
        spacing_mm: that the plan resamples to; voxels of the case have 1 mm.
    """

    folder: str
    shape: tuple[int, int, int]
    classes: int = 2
    modalities: int = 1
    members: int = 1
    patch: int = 32
    features: tuple[int, int] = (2, 4)
    step: float = 0.5
    spacing_mm: float = 1.0


def task_of(asked: Asked) -> Task:
    """A plan with one configuration: z-scores inside the body, a U-Net of two stages."""
    plain = example_task(asked.modalities, classes=asked.classes)
    network = plain.configuration.network.model_copy(
        update={
            "features": asked.features,
            "kernels": ((3,) * 3,) * 2,
            "strides": ((1,) * 3, (2,) * 3),
            "blocks": (1, 1),
            "decoder_blocks": (1,),
        }
    )
    configuration = plain.configuration.model_copy(
        update={"network": network, "patch": (asked.patch,) * 3, "batch": 1, "spacing_mm": (asked.spacing_mm,) * 3}
    )
    norms = tuple(norm.model_copy(update={"scheme": "zscore_nonzero"}) for norm in plain.plan.normalisation)
    plan = plain.plan.model_copy(update={"configurations": (configuration,), "normalisation": norms})
    return Task(plan, configuration)


def make(asked: Asked) -> None:
    """Write the images and the members' folders."""
    folder = Path(asked.folder)
    for channel in range(asked.modalities):
        voxels = _noise_with_blobs((asked.shape[0], asked.shape[1], asked.shape[2]), channel)
        path = folder / "images" / f"case_{channel:04d}{ENDING}"
        write_image(path, voxels, Geometry((asked.shape[0], asked.shape[1], asked.shape[2])))
    task = task_of(asked)
    for member in range(asked.members):
        _save_member(folder / "members" / str(member), task, member)


def predict(asked: Asked) -> None:
    """Write the mask."""
    folder = Path(asked.folder)
    dataset = images_as_dataset(
        folder / "images", task_of(asked).plan.modalities, example_labels(asked.classes), ENDING
    )
    models = [open_model(folder / "members" / str(member)) for member in range(asked.members)]
    options = PredictOptions(mirror=False, step=asked.step)
    require_predicted(predict_cases(models, dataset, dataset.test_cases, folder / "masks", options=options))


def _noise_with_blobs(shape: tuple[int, int, int], channel: int) -> np.ndarray:
    """(z, y, x) int16: uniform noise, boxes of brighter noise, and a border of zeros to be told from the body."""
    random = np.random.default_rng(channel)
    volume = np.empty(shape, dtype=np.int16)
    for plane in volume:
        plane[...] = random.integers(1, 200, plane.shape, dtype=np.int16)
    for _ in range(_BLOBS):
        corner = [int(random.integers(0, max(1, size * 3 // 4))) for size in shape]
        box = tuple(slice(low, low + max(1, size // 8)) for low, size in zip(corner, shape, strict=True))
        volume[box] += 300
    volume[:, :2] = 0
    volume[0, 0, 0] = volume[-1, 0, -1] = 1  # the crop keeps everything
    return volume


def _save_member(folder: Path, task: Task, seed: int) -> None:
    torch.manual_seed(seed)
    trainer = make_trainer("supervised", {})
    run = RunPlan(
        plan_digest=task.plan.digest(),
        configuration=task.configuration.name,
        trainer="supervised",
        fields={},
        fold=seed,
        seed=seed,
        steps=1,
        steps_per_epoch=1,
        threads=1,
        precision="fp32",
        device="cpu",
        labelled=("a",),
        autofuse_version="0",
        torch_version="0",
    )
    task.plan.save(folder / PLAN_NAME)
    run.save(folder / RUN_NAME)
    weights = prefixed(NET, trainer.networks(task).state_dict())
    save_checkpoint(checkpoint_path(folder, "last"), weights, About(run_digest=run.digest(), step=1))


def main() -> None:
    """Do what the arguments ask for."""
    asked = Asked(**json.loads(sys.argv[2]))
    torch.set_num_threads(1)
    {"make": make, "predict": predict}[sys.argv[1]](asked)


if __name__ == "__main__":
    main()
