"""What a Dask worker does for a unit: run its command in a process of its own, which ends with the worker.

All that travels between machines is the name of ``carry_out``, the words of a command and an exit code.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class UnitFailed(Exception):  # noqa: N818
    """A unit ended with an exit code other than 0; what stands on it is not begun."""


def carry_out(
    command: Sequence[str], folder: str, log: str, environment: Mapping[str, str | None], before: Sequence[int] = ()
) -> int:
    """0, once the command has ended well.

    Args:
        folder: to run it in; log: file that what it says is appended to.
        environment: variables to set, or, None, to take away.
        before: what the tasks of the units before it have returned; Dask waits for them.

    Raises:
        UnitFailed: if it has not ended well.
    """
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    variables = {name: value for name, value in os.environ.items() if name not in environment}
    variables |= {name: value for name, value in environment.items() if value is not None}
    # The kernel counts the end of the thread that starts a process as that of its parent; this one waits for it.
    child = [*command, "--parent", str(os.getpid())]
    with Path(log).open("ab") as stream:
        done = subprocess.run(
            child, cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, check=False
        )
    if done.returncode != 0:
        raise UnitFailed(f"exit code {done.returncode}")
    return 0
