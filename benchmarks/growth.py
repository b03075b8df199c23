"""How cost grows: with cases, listed files, voxels, classes, modalities and members; and what a giant case needs.

    python benchmarks/growth.py cases         # 1,000 to 10,000 tiny cases checked, measured, planned
    python benchmarks/growth.py listing       # 30,000 to 300,000 files listed
    python benchmarks/growth.py prediction    # one case of more voxels, classes, modalities, members
    python benchmarks/growth.py large         # 1024 x 1024 x 600 voxels: stated peak against measured
    python benchmarks/growth.py large --members 10 --shape 256 512 512

Each measurement is a command of its own, started cold, with workers as by default. Exponents are the k of
cost = a + b size^k, with the same command on next to nothing as size 0; up to 1.1 counts as linear. Judged are
processor time and memory, since wall time is as long as the machine is busy. Figures go to
``results/growth_*.json``; the exit status is 1 if something grows more than linearly, or a peak is above what was
stated.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from growth_fit import Growth, told
from measure import Usage, measure
from results_file import keep
from tiny_cases import FILES_PER_CASE, touch_files, write_tiny_cases

HERE = Path(__file__).resolve().parent
STAGES = ("check", "fingerprint", "plan")
CASES, START_CASES = (1000, 3000, 10_000), 10
FILES, START_FILES = (30_000, 100_000, 300_000), 3 * FILES_PER_CASE
LARGE_SHAPE = (600, 1024, 1024)
LARGE_PATCH, LARGE_STEP = 128, 1.0
"""Tiles side by side without overlap: what they share is time, not memory."""
_STATED = re.compile(r"needs at most ([\d.]+) GiB")
_MIB_PER_GIB = 1024

SMALL = {"shape": [64, 64, 64]}
AXES: dict[str, tuple[dict[str, Any], ...]] = {
    "voxels": tuple({"shape": [edge] * 3} for edge in (64, 96, 128)),
    "classes": tuple({**SMALL, "classes": count} for count in (2, 8, 32)),
    "modalities": tuple({**SMALL, "modalities": count} for count in (1, 2, 4)),
    "members": tuple({**SMALL, "members": count} for count in (1, 3, 10)),
}
"""What predictions are asked for, along each axis."""
_START = {"shape": [8, 8, 8]}

Ask = Mapping[str, Any]


def autofuse(*words: str, log: Path) -> Usage:
    """Usage of one command of autofuse."""
    return measure([sys.executable, "-m", "autofuse", *words], log)


def grow_cases(sizes: Sequence[int], scratch: Path) -> list[Growth]:
    """Checking, measuring and planning that many cases, one after the other on the same workspace."""
    used: dict[str, list[Usage]] = {stage: [] for stage in STAGES}
    for size in (START_CASES, *sizes):
        folder = scratch / f"cases_{size}"
        raw = write_tiny_cases(folder / "raw", size)
        for stage in STAGES:
            place = [] if stage == "check" else ["--workspace", str(folder / "workspace")]
            used[stage].append(autofuse(stage, str(raw), "--quiet", *place, log=scratch / "log.txt"))
        shutil.rmtree(folder)
    return [_growth(stage, "cases", sizes, used[stage]) for stage in STAGES]


def grow_listing(sizes: Sequence[int], scratch: Path) -> list[Growth]:
    """Opening a data set of that many files."""
    used = []
    for size in (START_FILES, *sizes):
        folder = touch_files(scratch / f"files_{size}", size)
        words = "import sys, autofuse.dataset as d; d.open_dataset(sys.argv[1])"
        used.append(measure([sys.executable, "-c", words, str(folder)], scratch / "log.txt"))
        shutil.rmtree(folder)
    return [_growth("listing", "files", sizes, used)]


def grow_prediction(axes: Mapping[str, Sequence[Ask]], scratch: Path) -> list[Growth]:
    """Predicting one case, along each axis."""
    start, _ = predicted(_START, scratch)
    found = []
    for along, asked in axes.items():
        used = [predicted(item, scratch)[0] for item in asked]
        found.append(_growth("prediction", along, [_size(along, item) for item in asked], [start, *used]))
    return found


def predicted(asked: Ask, scratch: Path) -> tuple[Usage, float | None]:
    """Usage of predicting one made-up case, and the peak in GiB that was stated before."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        words = json.dumps({"folder": folder, **asked})
        script, log = str(HERE / "predict_one.py"), Path(folder) / "log.txt"
        measure([sys.executable, script, "make", words], log)
        log.unlink()
        usage = measure([sys.executable, script, "predict", words], log)
        stated = _STATED.search(" ".join(log.read_text().split()))
    return usage, None if stated is None else float(stated[1])


def large_case(shape: Sequence[int], members: int, scratch: Path) -> dict[str, Any]:
    """Stated and measured peak of one large case."""
    asked = {"shape": list(shape), "members": members, "patch": LARGE_PATCH, "step": LARGE_STEP}
    usage, stated_gib = predicted(asked, scratch)
    peak_gib = usage.peak_mib / _MIB_PER_GIB
    return {
        **asked,
        "stated_gib": stated_gib,
        "measured_gib": peak_gib,
        "wall_s": usage.wall_s,
        "cpu_s": usage.cpu_s,
        "holds": stated_gib is not None and peak_gib <= stated_gib,
    }


def _growth(stage: str, along: str, sizes: Sequence[float], used: Sequence[Usage]) -> Growth:
    start, *rest = used
    return Growth(stage, along, start, tuple(sizes), tuple(rest))


def _size(along: str, asked: Ask) -> float:
    if along == "voxels":
        z, y, x = asked["shape"]
        return float(z * y * x)
    return float(asked[along])


def _kept(name: str, rows: Sequence[Growth]) -> bool:
    """Write and tell the rows; whether all grow linearly."""
    for row in rows:
        sys.stdout.write(told(row))
    facts = [row.as_dict() for row in rows]
    holds = all(row["linear"] for row in facts)
    keep(name, {"rows": facts, "holds": holds})
    return holds


def _large(options: argparse.Namespace, scratch: Path) -> bool:
    facts = large_case(options.shape, options.members, scratch)
    keep("growth_large" if options.members == 1 else f"growth_large_{options.members}_members", facts)
    sizes = " x ".join(map(str, options.shape))
    stated = "nothing" if facts["stated_gib"] is None else f"{facts['stated_gib']:.2f} GiB"
    sys.stdout.write(
        f"{sizes}, {options.members} members: stated {stated}, measured {facts['measured_gib']:.2f} GiB, "
        f"{facts['wall_s']:.0f} s\n"
    )
    return bool(facts["holds"])


def main() -> None:
    """Measure what is asked for and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cases", "listing", "prediction", "large", "all"))
    parser.add_argument("--sizes", type=int, nargs="+", help="cases or files instead of the usual numbers, ascending")
    parser.add_argument("--shape", type=int, nargs=3, default=LARGE_SHAPE, help="of the large case: z y x")
    parser.add_argument("--members", type=int, default=1, help="of the ensemble that predicts the large case")
    parser.add_argument("--scratch", type=Path, help="folder for data; default: the system's temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="growth-", dir=options.scratch) as folder:
        good = [measured(options, Path(folder)) for measured in _chosen(options.what)]
    raise SystemExit(0 if all(good) else 1)


def _chosen(what: str) -> Iterator[Callable[[argparse.Namespace, Path], bool]]:
    measured: dict[str, Callable[[argparse.Namespace, Path], bool]] = {
        "cases": lambda options, scratch: _kept("growth_cases", grow_cases(options.sizes or CASES, scratch)),
        "listing": lambda options, scratch: _kept("growth_listing", grow_listing(options.sizes or FILES, scratch)),
        "prediction": lambda options, scratch: _kept("growth_prediction", grow_prediction(AXES, scratch)),
        "large": _large,
    }
    return iter(measured.values()) if what == "all" else iter([measured[what]])


if __name__ == "__main__":
    main()
