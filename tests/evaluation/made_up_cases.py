"""Held-out cases made up: a ball, runs that see it with errors of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from autofuse.dataset.types import LabelClass, Labels
from autofuse.evaluation.held_out import Bench, keep_case
from autofuse.inference.coding import encode

LABELS = Labels(classes=(LabelClass(name="ball", raw_values=(1,)),))
SHAPE = (10, 16, 16)
Draw = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def ball(radius: float = 4.0, centre: Sequence[float] = (5, 6, 6)) -> np.ndarray:
    """(z, y, x) bool."""
    grid = np.stack(np.meshgrid(*(np.arange(size) for size in SHAPE), indexing="ij"), axis=-1)
    return np.linalg.norm(grid - np.asarray(centre), axis=-1) < radius


def softly(mask: np.ndarray, sure: float = 0.9) -> np.ndarray:
    """Probability of foreground: ``sure`` inside, 1 - ``sure`` outside near by, 0 far away."""
    return np.where(mask, sure, 0.0).astype(np.float32)


def two(foreground: np.ndarray) -> np.ndarray:
    """(2, z, y, x) codes of background and foreground."""
    return np.stack([encode(1 - foreground), encode(foreground)])


def make_bench(runs: Sequence[Draw], cases: int = 10, subjects: int | None = None, ignore: float = 0.0) -> Bench:
    """A bench whose runs draw the probability of foreground from the truth."""
    made = []
    for number in range(cases):
        generator = np.random.default_rng(number)
        truth = ball(3.5 + number % 3, (5, 6 + number % 2, 6))
        codes = [two(draw(truth, generator)) for draw in runs]
        reference = truth.astype(np.int16)
        reference[generator.random(SHAPE) < ignore] = -1
        subject = f"subject {number % (subjects or cases):02}"
        made.append(keep_case(f"case {number:02}", subject, codes, reference, (1.0, 1.0, 1.0), LABELS))
    return Bench(tuple(made), LABELS)
