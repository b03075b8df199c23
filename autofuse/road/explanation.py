"""Why the plan is as it is: told in words, and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from autofuse.foundation.console import log, progress
from autofuse.foundation.errors import AutofuseError, ModelError
from autofuse.foundation.files import write_bytes
from autofuse.foundation.values import StoredValue
from autofuse.road.spreading import evenly

if TYPE_CHECKING:
    from autofuse.fingerprint.types import CaseFacts, Fingerprint
    from autofuse.plan.types import Plan
    from autofuse.road.groundwork import Ground
    from autofuse.road.steps import Device, Folder

FOLDER = "explain"
"""In the workspace's report folder."""
MOST_CASES = 3
"""Cases whose images are laid over each other."""
DRAWN_FILE = "drawn.json"


class Drawn(StoredValue):
    """What was drawn for which plan; files are names in the same folder."""

    kind: ClassVar[str] = "drawn_explanation"

    plan_digest: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Explained:
    """A plan, what it was decided from, and the pictures that show it."""

    plan: Plan
    fingerprint: Fingerprint
    pictures: tuple[Path, ...]


def explain(
    dataset: Folder,
    *,
    workspace: Folder | None = None,
    pictures: bool = True,
    device: Device = "auto",
    workers: int | None = None,
) -> Explained:
    """The plan (made first where there is none) with its fingerprint, and pictures in the workspace.

    Args:
        pictures: draw what is not drawn yet for this plan; without, only those that are there are named.
    """
    from autofuse.road.dials import Asked
    from autofuse.road.steps import explicit, ground_of

    ground = ground_of(dataset, workspace, Asked(device=explicit(device)), workers)
    place = ground.workspace.report / FOLDER
    made = kept_pictures(place, ground.plan)
    if made is None and pictures:
        made = _draw(ground, place)
    return Explained(ground.plan, ground.fingerprint, made or ())


def pictured_cases(fingerprint: Fingerprint) -> tuple[str, ...]:
    """Up to three cases with two images or more: the most displaced, the middle one, the least displaced."""
    able = [case for case in fingerprint.cases if sum(case.present) > 1]
    ordered = sorted(able, key=lambda case: (-_displaced_mm(case), case.id))
    return tuple(case.id for case in evenly(ordered, MOST_CASES))


def _displaced_mm(case: CaseFacts) -> float:
    return max((pair.distance_mm for pair in case.pairs if pair.reliable), default=0.0)


def kept_pictures(place: Path, plan: Plan) -> tuple[Path, ...] | None:
    """The pictures of this plan, if all are there."""
    try:
        drawn = Drawn.load(place / DRAWN_FILE) if (place / DRAWN_FILE).exists() else None
    except ModelError:
        return None
    if drawn is None or drawn.plan_digest != plan.digest():
        return None
    files = tuple(place / name for name in drawn.files)
    return files if all(path.exists() for path in files) else None


def _draw(ground: Ground, place: Path) -> tuple[Path, ...]:
    """Draw everything; a picture that fails is only logged."""
    from autofuse.report.matrices import annotation_picture, presence_picture

    cases = pictured_cases(ground.fingerprint)
    made = []
    with progress("Drawing pictures", len(cases) + 2) as advance:
        for name, draw in (("presence.png", presence_picture), ("annotation.png", annotation_picture)):
            write_bytes(place / name, draw(ground.fingerprint))
            made.append(place / name)
            advance(1)
        for case in cases:
            path = place / f"overlay_{case}.png"
            try:
                write_bytes(path, _overlay(ground, case))
                made.append(path)
            except (AutofuseError, OSError, ValueError) as error:
                log().warning("%s was not drawn: %s", path, error)
            advance(1)
    _forget_others(place, made)
    Drawn(plan_digest=ground.plan.digest(), files=tuple(path.name for path in made)).save(place / DRAWN_FILE)
    return tuple(made)


def _forget_others(place: Path, made: Sequence[Path]) -> None:
    """Remove pictures of an older plan."""
    for old in place.glob("overlay_*.png"):
        if old not in made:
            old.unlink(missing_ok=True)


def _overlay(ground: Ground, case_id: str) -> bytes:
    """PNG of one case: every other image laid over the reference."""
    from autofuse.dataset.raw import load_case
    from autofuse.report.blend import blend_sheet
    from autofuse.road.pairs import gather, picture_of

    plan, names = ground.plan, ground.plan.modalities
    raw = load_case(ground.dataset, ground.dataset.case(case_id), reference=plan.reference)
    there = [channel for channel, image in enumerate(raw.images) if image is not None]
    fixed_channel = raw.reference if raw.reference in there else there[0]
    fixed = raw.images[fixed_channel]
    assert fixed is not None
    pairs = []
    for channel, moving in enumerate(raw.images):
        if moving is not None and channel != fixed_channel:
            gathered = gather(fixed, moving, plan.registration)
            pairs.append(picture_of(names[fixed_channel], fixed, names[channel], moving, gathered))
    return blend_sheet(f"{plan.dataset}: {case_id}", pairs, raw.shown_label)
