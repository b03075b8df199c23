"""Every random number as a function of (seed, purpose, step), so that a run can go on without remembering any state."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import torch


def mix(seed: int, purpose: str, step: int = 0) -> int:
    """63 bits that depend on all three arguments; equal on every machine."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def seed_everything(seed: int, purpose: str, step: int = 0) -> None:
    """Seed torch, and numpy and random too: a method may use them without knowing what it would break."""
    number = mix(seed, purpose, step)
    torch.manual_seed(number)
    np.random.seed(number & 0xFFFFFFFF)
    random.seed(number)
