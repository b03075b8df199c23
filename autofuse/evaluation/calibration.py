"""One temperature for an ensemble's probabilities, and whether it makes them truer.

A mean of probabilities has no logits; its logarithms (log-odds for regions) are divided by the temperature (Guo et al.,
On calibration of modern neural networks, 2017, equation 9), which is fitted by the negative log likelihood of the
reference. Masks do not change. Looked at are voxels where a structure is possible (``POSSIBLE``): all the others would
hide what matters behind certain background.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autofuse.dataset.label_codes import region_membership
from autofuse.evaluation.choosing import Counts
from autofuse.evaluation.ensemble import Calibration
from autofuse.evaluation.held_out import Bench
from autofuse.evaluation.jury import Jury, Within, is_clear
from autofuse.inference.coding import SUREST

MOST_VOXELS = 5000
"""Looked at in a case, evenly spread over those that are kept."""
BINS = 15
LARGEST = 4.0
"""Temperatures from 1 / 4 to 4 are looked at."""

Logs = NDArray[np.float32]
Truth = NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """Voxels of one case: log probabilities (C, n) of classes, or log-odds (R, n) of regions; true values alike.

    ``truth`` is (n,) class indices for classes, (R, n) 0 or 1 for regions.
    """

    logs: Logs
    truth: Truth
    regions: bool

    def probabilities(self, temperature: float) -> NDArray[np.float64]:
        """(C or R, n) at a temperature."""
        scaled = self.logs.astype(np.float64) / temperature
        if self.regions:
            return 1 / (1 + np.exp(-scaled))
        powers = np.exp(scaled - scaled.max(axis=0))
        found: NDArray[np.float64] = powers / powers.sum(axis=0)
        return found

    def loss(self, temperature: float) -> float:
        """Mean negative log likelihood a voxel (and region)."""
        found = self.probabilities(temperature)
        right = np.where(self.truth == 1, found, 1 - found) if self.regions else found[self.truth, self._columns()]
        return float(-np.log(np.maximum(right, 1e-12)).mean()) if right.size else 0.0

    def reliability(self, temperature: float) -> NDArray[np.float64]:
        """(3, bins): how many, the sum of what was said, how often it was right, by what was said."""
        found = self.probabilities(temperature)
        if self.regions:
            said, right = found.ravel(), self.truth.ravel() == 1
        else:
            winner = found.argmax(axis=0)
            said, right = found[winner, self._columns()], winner == self.truth
        place = np.minimum((said * BINS).astype(np.int64), BINS - 1)
        return np.stack([np.bincount(place, weights=w, minlength=BINS) for w in (np.ones_like(said), said, right)])

    def _columns(self) -> NDArray[np.int64]:
        return np.arange(self.logs.shape[1])


def calibrate_ensemble(bench: Bench, jury: Jury, counts: Counts) -> Calibration:
    """The temperature of the ensemble; taken if it clearly makes probabilities of other subjects truer."""
    samples = [sample_case(bench, number, counts) for number in range(len(bench.cases))]
    everybody = jury.everybody
    temperature = fit_temperature(samples, everybody)
    by_others = np.ones(len(samples))
    for others, part in jury.parts(everybody):
        by_others[part] = fit_temperature(samples, others)
    before = np.array([sample.loss(1.0) for sample in samples])
    after = np.array([sample.loss(t) for sample, t in zip(samples, by_others.tolist(), strict=True)])
    gain = jury.gain(-before, -after, everybody) if jury.enough(everybody) else None
    chosen = is_clear(gain)
    why = "probabilities of subjects that had no part in fitting become truer"
    if gain is None:
        why = "too few subjects to say"
    elif not chosen:
        why = "not clearly better on subjects that had no part in fitting"
    return Calibration(
        temperature=temperature,
        chosen=chosen,
        why=why,
        voxels=sum(sample.logs.shape[1] for sample in samples),
        nll=(_mean(before), _mean(after)),
        ece=(calibration_error(samples, np.ones(len(samples))), calibration_error(samples, by_others)),
        nll_gain=gain,
    )


def sample_case(bench: Bench, number: int, counts: Counts, most: int = MOST_VOXELS) -> Sample:
    """Labelled voxels of one case, evenly spread."""
    case, labels = bench.cases[number], bench.labels
    truth = case.truth.ravel()[case.places].astype(np.int64)
    known = np.flatnonzero(truth >= 0)
    count = min(most, len(known))
    spread = known[np.linspace(0, len(known) - 1, count).round().astype(np.int64)] if count else known
    mean = np.clip(bench.mean(case, counts)[:, spread].astype(np.float64), SUREST, 1 - SUREST)
    truth = truth[spread]
    if labels.has_regions:
        inside = region_membership(labels)[:, truth].astype(np.int64)
        return Sample((np.log(mean) - np.log1p(-mean)).astype(np.float32), inside, True)
    return Sample(np.log(mean).astype(np.float32), truth, False)


def fit_temperature(samples: list[Sample], within: Within) -> float:
    """The temperature with the smallest mean loss a case, to three digits."""
    from scipy.optimize import minimize_scalar

    chosen = [sample for sample, inside in zip(samples, within, strict=True) if inside and sample.logs.shape[1]]
    if not chosen:
        return 1.0

    def loss(log_temperature: float) -> float:
        return sum(sample.loss(math.exp(log_temperature)) for sample in chosen) / len(chosen)

    limit = math.log(LARGEST)
    found = minimize_scalar(loss, bounds=(-limit, limit), method="bounded", options={"xatol": 1e-3})
    return round(math.exp(float(found.x)), 3)


def calibration_error(samples: list[Sample], temperatures: NDArray[np.float64]) -> float:
    """Expected calibration error: mean gap between what was said and how often it was right, over bins (Guo 2017)."""
    bins = sum(
        (sample.reliability(t) for sample, t in zip(samples, temperatures.tolist(), strict=True)),
        start=np.zeros((3, BINS)),
    )
    many, said, right = bins
    return round(float(np.abs(said - right).sum() / max(1.0, many.sum())), 6)


def _mean(losses: NDArray[np.float64]) -> float:
    return round(float(losses.mean()), 6)
