"""Along which axes an image may be mirrored without teaching the network something untrue."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from pydantic import JsonValue

from autofuse.dataset.types import Labels
from autofuse.fingerprint.types import Fingerprint
from autofuse.plan.types import Decision
from autofuse_planners.thresholds import Thresholds

_SIDES = {"left": "right", "right": "left", "lh": "rh", "rh": "lh", "lt": "rt", "rt": "lt"}
_LETTERS = {"l": "r", "r": "l"}
_AXES = (0, 1, 2)


@dataclass(frozen=True)
class Order:
    """Two classes that lie in the same order along an axis in nearly every case.

    Attributes:
        axis: raw array axis.
        mean_mm: of the distance of their centroids along it; ratio: mean / standard deviation over cases.
    """

    axis: int
    first: str
    second: str
    mean_mm: float
    ratio: float
    cases: int


def choose_mirroring(
    fingerprint: Fingerprint, labels: Labels, transpose: tuple[int, int, int], steps: int, rules: Thresholds
) -> tuple[tuple[int, ...], Decision]:
    """The transposed axes that are mirrored, in training and in prediction.

    None where a class is the left or the right of something. In a short training not along an axis on which two
    classes always lie in the same order either: a network that cannot use that order has to learn to tell them apart
    by shape alone. In a trial on 52 hippocampi (one split and seed, a plain U-Net, simpler augmentation), mean Dice
    after 500 steps was 0.85 without any mirroring and 0.71 with all of it. Strokes tell the order as well as whole
    structures: the scribbled ventricles of 20 hearts lie 37 mm apart along x, 5.3 standard deviations.
    """
    sided = sided_names([item.name for item in labels.classes])
    orders = [] if steps > rules.order_forgotten_steps else ordered_classes(fingerprint, rules)
    raw = {order.axis for order in orders}
    axes = () if sided else tuple(axis for axis in _AXES if transpose[axis] not in raw)
    evidence: dict[str, JsonValue] = {"sided_classes": list(sided), "steps": steps}
    for order in orders:
        name = f"{order.first} to {order.second} along axis {transpose.index(order.axis)}"
        evidence[name] = f"{order.mean_mm:.1f} mm, {order.ratio:.1f} standard deviations, {order.cases} cases"
    return axes, Decision(
        what="mirroring",
        chosen=", ".join(str(axis) for axis in axes) or "none",
        rule=_rule(bool(sided), bool(orders), rules),
        evidence=evidence,
        alternatives=() if len(axes) == len(_AXES) else ("all axes, as nnU-Net does: takes many more steps",),
    )


def _rule(sided: bool, ordered: bool, rules: Thresholds) -> str:
    if sided:
        return "classes are told apart by the side of the body, and which axis that is differs between cases"
    if ordered:
        return (
            "two classes lie in the same order along an axis in nearly every case, and up to "
            f"{rules.order_forgotten_steps} steps a network learns faster if it may use that"
        )
    return "no class is called left or right, and no order of classes along an axis is worth keeping"


def ordered_classes(fingerprint: Fingerprint, rules: Thresholds) -> list[Order]:
    """Per axis the most constant order of two classes, where it is constant enough in enough cases."""
    found = []
    for axis in _AXES:
        orders = [
            order
            for first, second in combinations(range(len(fingerprint.class_names)), 2)
            if (order := _order(fingerprint, axis, first, second, rules)) is not None
        ]
        if orders:
            found.append(max(orders, key=lambda order: order.ratio))
    return found


def _order(fingerprint: Fingerprint, axis: int, first: int, second: int, rules: Thresholds) -> Order | None:
    gaps = []
    for case in fingerprint.cases:
        one, other = case.class_centroids_mm[first], case.class_centroids_mm[second]
        if one is not None and other is not None:
            gaps.append(other[axis] - one[axis])
    if len(gaps) < rules.order_cases:
        return None
    mean, spread = statistics.fmean(gaps), statistics.pstdev(gaps)
    ratio = abs(mean) / max(spread, 1e-3)
    if ratio < rules.order_ratio:
        return None
    names = fingerprint.class_names
    return Order(axis, names[first], names[second], abs(mean), ratio, len(gaps))


def sided_names(names: Sequence[str]) -> list[str]:
    """Names with left or right in them; L and R count only where the class of the other side exists too."""
    tokens = {name: tuple(_words(name)) for name in names}
    known = set(tokens.values())
    found = []
    for name, words in tokens.items():
        swapped = tuple(_LETTERS.get(word, word) for word in words)
        if any(word in _SIDES for word in words) or (swapped != words and swapped in known):
            found.append(name)
    return found


def _words(name: str) -> list[str]:
    """Lower-case words; "kidneyLeft" and "left_kidney" both hold "left"."""
    return re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
