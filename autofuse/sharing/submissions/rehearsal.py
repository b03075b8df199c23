"""A container's entry point, rehearsed on a case: what it was given, how it went, what is wrong with what it wrote."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from autofuse.foundation.machine import GIB
from autofuse.foundation.values import StoredValue, Value
from autofuse.images import Geometry, read_header
from autofuse.sharing.submissions.interface import ContainerInterface
from autofuse.sharing.submissions.mask_check import mask_faults
from autofuse.sharing.submissions.measure import Measured, watch
from autofuse.sharing.submissions.rehearsal_guard import WRITES
from autofuse.sharing.submissions.sandbox import Sandbox, Stage

LIMIT_MINUTES = 60.0
"""Grand Challenge stops a job after an hour, unless a challenge says otherwise."""
LIMIT_MEMORY_GIB = 15e9 / GIB
"""15 GB is what Grand Challenge's form suggests for an algorithm; up to 32 GB can be asked for there."""
ENTRY_POINT = "entry_point.py"
_WORDS_TOLD = 600


class Start(Value):
    """One start of a container.

    Attributes:
        case: that it was given; without: modalities that were left out of it.
        exit_code: negative for a signal.
        faults: why it would fail; empty if it would not.
    """

    case: str
    without: tuple[str, ...] = ()
    exit_code: int
    seconds: float = Field(ge=0)
    peak_memory_gib: float = Field(ge=0)
    faults: tuple[str, ...] = ()


class Rehearsal(StoredValue):
    """How a container went here.

    Attributes:
        facts: what of a container's surroundings there was, and what not.
        starts: one for each case, and for each modality that a case may lack.
    """

    kind: ClassVar[str] = "rehearsal"

    limit_minutes: float
    limit_memory_gib: float
    facts: tuple[str, ...]
    starts: tuple[Start, ...] = Field(min_length=1)

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong."""
        return not any(start.faults for start in self.starts)


def rehearse_start(
    sandbox: Sandbox,
    stage: Stage,
    interface: ContainerInterface,
    case: str,
    without: Sequence[str],
    *,
    limit_minutes: float,
    limit_memory_gib: float,
) -> Start:
    """Start the entry point on the case that lies in ``stage`` and judge it."""
    notes, printed = stage.inside / "notes", stage.inside / "printed"
    with notes.open("wb") as noted, printed.open("wb") as log:
        process = sandbox.start(stage, (ENTRY_POINT,), noted.fileno(), log.fileno())
        went = watch(process, limit_minutes * 60, limit_memory_gib * GIB)
    faults = [*_limit_faults(went, limit_minutes, limit_memory_gib), *_breaches(notes)]
    if went.exit_code != 0 and went.stopped is None:
        faults.append(f"ended with exit code {went.exit_code}: {_last_words(printed) or 'nothing was printed'}")
    if not faults:
        faults = output_faults(interface, stage.inside)
    return Start(
        case=case,
        without=tuple(without),
        exit_code=went.exit_code,
        seconds=round(went.seconds, 2),
        peak_memory_gib=round(went.peak_bytes / GIB, 3),
        faults=tuple(faults),
    )


def output_faults(interface: ContainerInterface, inside: Path) -> list[str]:
    """What is wrong with what lies in ``output`` below ``inside``, for the case in ``input`` there."""
    output = inside / "output"
    written = {path for path in output.rglob("*") if not path.is_dir()}
    result = inside / interface.result.lstrip("/")
    masks = sorted(path for path in written if path.parent == result)
    faults = []
    expected = set(masks)
    if interface.volumes is not None:
        volumes = inside / interface.volumes.lstrip("/")
        expected.add(volumes)
        faults += _volumes_faults(volumes, interface.volumes)
    strange = sorted(f"/{path.relative_to(inside).as_posix()}" for path in written - expected)
    if strange:
        faults.append(f"wrote files that nobody asked for: {', '.join(strange[:5])}")
    if len(masks) != 1 or masks[0].suffix != ".mha":
        found = ", ".join(path.name for path in masks[:5]) or "nothing"
        faults.append(f"{found} in {interface.result}; expected one .mha file")
        return faults
    if masks[0].is_symlink():
        return [*faults, f"{masks[0].name} in {interface.result} is a link; expected a file"]
    return faults + [
        f"{masks[0].name}: {fault}"
        for fault in mask_faults(masks[0], _grids(interface, inside), interface.values, ("uint8", "int16"))
    ]


def _grids(interface: ContainerInterface, inside: Path) -> list[Geometry]:
    """Grids that the mask may lie on: of the reference where it is there, else of all images."""
    found: dict[int, Geometry] = {}
    for number, item in enumerate(interface.inputs):
        for path in (inside / item.path.lstrip("/")).glob("*"):
            found[number] = read_header(path).geometry
    if interface.reference in found:
        return [found[interface.reference]]
    return list(found.values())


def _limit_faults(went: Measured, limit_minutes: float, limit_memory_gib: float) -> list[str]:
    if went.stopped == "time":
        return [f"too slow: stopped after {went.seconds / 60:.2g} minutes; the limit is {limit_minutes:g}"]
    if went.stopped == "memory":
        return [f"too much memory: stopped at {went.peak_bytes / GIB:.2f} GiB; the limit is {limit_memory_gib:.2f} GiB"]
    return []


def _breaches(notes: Path) -> list[str]:
    """What the guard noted, each thing once."""
    found = dict.fromkeys(tuple(json.loads(line)) for line in notes.read_text("utf-8").splitlines())
    writes = [what for kind, what in found if kind == WRITES]
    talks = [what for kind, what in found if kind != WRITES]
    faults = [f"writes outside /output: {', '.join(writes[:5])}"] if writes else []
    return faults + ([f"wants the network: {', '.join(talks[:5])}"] if talks else [])


def _last_words(printed: Path) -> str:
    """The message that the program ended with, as far as one of ours can be told; else the end of what it printed."""
    text = " ".join(printed.read_text("utf-8", "replace").split())
    _, ours, message = text.rpartition("autofuse: ")
    return (ours + message)[:_WORDS_TOLD] if ours else text[-_WORDS_TOLD:]


def _volumes_faults(path: Path, name: str) -> list[str]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return [f"{name} is missing"]
    except (OSError, ValueError) as error:
        return [f"{name} is no JSON: {error}"]
    return [] if isinstance(content, dict) else [f"{name} holds no volumes by name"]


def readable_for_all(folder: Path) -> None:
    """Take away all rights to write below ``folder``, and let everybody read it."""
    for path in [folder, *folder.rglob("*")]:
        os.chmod(path, 0o555 if path.is_dir() else 0o444)  # noqa: PTH101
