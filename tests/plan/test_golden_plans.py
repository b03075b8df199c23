"""The plans of four real data sets under one budget, as a summary that a person can check.

A change here is a change of what users get. After a deliberate one, write the file anew:
``python tests/plan/test_golden_plans.py``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from plan_examples import in_minutes

from autofuse.dataset.opening import open_dataset
from autofuse.fingerprint.measure import measure
from autofuse.foundation.workspace import Workspace
from autofuse_planners.default import DefaultPlanner

GOLDEN = Path(__file__).parent / "golden_plans.json"
NAMES = ("Dataset101_BraTS13", "Dataset102_MSLesions", "Dataset103_ACDCScribble", "Dataset104_Hippocampus")
MINUTES = 20.0


def summary(dataset_folder: Path, workspace: Path) -> dict[str, Any]:
    """What matters of the plan for a data set on two cores with 8 GiB and 20 minutes."""
    dataset = open_dataset(dataset_folder)
    fingerprint = measure(dataset, Workspace(workspace, dataset.name), workers=0)
    plan = DefaultPlanner().plan(fingerprint, dataset.labels, in_minutes(MINUTES))
    return {
        "configuration": plan.configuration,
        "trainer": plan.trainer.name,
        "trainer_fields": plan.trainer.fields,
        "steps": plan.steps,
        "transpose": list(plan.transpose),
        "mirror_axes": list(plan.mirror_axes),
        "normalisation": [item.scheme for item in plan.normalisation],
        "configurations": {
            item.name: {
                "spacing_mm": list(item.spacing_mm),
                "median_shape": list(item.median_shape),
                "patch": list(item.patch),
                "batch": item.batch,
                "features": list(item.network.features),
                "memory_gib": item.memory_gib,
                "seconds_per_step": item.seconds_per_step,
            }
            for item in plan.configurations
        },
    }


@pytest.mark.parametrize("name", NAMES)
def test_plan_is_the_one_on_record(name: str, shared_data: Path, tmp_path: Path) -> None:
    assert summary(shared_data / name, tmp_path) == json.loads(GOLDEN.read_text())[name]


if __name__ == "__main__":
    import tempfile

    data = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    with tempfile.TemporaryDirectory() as folder:
        found = {name: summary(data / name, Path(folder)) for name in NAMES}
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    sys.stdout.write(f"{GOLDEN} written\n")
