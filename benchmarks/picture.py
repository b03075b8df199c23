"""One picture of the benchmarks, drawn from the figures in ``results/``: nnU-Net, bare limits, growth.

    python benchmarks/picture.py                # documentation/pictures/benchmarks.svg
    python benchmarks/picture.py --out FILE     # .svg or .png

Nothing is measured here. A panel whose figures are missing is left out. Colours are Okabe and Ito's, which the
colour-blind tell apart; lines differ in their markers too, bars in their hatching.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PICTURE = HERE.parent / "documentation" / "pictures" / "benchmarks.svg"
AGAINST = ("against_nnunet.json", "against_nnunet_hippocampus.json")
"""The first of these that is there."""
GROWTH = ("growth_cases.json", "growth_listing.json", "growth_prediction.json")

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
GREY = "#555555"
TIMES = "\N{MULTIPLICATION SIGN}"
BACKSLASHES = 3 * chr(92)
_MARKERS = "osD^vPX*"
_WIDTH_INCHES, _HEIGHT_INCHES = 5.0, 4.4
_TEXT_POINTS = 11
_MIB = 1 << 20
_AIM = 3.0
"""Times faster than nnU-Net, that are aimed at in preprocessing and around the network."""

Facts = Mapping[str, Any]
Panel = Callable[[Axes], None]


@dataclass(frozen=True)
class Bar:
    """One stage: how many times less time and memory than nnU-Net; None where that was not measured."""

    name: str
    time: float
    memory: float | None


@dataclass(frozen=True)
class Overhead:
    """Time over what the bare limit alone would take: 1 is as fast as it can be."""

    name: str
    autofuse: float
    nnunet: float | None


def bars(facts: Facts) -> list[Bar]:
    """Stages beside nnU-Net, in the order of the road; all ``--help`` as one."""
    rows = {row["stage"]: row for row in facts["rows"]}
    helps = [row["wall_ratio"] for stage, row in rows.items() if stage.endswith("--help")]
    found = [Bar("--help (median)", statistics.median(helps), None)] if helps else []
    for stage in ("fingerprint", "plan", "preprocess"):
        if stage in rows:
            found.append(Bar(stage, rows[stage]["wall_ratio"], rows[stage]["memory_ratio"]))
    timing = facts["training_steps"]
    step = _median(timing["nnunet"]["step_s"]) / _median(timing["autofuse"]["step_s"])
    found.append(Bar("training step", step, rows.get("training run", {}).get("memory_ratio")))
    for stage, name in (("predict, no mirroring", "predict"), ("predict, mirroring", "predict, mirrored")):
        if stage in rows:
            found.append(Bar(name, rows[stage]["wall_ratio"], rows[stage]["memory_ratio"]))
    if "around" in facts:
        found.append(Bar("around the network", facts["around"]["ratio"], None))
    return found


def overheads(facts: Facts) -> list[Overhead]:
    """Stages over their bare limits."""
    timing = facts["training_steps"]
    steps = {side: _median(timing[side]["step_s"]) / _median(timing[side]["bare_step_s"]) for side in timing}
    found = [Overhead("training step /\nbare network", steps["autofuse"], steps["nnunet"])]
    if "around" in facts:
        whole = {side: facts["around"][side] for side in ("autofuse", "nnunet")}
        ratios = {side: item["whole_s"] / item["network_s"] for side, item in whole.items()}
        found.append(Overhead("prediction /\nits network", ratios["autofuse"], ratios["nnunet"]))
    if "limits" in facts and "preprocess_bytes" in facts:
        limits, moved = facts["limits"], facts["preprocess_bytes"]
        bare_s = moved["read"] / _MIB / limits["disk_read_mib_per_s"]
        bare_s += moved["written"] / _MIB / limits["disk_write_mib_per_s"]
        row = next(row for row in facts["rows"] if row["stage"] == "preprocess")
        ratios = {side: row[side]["wall_s"] / bare_s for side in ("autofuse", "nnunet")}
        found.append(Overhead("preprocessing /\nthe bare disk", ratios["autofuse"], ratios["nnunet"]))
    return found


def curves(files: Sequence[Facts]) -> list[tuple[str, list[float], list[float]]]:
    """Name, sizes and processor time without start-up of what grew, both as multiples of the smallest."""
    found = []
    for row in (row for facts in files for row in facts["rows"]):
        start = row["start"]["cpu_s"]
        costs = [point["cpu_s"] - start for point in row["points"]]
        if row["exponents"]["cpu_s"] is None:
            continue
        sizes = [point["size"] for point in row["points"]]
        name = f"{row['stage']}, {row['along']} ({row['exponents']['cpu_s']:.2f})"
        found.append((name, [size / sizes[0] for size in sizes], [cost / costs[0] for cost in costs]))
    return found


def draw_bars(axes: Axes, rows: Sequence[Bar]) -> None:
    """How many times less nnU-Net's time and memory are undercut by."""
    places = range(len(rows))[::-1]
    for place, row in zip(places, rows, strict=True):
        axes.barh(place + 0.2, row.time - 1, 0.36, left=1, color=BLUE, label="time" if row is rows[0] else None)
        axes.text(row.time * 1.06, place + 0.2, _short(row.time), va="center", fontsize=_TEXT_POINTS - 2)
        if row.memory is not None:
            axes.barh(
                place - 0.2, row.memory - 1, 0.36, left=1, color=ORANGE, hatch="///", edgecolor="white", linewidth=0
            )
            axes.text(row.memory * 1.06, place - 0.2, _short(row.memory), va="center", fontsize=_TEXT_POINTS - 2)
    axes.barh(-9, 1, color=ORANGE, hatch="///", edgecolor="white", linewidth=0, label="peak memory")
    axes.axvline(1, color=GREY, linewidth=1.5)
    axes.axvline(_AIM, color=GREY, linewidth=1, linestyle=":")
    axes.set(xscale="log", ylim=(-0.7, len(rows) - 0.3), title="times less than nnU-Net 2.8.1")
    axes.set_xlim(min(0.5, *(row.time for row in rows)), 3 * max(max(row.time, row.memory or 0) for row in rows))
    axes.set_yticks(list(places), [row.name for row in rows])
    _tell_times(axes.xaxis)
    axes.legend(loc="lower right", frameon=False, fontsize=_TEXT_POINTS - 1)


def draw_overheads(axes: Axes, rows: Sequence[Overhead]) -> None:
    """Time over the bare limit's, both tools."""
    for place, row in zip(range(len(rows))[::-1], rows, strict=True):
        both = ((0.2, row.autofuse, BLUE, None), (-0.2, row.nnunet, VERMILION, BACKSLASHES))
        for shift, value, colour, hatch in both:
            if value is not None:
                look = {"color": colour, "hatch": hatch, "edgecolor": "white", "linewidth": 0}
                axes.barh(place + shift, value - 1, 0.36, left=1, **look)
                axes.text(value * 1.04, place + shift, _short(value), va="center", fontsize=_TEXT_POINTS - 2)
    axes.barh(-9, 1, color=BLUE, label="autofuse")
    axes.barh(-9, 1, color=VERMILION, hatch=BACKSLASHES, edgecolor="white", linewidth=0, label="nnU-Net")
    axes.axvline(1, color=GREY, linewidth=1.5)
    largest = max(max(row.autofuse, row.nnunet or 0) for row in rows)
    axes.set(xscale="log", ylim=(-0.7, len(rows) - 0.3), xlim=(0.8, 2.5 * largest), title="time over the bare limit's")
    axes.set_yticks(list(range(len(rows))[::-1]), [row.name for row in rows])
    _tell_times(axes.xaxis)
    axes.legend(loc="upper right", frameon=False, fontsize=_TEXT_POINTS - 1)


def draw_curves(axes: Axes, rows: Sequence[tuple[str, list[float], list[float]]]) -> None:
    """Cost over size, and what linear growth would be."""
    colours = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY)
    largest = max(max(sizes) for _, sizes, _ in rows)
    axes.plot([1, largest], [1, largest], color=GREY, linestyle="--", linewidth=1.5, label="linear")
    for number, (name, sizes, costs) in enumerate(rows):
        marker = _MARKERS[number % len(_MARKERS)]
        axes.plot(sizes, costs, color=colours[number % len(colours)], marker=marker, linewidth=2, label=name)
    axes.set(xscale="log", yscale="log", title="growth of processor time (exponent)")
    top = max(largest, *(max(costs) for _, _, costs in rows))
    axes.set(xlabel="times the smallest size", ylabel="times its cost", ylim=(0.8, 12 * top))  # room for the legend
    _tell_times(axes.xaxis)
    _tell_times(axes.yaxis)
    axes.legend(loc="upper left", frameon=False, fontsize=_TEXT_POINTS - 2)


def _tell_times(axis: Axis) -> None:
    axis.set_major_formatter(lambda value, _: f"{value:g}{TIMES}")
    axis.set_minor_formatter(NullFormatter())


def panels(results: Path) -> list[Panel]:
    """What can be drawn from the figures that are there."""
    found: list[Panel] = []
    against = next((facts for name in AGAINST if (facts := _read(results / name)) is not None), None)
    if against is not None:
        found.append(lambda axes: draw_bars(axes, bars(against)))
        found.append(lambda axes: draw_overheads(axes, overheads(against)))
    grown = curves([facts for name in GROWTH if (facts := _read(results / name)) is not None])
    if grown:
        found.append(lambda axes: draw_curves(axes, grown))
    return found


def draw(results: Path, out: Path) -> None:
    """Write the picture; equal figures give equal bytes.

    Raises:
        SystemExit: if there is nothing to draw.
    """
    drawn = panels(results)
    if not drawn:
        raise SystemExit(f"There are no figures in {results}: run `make bench` or `make bench-growth` first.")
    settings = {"font.size": _TEXT_POINTS, "svg.hashsalt": "autofuse", "axes.spines.top": False}
    with matplotlib.rc_context({**settings, "axes.spines.right": False, "hatch.linewidth": 0.8}):
        figure = Figure(figsize=(_WIDTH_INCHES * len(drawn), _HEIGHT_INCHES), facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        for axes, panel in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True):
            panel(axes)
            axes.tick_params(length=3)
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=110, metadata={"Date": None} if out.suffix == ".svg" else None)


def _read(path: Path) -> Facts | None:
    if not path.exists():
        return None
    facts: Facts = json.loads(path.read_text())
    return facts


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)


def _short(value: float) -> str:
    return f"{value:.0f}{TIMES}" if value >= 10 else f"{value:.2f}{TIMES}"


def main() -> None:
    """Draw what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the figures")
    parser.add_argument("--out", type=Path, default=PICTURE, help="file of the picture")
    options = parser.parse_args()
    draw(options.results, options.out)
    sys.stdout.write(f"{options.out}\n")


if __name__ == "__main__":
    main()
