"""One SLURM of our own for all tests of this folder that want one."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_here import NoSlurmError, slurm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "road"))  # the tiny data set and the tiny planner


@pytest.fixture(scope="session")
def slurm_environment() -> Iterator[dict[str, str]]:
    """The environment in which ``sbatch`` reaches a SLURM with two virtual nodes; skips where there can be none."""
    # A short path: the sockets of the daemons lie in it, and a socket's path may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as folder:
        running = slurm(Path(folder))
        try:
            environment = running.__enter__()
        except NoSlurmError as reason:
            pytest.skip(f"no SLURM of our own here: {reason}")
        try:
            yield environment
        finally:
            running.__exit__(None, None, None)
