"""nnU-Net's side of the comparison; runs inside nnU-Net's own environment and prints one JSON line.

    python nnunet_peer.py steps DATASET_ID STEPS          time training steps and the bare network's, save a checkpoint
    python nnunet_peer.py planned DATASET_ID              what is planned, and where prepared cases lie
    python nnunet_peer.py teach DATASET_ID STEPS FOLDER   train that long, predict what fold 0 holds out into FOLDER
    python nnunet_peer.py predict MODEL FOLDER IMAGES     predict a folder of images; how much of it is the network

The default trainer with its own loader and augmentation, on the CPU. ``predict`` works in this process, one case after
the other, without mirroring.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable
from json import dumps
from pathlib import Path
from typing import Any

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.run.run_training import get_trainer_from_args
from torch import nn

_WARM_UP = 1
_CHECKPOINT = "checkpoint_final.pth"
_EPOCH = 50
"""Steps of an epoch where nnU-Net is to train for few: its learning rate falls from epoch to epoch."""


def steps(dataset: str, count: int) -> dict[str, Any]:
    """Seconds of training steps and of the bare network's (same loss, same optimiser, random input)."""
    trainer = _trainer(dataset)
    trainer.initialize()
    trainer.on_train_start()
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    batch = next(trainer.dataloader_train)
    with_loader = _timed(lambda: trainer.train_step(next(trainer.dataloader_train)), count)
    fixed = {
        "data": torch.randn_like(batch["data"]),
        "target": [level.clone() for level in batch["target"]],
    }
    bare = _timed(lambda: trainer.train_step(fixed), count)
    trainer.current_epoch = 1
    trainer.on_train_end()
    return {"step_s": with_loader, "bare_step_s": bare, **planned(trainer)}


def planned(trainer: Any) -> dict[str, Any]:
    """What nnU-Net has planned, and where its things lie."""
    manager = trainer.configuration_manager
    arguments = manager.network_arch_init_kwargs
    return {
        "patch": list(manager.patch_size),
        "batch": manager.batch_size,
        "spacing_mm": list(manager.spacing),
        "features": list(arguments["features_per_stage"]),
        "kernels": [list(kernel) for kernel in arguments["kernel_sizes"]],
        "strides": [list(stride) for stride in arguments["strides"]],
        "blocks": _counts(arguments["n_conv_per_stage"], len(arguments["features_per_stage"])),
        "decoder_blocks": _counts(arguments["n_conv_per_stage_decoder"], len(arguments["features_per_stage"]) - 1),
        "model_folder": str(Path(trainer.output_folder_base)),
        "prepared": str(Path(trainer.preprocessed_dataset_folder)),
        "plans": str(Path(trainer.preprocessed_dataset_folder_base) / "nnUNetPlans.json"),
    }


def teach(dataset: str, count: int, folder: str) -> dict[str, Any]:
    """Train for ``count`` steps in epochs of ``_EPOCH``, and write masks of the cases that fold 0 holds out."""
    trainer = _trainer(dataset)
    trainer.num_iterations_per_epoch = min(count, _EPOCH)
    trainer.num_epochs = max(1, round(count / trainer.num_iterations_per_epoch))
    trainer.num_val_iterations_per_epoch = 1
    started = time.perf_counter()
    trainer.run_training()
    trained_s = time.perf_counter() - started
    _, held_out = trainer.do_split()
    raw = Path(trainer.preprocessed_dataset_folder_base.replace("nnUNet_preprocessed", "nnUNet_raw")) / "imagesTr"
    cases = [sorted(str(path) for path in raw.glob(f"{case}_[0-9][0-9][0-9][0-9].*")) for case in held_out]
    predictor = _predictor()
    predictor.initialize_from_trained_model_folder(trainer.output_folder_base, (0,), _CHECKPOINT)
    Path(folder).mkdir(parents=True)
    predictor.predict_from_files_sequential(cases, [str(Path(folder) / case) for case in held_out])
    return {
        "steps": trainer.num_iterations_per_epoch * trainer.num_epochs,
        "trained_s": trained_s,
        "held_out": sorted(held_out),
    }


def predict(model: str, folder: str, images: str) -> dict[str, Any]:
    """Seconds that predicting every case of ``images`` takes, and how many of them the network does."""
    torch.set_num_threads(multiprocessing.cpu_count())
    predictor = _predictor()
    predictor.initialize_from_trained_model_folder(model, (0,), _CHECKPOINT)
    Path(folder).mkdir(parents=True)
    clock = Stopwatch(predictor.network)
    predictor.network = clock
    started = time.perf_counter()
    predictor.predict_from_files_sequential(images, folder)
    return {"whole_s": time.perf_counter() - started, "network_s": clock.seconds}


class Stopwatch(nn.Module):
    """A network that adds up how long it computes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.seconds = 0.0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        started = time.perf_counter()
        logits: torch.Tensor = self.network(image)
        self.seconds += time.perf_counter() - started
        return logits

    def load_state_dict(self, *arguments: Any, **options: Any) -> Any:
        """The inner network's: nnU-Net loads a fold's weights when it is their turn."""
        return self.network.load_state_dict(*arguments, **options)


def _trainer(dataset: str) -> Any:
    torch.set_num_threads(multiprocessing.cpu_count())
    return get_trainer_from_args(dataset, "3d_fullres", 0, device=torch.device("cpu"))


def _predictor() -> Any:
    return nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)


def _timed(step: Callable[[], object], count: int) -> list[float]:
    """Seconds of each of ``count`` calls, after a warm-up."""
    seconds = []
    for index in range(count + _WARM_UP):
        started = time.perf_counter()
        step()
        if index >= _WARM_UP:
            seconds.append(time.perf_counter() - started)
    return seconds


def _counts(number: int | list[int], stages: int) -> list[int]:
    return [number] * stages if isinstance(number, int) else list(number)


def main(what: str, *words: str) -> None:
    """Do what the first word says and print what came of it."""
    if what == "predict":
        report = predict(words[0], words[1], words[2])
    elif what == "teach":
        report = teach(words[0], int(words[1]), words[2])
    elif what == "planned":
        report = planned(_trainer(words[0]))
    else:
        report = steps(words[0], int(words[1]))
    sys.stdout.write("\n" + dumps(report) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
