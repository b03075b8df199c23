"""How cost grows with size: points, the exponent of growth, and whether it is linear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from measure import Usage
from numpy.typing import NDArray
from scipy.optimize import least_squares

LINEAR = 1.1
"""Exponents up to this count as linear."""
_LEAST_SHARE = 0.2
"""Of the whole, that the largest size must add to the smallest; less is start-up and chance, and has no exponent."""


@dataclass(frozen=True)
class Growth:
    """What one stage used at several sizes.

    Attributes:
        stage: what was measured; along: what grows, such as "cases".
        start: what the same costs at next to nothing.
        sizes, used: ascending.
    """

    stage: str
    along: str
    start: Usage
    sizes: tuple[float, ...]
    used: tuple[Usage, ...]

    def exponent(self, figure: str) -> float | None:
        """The k of figure = a + b size^k that has the least relative squared error, ``start`` counted as size 0: 1 for
        linear growth; None where the figure hardly grows at all."""
        costs = [getattr(item, figure) for item in (self.start, *self.used)]
        if len(costs) < 3 or costs[-1] - min(costs) < _LEAST_SHARE * costs[-1]:
            return None
        return fitted_exponent([0.0, *self.sizes], costs)

    def as_dict(self) -> dict[str, Any]:
        """Points and exponents; ``linear`` is judged by processor time and memory, which a busy machine spares."""
        exponents = {figure: self.exponent(figure) for figure in ("cpu_s", "wall_s", "peak_mib")}
        judged = [exponents[figure] for figure in ("cpu_s", "peak_mib")]
        return {
            "stage": self.stage,
            "along": self.along,
            "start": self.start.as_dict(),
            "points": [{"size": size, **used.as_dict()} for size, used in zip(self.sizes, self.used, strict=True)],
            "exponents": exponents,
            "linear": all(exponent is None or exponent <= LINEAR for exponent in judged),
        }


def fitted_exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """k of cost = a + b size^k, all three above 0, by least squares of the relative errors.

    A start that was measured a little too high or too low would bend a straight line through logarithms.
    """
    share, cost = np.asarray(sizes) / max(sizes), np.asarray(costs)

    def errors(logs: NDArray[np.float64]) -> NDArray[np.float64]:
        least, whole, exponent = np.exp(logs)
        found: NDArray[np.float64] = (least + whole * share**exponent) / cost - 1
        return found

    found = least_squares(errors, np.log([cost[0], cost[-1], 1.0]), xtol=1e-12, ftol=1e-12, gtol=1e-12)
    return float(np.exp(found.x[2]))


def told(growth: Growth) -> str:
    """One line for a person."""
    facts = growth.as_dict()
    cpu = ", ".join(f"{point['cpu_s']:.1f}" for point in facts["points"])
    memory = ", ".join(f"{point['peak_mib']:.0f}" for point in facts["points"])
    sizes = ", ".join(f"{size:g}" for size in growth.sizes)
    exponents = {name: "-" if value is None else f"{value:.2f}" for name, value in facts["exponents"].items()}
    return (
        f"{growth.stage:12} {sizes} {growth.along}: processor {cpu} s (exponent {exponents['cpu_s']}), memory {memory} "
        f"MiB (exponent {exponents['peak_mib']}){'' if facts['linear'] else '  MORE THAN LINEAR'}\n"
    )
