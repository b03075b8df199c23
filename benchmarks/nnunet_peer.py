"""nnU-Net's side of the comparison; runs inside nnU-Net's own environment and prints one JSON line.

    python nnunet_peer.py DATASET_ID STEPS

Trains STEPS steps of the default trainer with its own loader and augmentation, times them, times the bare network
(same loss, same optimiser, random input), and saves a checkpoint that prediction can use.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from pathlib import Path

import torch
from nnunetv2.run.run_training import get_trainer_from_args

_WARM_UP = 1


def main(dataset: str, steps: int) -> None:
    """Time training steps and the bare network's, and save a checkpoint."""
    torch.set_num_threads(multiprocessing.cpu_count())
    trainer = get_trainer_from_args(dataset, "3d_fullres", 0, device=torch.device("cpu"))
    trainer.initialize()
    trainer.on_train_start()
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    batch = next(trainer.dataloader_train)
    with_loader = _timed(lambda: trainer.train_step(next(trainer.dataloader_train)), steps)
    fixed = {
        "data": torch.randn_like(batch["data"]),
        "target": [level.clone() for level in batch["target"]],
    }
    bare = _timed(lambda: trainer.train_step(fixed), steps)
    trainer.current_epoch = 1
    trainer.on_train_end()
    arguments = trainer.configuration_manager.network_arch_init_kwargs
    report = {
        "step_s": with_loader,
        "bare_step_s": bare,
        "patch": list(trainer.configuration_manager.patch_size),
        "batch": trainer.configuration_manager.batch_size,
        "spacing_mm": list(trainer.configuration_manager.spacing),
        "features": list(arguments["features_per_stage"]),
        "kernels": [list(kernel) for kernel in arguments["kernel_sizes"]],
        "strides": [list(stride) for stride in arguments["strides"]],
        "blocks": _counts(arguments["n_conv_per_stage"], len(arguments["features_per_stage"])),
        "decoder_blocks": _counts(arguments["n_conv_per_stage_decoder"], len(arguments["features_per_stage"]) - 1),
        "model_folder": str(Path(trainer.output_folder_base)),
    }
    sys.stdout.write("\n" + json.dumps(report) + "\n")


def _timed(step: object, steps: int) -> list[float]:
    """Seconds of each of ``steps`` calls, after a warm-up."""
    assert callable(step)
    seconds = []
    for index in range(steps + _WARM_UP):
        started = time.perf_counter()
        step()
        if index >= _WARM_UP:
            seconds.append(time.perf_counter() - started)
    return seconds


def _counts(number: int | list[int], stages: int) -> list[int]:
    return [number] * stages if isinstance(number, int) else list(number)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
