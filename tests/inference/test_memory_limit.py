"""Memory that is really taken, measured in a process of its own."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("large_case.py")
GIB = 1 << 30


def run(
    folder: Path, shape: tuple[int, int, int], classes: int, *numbers: float, feature_maps: int = 0
) -> dict[str, float]:
    """What large_case.py measured; ``numbers`` are the patch, the spacing and the step."""
    words = [str(word) for word in (folder, *shape, classes, *numbers)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FEATURE_MAPS": str(feature_maps)}
    subprocess.run([sys.executable, str(SCRIPT), *words, "images"], check=True, env=environment)
    done = subprocess.run([sys.executable, str(SCRIPT), *words], check=True, env=environment, capture_output=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def test_the_logits_of_all_classes_are_never_in_memory(tmp_path: Path) -> None:
    shape, classes = (256, 128, 128), 39
    measured = run(tmp_path, shape, classes, 32, 1.0, 1.0)
    all_logits_gib = 4 * (classes + 1) * math.prod(shape) / GIB
    taken = measured["peak"] - measured["before"]
    assert measured["agreement"] == 1.0
    assert measured["peak"] <= measured["stated"] < 3 * measured["peak"], (
        "what was stated before holds, and says something"
    )
    # What is taken holds the case itself, its mask, a slab and scratch.
    assert taken < 0.75 * all_logits_gib, f"{taken:.2f} GiB taken, the logits alone are {all_logits_gib:.2f} GiB"


@pytest.mark.benchmark
@pytest.mark.parametrize(("spacing", "step", "feature_maps"), [(1.0, 1.0, 164), (1.25, 0.5, 0)])
def test_a_large_case_stays_below_4_gib(tmp_path: Path, spacing: float, step: float, feature_maps: int) -> None:
    """512 x 512 x 400, 20 classes, tiles of 128³; once with as much beside as a planned U-Net takes for a tile.

    A plain U-Net of 32 features takes 1.80 GiB for a tile of 128³ with its logits (measured); 164 feature maps of 8 MiB
    and the three copies of the logits that the voxelwise network makes are as much.
    """
    measured = run(tmp_path, (400, 512, 512), 19, 128, spacing, step, feature_maps=feature_maps)
    assert measured["peak"] < 4.0
    assert feature_maps or measured["peak"] <= measured["stated"], "a plan knows nothing of feature maps held beside"
    assert measured["agreement"] > 0.98
