"""Planners, trainers and submission targets found by entry point: ours are found exactly as anybody's are."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from autofuse.foundation.errors import UsageError

PLANNERS = "autofuse.planners"
TRAINERS = "autofuse.trainers"
SUBMISSIONS = "autofuse.submissions"


def registered(group: str) -> dict[str, EntryPoint]:
    """Entry points of ``group`` by name, sorted; nothing is imported."""
    return dict(sorted((point.name, point) for point in entry_points(group=group)))


def load_registered(group: str, name: str) -> Any:
    """The object registered as ``name`` in ``group``.

    Raises:
        UsageError: if no installed package registers that name, or it fails to import.
    """
    points = registered(group)
    if name not in points:
        raise UsageError(
            f"No {group.rsplit('.', 1)[-1].removesuffix('s')} is called {name!r}.",
            found=name,
            expected="one of " + ", ".join(points) if points else "an installed package that registers one",
            remedy=f"Install the package that registers it in the entry-point group {group!r}.",
        )
    try:
        return points[name].load()
    except Exception as error:
        raise UsageError(
            f"{points[name].value} is registered as {name!r} but cannot be imported.",
            found=f"{type(error).__name__}: {error}",
            remedy="Repair or uninstall the package that registers it.",
        ) from error
