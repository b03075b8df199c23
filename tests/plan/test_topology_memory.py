"""What training needs with each topology is predicted as well as with one U-Net."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from autofuse.networks import TOPOLOGIES
from autofuse.plan.cost import Cost
from autofuse.plan.memory import training_memory_gib

STEP_IN_A_PROCESS_OF_ITS_OWN = Path(__file__).parent / "one_training_step.py"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(TOPOLOGIES) - {"early"}))
def test_the_memory_of_a_training_step_is_predicted(name: str) -> None:
    """``early`` is measured in test_budget.py."""
    command = [sys.executable, str(STEP_IN_A_PROCESS_OF_ITS_OWN), name, "2", "2"]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)
    flops, activations, parameters, logits, _, peak_gib = (float(word) for word in finished.stdout.split())
    predicted_gib = training_memory_gib(Cost(flops, activations, parameters), 2, "fp32", logits=logits)
    assert 0.9 * peak_gib <= predicted_gib <= 1.6 * peak_gib
