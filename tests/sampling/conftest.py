"""Tiny tensors: one thread is faster than several. Stores are made as the tests of preprocessing make them."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

torch.set_num_threads(1)
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "preprocessing"))
