"""The command as a user runs it: another process, with its own streams and environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def autofuse(tmp_path: Path) -> Command:
    """Run `autofuse` with these arguments in an empty folder; ``env`` replaces the environment."""

    def call(*arguments: str | Path, env: dict[str, str] | None = None, timeout: float = 120.0, **more: object):  # type: ignore[no-untyped-def]
        options: dict[str, object] = {"capture_output": True, "text": True, "check": False, "cwd": tmp_path} | more
        return subprocess.run(
            [sys.executable, "-m", "autofuse", *map(str, arguments)],
            env=dict(os.environ) if env is None else env,
            timeout=timeout,
            **options,  # type: ignore[call-overload]
        )

    return call
