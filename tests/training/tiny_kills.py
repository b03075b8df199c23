"""Kills a tiny training again and again, and prints what came of it as JSON.

    python tiny_kills.py FOLDER KILLS SEED PRECISION...

This process imports torch once and never computes; each attempt is a fork of it, killed with SIGKILL after a random
time.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import matplotlib.figure  # noqa: F401 (here once, not in every fork)
from tiny_training import Tiny, blob_loader, hard_dice, tiny_run, tiny_task

from autofuse.training import run as run_module
from autofuse.training.journal import Journal
from autofuse.training.loop import fit

run_module.load_registered = lambda _group, _name: Tiny
Journal._add_events = lambda *_: None  # importing TensorBoard takes longer than the whole training
STEPS, EPOCH = 120, 8


def attempt(folder: Path, precision: str) -> None:
    """One process's try at the run."""
    trainer = Tiny(ema_decay=0.99)
    task = tiny_task()
    run = tiny_run(task, trainer, steps=STEPS, steps_per_epoch=EPOCH, precision=precision)
    fit(task, trainer, None, run, folder, device="cpu", validate=hard_dice, loader_factory=blob_loader())


def forked(folder: Path, precision: str) -> int:
    """The id of a child that is at work."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        with (folder.parent / "stderr.txt").open("a") as stream:
            os.dup2(stream.fileno(), 2)
            attempt(folder, precision)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def main() -> None:
    """For each precision, whether the run that was killed came to its end."""
    folder, kills, chance = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
    sys.stdout.write(json.dumps({name: finishes(folder / name, kills, chance, name) for name in sys.argv[4:]}))


def finishes(folder: Path, kills: int, chance: random.Random, precision: str) -> bool:
    """An undisturbed run beside one that is killed; whether the latter finished."""
    folder.mkdir()
    began = time.monotonic()
    _, status = os.waitpid(forked(folder / "whole", precision), 0)
    whole_s = time.monotonic() - began
    for _ in range(kills):
        child = forked(folder / "killed", precision)
        time.sleep(chance.uniform(0.0, 2.0 * whole_s / kills + 0.2))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    _, status = os.waitpid(forked(folder / "killed", precision), 0)
    return os.waitstatus_to_exitcode(status) == 0


main()
