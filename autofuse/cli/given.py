"""What several verbs were given, as the road takes it."""

from __future__ import annotations

from argparse import Namespace
from typing import Any


def case_work(options: Namespace) -> dict[str, Any]:
    """Workspace and workers."""
    return {"workspace": options.workspace, "workers": options.workers}


def method(options: Namespace) -> dict[str, Any]:
    """What is to be trained."""
    from autofuse.training.run import parse_settings

    return {
        "configuration": options.configuration,
        "trainer": options.trainer,
        "settings": parse_settings(options.settings),
        "steps": options.steps,
        "minutes": options.minutes,
        "seed": options.seed,
        "precision": options.precision,
        "gpus": options.gpus,
        "device": options.device,
    }


def memory(options: Namespace) -> dict[str, Any]:
    """The memory dial, by the name that was used."""
    return {"memory_gib": options.memory, "vram_gib": options.vram}


def wishes(options: Namespace) -> dict[str, Any]:
    """What is wished of a plan."""
    return {"expect_missing": options.expect_missing, "want_fused": options.want_fused, "topology": options.topology}


def pilot(options: Namespace) -> dict[str, Any]:
    """Whether challengers are tried, and for how long."""
    return {"pilot": options.pilot, "pilot_minutes": options.pilot_minutes}
