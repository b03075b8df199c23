"""Tiny tensors: one thread is faster than several."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
