"""Where nnU-Net is installed: an environment of its own, so that neither tool's packages disturb the other's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NNUNET = "nnunetv2==2.8.1"


def nnunet_environment(option: str | None) -> Path:
    """An environment that holds nnU-Net; made once, with the same torch as ours."""
    if option:
        return Path(option)
    folder = HERE / ".venv-nnunet"
    if not (folder / "bin" / "nnUNetv2_train").exists():
        import torch

        sys.stderr.write("Installing nnU-Net into an environment of its own (some minutes) ...\n")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        constraint = folder / "constraints.txt"
        constraint.write_text(f"torch=={torch.__version__.split('+')[0]}\n")
        install = [str(folder / "bin" / "pip"), "install", "--quiet", "-c", str(constraint)]
        subprocess.run([*install, constraint.read_text().strip()], check=True)
        subprocess.run([*install, NNUNET], check=True)
    return folder
