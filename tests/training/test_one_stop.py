"""Several SIGTERMs at once are one stop; a later one ends the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from autofuse.training import signals

_LATE = """
import os, signal
from autofuse.training import signals
signals.ONE_STOP_S = 0.0
with signals.caught_signals():
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    print("still here")
"""


def test_what_is_told_by_several_is_one_stop() -> None:
    with signals.caught_signals() as stopping:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
    assert stopping.signal == signal.SIGTERM
    assert isinstance(stopping.error(3, "run"), signals.Terminated)


def test_a_second_stop_ends_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", _LATE], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGTERM
    assert done.stdout == ""


def test_ctrl_c_after_a_stop_is_immediate() -> None:
    with signals.caught_signals(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
