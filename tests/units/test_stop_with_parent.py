"""A process that is to stop with its parent is told so once, however many threads the parent had."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_CHILD = """
import os, signal, socket, sys, time
from autofuse.foundation.worker_process import stop_with_parent
mine, kernels = socket.socketpair()
kernels.setblocking(False)
signal.set_wakeup_fd(kernels.fileno())  # a byte for every signal, those too that Python would take for one
signal.signal(signal.SIGTERM, lambda number, frame: None)
stop_with_parent(int(sys.argv[1]))
print("ready", flush=True)
got = mine.recv(1)
time.sleep(1)
kernels.close()
while more := mine.recv(100):
    got += more
print(got.count(signal.SIGTERM), flush=True)
"""
_PARENT = """
import os, subprocess, sys, threading, time
def begin():
    subprocess.run([sys.executable, "-c", sys.argv[1], str(os.getpid())])
for _ in range(40):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
threading.Thread(target=begin, daemon=True).start()
for _ in range(40):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
time.sleep(60)
"""


def test_one_polite_signal_when_the_parent_is_killed(tmp_path: Path) -> None:
    told = tmp_path / "told"
    with told.open("wb") as stream:
        parent = subprocess.Popen([sys.executable, "-c", _PARENT, _CHILD], stdout=stream)
    _wait_for("ready", told)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    _wait_for("1", told)
    assert told.read_text().split() == ["ready", "1"]


def _wait_for(word: str, told: Path) -> None:
    deadline = time.monotonic() + 60
    while word not in told.read_text().split():
        assert time.monotonic() < deadline, told.read_text()
        time.sleep(0.05)
