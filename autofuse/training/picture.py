"""Learning curves as a picture: loss above, Dice below."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autofuse.training.state import EpochRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DPI = 110
_LINES = 8


def draw_progress(history: Sequence[EpochRecord], title: str) -> bytes:
    """PNG bytes; drawn without a display and without pyplot's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True)
    figure.suptitle(title)
    _draw_loss(upper, history)
    _draw_dice(lower, history)
    memory = io.BytesIO()
    figure.savefig(memory, format="png")
    return memory.getvalue()


def _draw_loss(axes: Axes, history: Sequence[EpochRecord]) -> None:
    _line(axes, history, [record.loss for record in history], "loss", linewidth=2.0, color="black")
    names = list(history[-1].terms) if history else []
    for name in names[:_LINES] if len(names) > 1 else []:
        _line(axes, history, [record.terms.get(name) for record in history], name, linewidth=1.0)
    axes.set_ylabel("loss (mean of an epoch)")
    axes.grid(alpha=0.3)
    if history:
        axes.legend(fontsize="small")


def _draw_dice(axes: Axes, history: Sequence[EpochRecord]) -> None:
    validated = [record for record in history if record.dice is not None]
    _line(axes, validated, [record.dice_smooth for record in validated], "moving average", linewidth=2.0, color="black")
    _line(axes, validated, [record.dice for record in validated], "mean", marker="o", markersize=3, linewidth=0.8)
    names = list(validated[-1].dice_per_class) if validated else []
    for name in names[:_LINES] if len(names) > 1 else []:
        _line(axes, validated, [record.dice_per_class.get(name) for record in validated], name, linewidth=0.8)
    axes.set_ylim(0, 1)
    axes.set_ylabel("Dice, held-out cases")
    axes.set_xlabel("step")
    axes.grid(alpha=0.3)
    if validated:
        axes.legend(fontsize="small", loc="lower right")


def _line(axes: Axes, history: Sequence[EpochRecord], values: Sequence[float | None], label: str, **style: Any) -> None:
    points = [(record.step, value) for record, value in zip(history, values, strict=True) if value is not None]
    if len(points) == 1:
        style = {"marker": "o", **style}  # a single point makes no line
    axes.plot([step for step, _ in points], [value for _, value in points], label=label, **style)
