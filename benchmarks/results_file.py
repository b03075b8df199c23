"""Where benchmark figures are kept: JSON in ``results/``, with date, commit and machine beside them."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def keep(name: str, figures: Mapping[str, Any]) -> Path:
    """Write the figures with date, commit and machine, so that later ones can be set beside them; the file's path."""
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, cwd=HERE, capture_output=True, text=True, check=False)
    results = {
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip(),
        "machine": {"processor": platform.processor() or platform.machine(), "python": platform.python_version()},
        **figures,
    }
    path = HERE / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    return path
