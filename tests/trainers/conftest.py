"""Tiny tensors: one thread is faster than several. Several processes train as the tests of training have them do."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

torch.set_num_threads(1)
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))
