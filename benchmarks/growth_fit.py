"""How cost grows with size: points, the exponent of growth, and whether it is linear."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from measure import Usage

LINEAR = 1.1
"""Exponents up to this count as linear."""
_LEAST_SHARE = 0.2
"""Of the whole, that the largest size must add to the smallest; less is start-up and chance, and has no exponent."""


@dataclass(frozen=True)
class Growth:
    """What one stage used at several sizes.

    Attributes:
        stage: what was measured; along: what grows, such as "cases".
        start: what the same costs at next to nothing; taken off before the exponents are fitted.
        sizes, used: ascending.
    """

    stage: str
    along: str
    start: Usage
    sizes: tuple[float, ...]
    used: tuple[Usage, ...]

    def exponent(self, figure: str) -> float | None:
        """Slope of log(figure - start) over log(size), least squares: 1 for linear growth; None where the figure hardly
        grows at all."""
        start = getattr(self.start, figure)
        costs = [getattr(item, figure) - start for item in self.used]
        if len(costs) < 2 or min(costs) <= 0 or costs[-1] < _LEAST_SHARE * getattr(self.used[-1], figure):
            return None
        return slope([math.log(size) for size in self.sizes], [math.log(cost) for cost in costs])

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


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Of the straight line through the points that has the least squared error."""
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((value - middle_x) ** 2 for value in x)
    return sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True)) / spread


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
