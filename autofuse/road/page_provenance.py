"""Where a report comes from: versions, the files of the workspace, and commands that make the same again."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from autofuse.foundation.errors import AutofuseError, ModelError
from autofuse.road.dials import DEFAULT_PLANNER, load_dials
from autofuse.road.inventory import installed_packages
from autofuse.road.runs import FINISHED_FILE, RUN_FILE, TrainedFold, read_plan

if TYPE_CHECKING:
    from autofuse.report.provenance_section import Artefact
    from autofuse.road.page_sources import Sources

MOST_FILES = 150
MOST_COMMANDS = 40
DIGEST_DIGITS = 12
_LARGEST_READ = 64 << 20
_UPPER = "*.json"


def versions() -> tuple[tuple[str, str], ...]:
    """(name, version) of autofuse, Python, the system, and the packages that results depend on."""
    from autofuse import __version__

    return (
        ("autofuse", __version__),
        ("Python", platform.python_version()),
        ("system", f"{platform.system()} {platform.machine()}"),
        *installed_packages().items(),
    )


def artefacts(sources: Sources) -> tuple[list[Artefact], int]:
    """The values of the workspace with their digests and dates, and how many more there are."""
    folder = sources.place.folder
    paths = sorted(folder.glob(_UPPER))
    by = {}
    for fold in (fold for folds in sources.runs.values() for fold in folds):
        paths += [fold.folder / RUN_FILE, fold.folder / FINISHED_FILE]
        by[fold.folder / RUN_FILE] = f"autofuse {fold.plan.autofuse_version}, torch {fold.plan.torch_version}"
    paths += sorted(sources.place.scores.rglob("scores.json"))
    there = [path for path in paths if path.is_file()]
    made = [_artefact(path, folder, by, sources) for path in there[:MOST_FILES]]
    return made, len(there) - len(made)


def commands(sources: Sources) -> list[str]:
    """What makes the same again, from what is written down: measuring, planning, and every fold's training."""
    name = shlex.quote(sources.place.dataset)
    told = [f"autofuse fingerprint {name}"]
    if sources.plan is not None:
        told.append(_planning(sources, name))
    folds = [fold for run in sources.runs.values() for fold in run]
    told += [_training(fold, name) for fold in folds[:MOST_COMMANDS]]
    if len(folds) > MOST_COMMANDS:
        told.append(f"and {len(folds) - MOST_COMMANDS} more folds, as their run.json says")
    return told


def _artefact(path: Path, folder: Path, by: Mapping[Path, str], sources: Sources) -> Artefact:
    from autofuse.report.provenance_section import Artefact

    written = datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%d %H:%M:%S")
    where = sources.aliases.text(path.relative_to(folder).as_posix())
    return Artefact(where, written, _digest(path), by.get(path, ""))


def _digest(path: Path) -> str:
    """The first digits of the hash that stands in a value's file; that it fits is seen by those who load the value."""
    try:
        if path.stat().st_size > _LARGEST_READ:
            return ""
        envelope = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return "damaged"
    digest = envelope.get("sha256") if isinstance(envelope, dict) else None
    return digest[:DIGEST_DIGITS] if isinstance(digest, str) else ""


def _planning(sources: Sources, name: str) -> str:
    dials = load_dials(sources.place.folder)
    parts = [f"autofuse plan {name}"]
    if dials is not None:
        if dials.memory_gib is not None:
            parts.append(f"--{'vram' if dials.device == 'cuda' else 'memory'} {dials.memory_gib:g}GiB")
        minutes = sources.plan.budget.minutes if sources.plan is not None else None
        if minutes is not None:
            parts.append(f"--minutes {minutes:g}")
        parts += ["--expect-missing"] if dials.expect_missing else []
        parts += ["--want-fused"] if dials.want_fused else []
        parts += [f"--topology {shlex.quote(dials.topology)}"] if dials.topology else []
        parts += [f"--planner {shlex.quote(dials.planner)}"] if dials.planner != DEFAULT_PLANNER else []
        parts.append(f"--device {dials.device}")
    return " ".join(parts)


def _training(fold: TrainedFold, name: str) -> str:
    run = fold.plan
    length = f"--steps {run.steps}" if run.minutes is None else f"--minutes {run.minutes:g}"
    parts = [
        f"autofuse train {name} --fold {run.fold} -c {shlex.quote(run.configuration)} -t {shlex.quote(run.trainer)}",
        f"{length} --seed {run.seed} --precision {run.precision} --device {run.device}",
    ]
    parts += [f"--gpus {run.ranks}"] if run.ranks > 1 else []
    parts += [f"--set {shlex.quote(f'{key}={json.dumps(value)}')}" for key, value in _changed(fold).items()]
    return " ".join(parts)


def _changed(fold: TrainedFold) -> dict[str, object]:
    """Hyper-parameters that are neither the plan's nor the trainer's own; all of them where that cannot be told."""
    from autofuse.road.fold import planned_fields
    from autofuse.training.run import make_trainer, trainer_fields

    try:
        usual = trainer_fields(make_trainer(fold.plan.trainer, planned_fields(read_plan(fold), fold.plan.trainer)))
    except (AutofuseError, ModelError):
        usual = {}
    return {key: value for key, value in fold.plan.fields.items() if key not in usual or usual[key] != value}
