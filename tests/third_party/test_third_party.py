"""A stranger's trainer is found by its entry point, conforms, and is recorded by name, without touching our tree."""

from __future__ import annotations

import subprocess
import sys

from autofuse.foundation.registry import TRAINERS, registered

PROGRAM = """
import torch
torch.set_num_threads(1)
from autofuse.foundation.registry import TRAINERS, load_registered, registered
from autofuse.testing import SETTINGS, check_trainer
kind = load_registered(TRAINERS, "cross_entropy_only")
assert {"supervised", "partial", kind.name} <= set(registered(TRAINERS))
print(kind.__module__, len(check_trainer(kind, settings=SETTINGS[:2])), "passed")
"""


def test_a_strangers_trainer_is_found_and_conforms(stranger: dict[str, str], tmp_path: object) -> None:
    assert "cross_entropy_only" not in registered(TRAINERS)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=stranger,
        cwd=str(tmp_path),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    module, count, passed = done.stdout.split()
    assert (module, passed) == ("cross_entropy_only", "passed") and int(count) > 25
