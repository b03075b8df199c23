"""How well displacement between modalities is found: known shifts of phantoms and of real, aligned images.

    python benchmarks/alignment.py --data ../shared/data/Dataset101_BraTS13 --data ../shared/data/Dataset102_MSLesions

Every modality but the first is moved by a known shift in a random direction, within its field of view. The error is the
length of the difference between the found and the true shift. "One mask" means that both images were cut by the same
mask after one of them was moved: their outlines agree, and are wrong. The area under the curve (AUC) says how well the
found distance tells moved images from those that were not. Results go to ``benchmarks/results/alignment.json``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from results_file import keep
from rich.console import Console
from rich.table import Table

from autofuse.alignment.common_grid import background_value
from autofuse.alignment.displacement import Displacement, measure_displacement
from autofuse.dataset import open_dataset
from autofuse.dataset.raw import RawCase, load_case
from autofuse.foundation.machine import cpu_threads
from autofuse.phantom import PhantomOptions, write_phantom
from autofuse.phantom.write import TRUTH_FILE

SHIFTS_MM = (0.0, 2.0, 4.0, 8.0, 16.0)
RIM_VOXELS = 18
"""Taken off the body where both images are cut by one mask."""


@dataclass(frozen=True)
class Found:
    """One measurement: what was put in, and what came out."""

    data: str
    shift_mm: float
    truth_mm: tuple[float, ...]
    found: Displacement
    cpu_s: float

    @property
    def error_mm(self) -> float:
        """Distance between the found and the true shift."""
        return float(np.linalg.norm(np.subtract(self.found.displacement_mm, self.truth_mm)))


def phantoms(options: argparse.Namespace, flat: bool) -> Iterator[Found]:
    """Phantoms that were made with a shift; with ``flat`` of single slices."""
    name = "phantom, slices" if flat else "phantom"
    shape = (1, 128, 128) if flat else (72, 72, 72)
    for seed in range(options.seeds):
        for shift_mm in options.shifts:
            with tempfile.TemporaryDirectory() as folder:
                wanted = PhantomOptions(
                    cases=options.cases,
                    test_cases=0,
                    shape=shape,
                    dimensions=2 if flat else 3,
                    shift_mm=shift_mm,
                    seed=seed,
                )
                raw = write_phantom(Path(folder) / "Dataset900_Phantom", wanted)
                truth = json.loads((raw / TRUTH_FILE).read_text())["cases"]
                dataset = open_dataset(raw)
                for case in dataset.cases:
                    yield from _compared(name, load_case(dataset, case), shift_mm, truth[case.id]["shift_mm"])


def real_cases(options: argparse.Namespace, folder: Path) -> Iterator[Found]:
    """Cases of a data set whose modalities are aligned and share a grid."""
    dataset = open_dataset(folder)
    for case in dataset.cases[: options.cases]:
        raw = load_case(dataset, case, with_label=False)
        for shift_mm in options.shifts:
            for seed in range(options.seeds if shift_mm else 1):
                random = np.random.default_rng([seed, round(1000 * shift_mm)])
                directions = random.standard_normal((len(raw.images), 3))
                truth = shift_mm * directions / np.linalg.norm(directions, axis=1, keepdims=True)
                yield from _compared(dataset.name, raw, shift_mm, truth, move=True)
                yield from _compared(f"{dataset.name}, one mask", raw, shift_mm, truth, move=True, cut=True)


def _compared(
    name: str, raw: RawCase, shift_mm: float, truth: Any, move: bool = False, cut: bool = False
) -> Iterator[Found]:
    """Each modality against the first; with ``cut``, both are cut by one mask after one of them was moved."""
    fixed = raw.images[0]
    assert fixed is not None
    mask = smaller_body(fixed.voxels) if cut else np.ones(fixed.voxels.shape, bool)
    for image, true_mm in list(zip(raw.images, truth, strict=True))[1:]:
        if image is None:
            continue
        voxels = moved(image.voxels, np.divide(true_mm, image.geometry.spacing_mm)) if move else image.voxels
        one, other = (np.where(mask, item, item.min() - 1) if cut else item for item in (fixed.voxels, voxels))
        started = time.process_time()
        found = measure_displacement(one, fixed.geometry, other, image.geometry)
        yield Found(name, shift_mm, tuple(float(part) for part in true_mm), found, time.process_time() - started)


def moved(voxels: NDArray[Any], shift: NDArray[np.float64]) -> NDArray[np.float32]:
    """The image moved by a shift in voxels; what comes into the field of view is background."""
    from scipy.ndimage import shift as scipy_shift

    image = voxels.astype(np.float32)
    if not shift.any():
        return image
    fill = background_value(voxels)
    return scipy_shift(image, shift, order=1, mode="constant", cval=float(image.min()) if fill is None else fill)


def smaller_body(voxels: NDArray[Any]) -> NDArray[np.bool_]:
    """What is not background, without a rim so thick that no small shift brings background inside."""
    from scipy.ndimage import binary_erosion, binary_fill_holes

    body = binary_fill_holes(voxels != background_value(voxels))
    return np.asarray(binary_erosion(body, iterations=RIM_VOXELS), bool)


def auc(still: list[float], apart: list[float]) -> float:
    """Probability that the second of two random distances is the larger."""
    wins = np.subtract.outer(np.asarray(apart), np.asarray(still))
    return float((wins > 0).mean() + 0.5 * (wins == 0).mean())


def summary(found: list[Found]) -> list[dict[str, Any]]:
    """One row per data set and shift."""
    rows = []
    for name, shift_mm in dict.fromkeys((item.data, item.shift_mm) for item in found):
        own = [item for item in found if (item.data, item.shift_mm) == (name, shift_mm)]
        still = [item.found.distance_mm for item in found if (item.data, item.shift_mm) == (name, 0.0)]
        errors = [item.error_mm for item in own]
        rows.append(
            {
                "data": name,
                "shift_mm": shift_mm,
                "pairs": len(own),
                "median_error_mm": round(float(np.median(errors)), 3),
                "p90_error_mm": round(float(np.percentile(errors, 90)), 3),
                "resolution_mm": round(float(np.median([item.found.resolution_mm for item in own])), 3),
                "auc": round(auc(still, [item.found.distance_mm for item in own]), 4) if shift_mm and still else None,
                "reliable": round(float(np.mean([item.found.reliable for item in own])), 3),
                "least_prominence": round(min(item.found.prominence for item in own), 3),
                "cpu_s_a_pair": round(float(np.median([item.cpu_s for item in own])), 3),
            }
        )
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """The rows as a table."""
    table = Table(title="Displacement that was put in, and found", title_justify="left")
    for column in rows[0]:
        words = column.replace("_", " ")
        table.add_column(words, justify="left" if column == "data" else "right", no_wrap=column == "data")
    for row in rows:
        table.add_row(*("-" if value is None else str(value) for value in row.values()))
    Console().print(table)


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", default=[], metavar="DIR", help="aligned, on one grid")
    parser.add_argument("--cases", type=int, default=6, help="of each phantom and data set (%(default)s)")
    parser.add_argument("--shifts", type=float, nargs="+", default=list(SHIFTS_MM), metavar="MM")
    parser.add_argument("--seeds", type=int, default=3, help="directions of each shift (%(default)s)")
    options = parser.parse_args()
    found = [*phantoms(options, flat=False), *phantoms(options, flat=True)]
    for folder in options.data:
        found += real_cases(options, folder)
    rows = summary(found)
    show(rows)
    path = keep("alignment", {"threads": 1, "cores": cpu_threads(), "rows": rows})
    Console().print(f"Figures: {path}")


if __name__ == "__main__":
    main()
