"""The demo: a phantom data set, drawn here, and the whole road on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autofuse.foundation.console import say
from autofuse.foundation.errors import UsageError
from autofuse.road.places import DEMO_DATASET, demo_workspace
from autofuse.road.steps import Device, Folder
from autofuse.road.whole import run

if TYPE_CHECKING:
    from autofuse.phantom.options import PhantomOptions
    from autofuse.road.results import RunReport

DEMO_MINUTES = 3.0
SCRIBBLED_SHARE = 0.05
"""Of each structure's voxels, where the demo draws scribbles."""


@dataclass(frozen=True)
class DemoSize:
    """How large the demo's phantom is: small enough that a model is trained on two cores in minutes."""

    shape: tuple[int, int, int] = (40, 40, 40)
    test_cases: int = 4


def demo(
    folder: Folder = "autofuse_demo",
    *,
    minutes: float | None = None,
    steps: int | None = None,
    cases: int = 16,
    shift_mm: float = 0.0,
    scribbles: bool = False,
    unlabelled: int = 0,
    missing: float = 0.0,
    device: Device = "auto",
    workers: int | None = None,
    size: DemoSize | None = None,
) -> RunReport:
    """The report of the road on a phantom data set that is drawn into ``folder``, with pictures of the result.

    Args:
        minutes: for all of it (three if no ``steps`` are given).
        cases: training cases; shift_mm, scribbles, unlabelled, missing: what is hard about them.

    Raises:
        UsageError: if the folder holds a demo of another kind, or something else.
    """
    from autofuse.phantom.write import write_phantom

    if steps is not None and minutes is not None:
        raise UsageError("A length in steps and one in minutes were given.", remedy="Give --steps or --minutes.")
    place = demo_workspace(Path(folder))
    raw = place.root.parent / "data" / DEMO_DATASET
    options = _options(size or DemoSize(), cases, shift_mm, scribbles, unlabelled, missing)
    say(f"Drawing {cases} training cases and {options.test_cases} test cases into {raw}.")
    write_phantom(raw, options)
    return run(
        raw,
        workspace=place.root,
        minutes=None if steps is not None else minutes or DEMO_MINUTES,
        steps=steps,
        device=device,
        workers=workers,
    )


def _options(
    size: DemoSize, cases: int, shift_mm: float, scribbles: bool, unlabelled: int, missing: float
) -> PhantomOptions:
    from autofuse.phantom.options import PhantomOptions

    return PhantomOptions(
        cases=cases,
        test_cases=size.test_cases,
        shape=size.shape,
        shift_mm=shift_mm,
        scribbles=SCRIBBLED_SHARE if scribbles else 0.0,
        unlabelled=unlabelled,
        missing=missing,
    )
