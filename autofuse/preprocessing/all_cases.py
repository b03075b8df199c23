"""All training cases of a data set prepared into a store: resumable case by case, finished work is never repeated."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from autofuse.dataset.types import Case, Dataset
from autofuse.fingerprint.sources import source_stamp
from autofuse.foundation.console import log, say
from autofuse.foundation.errors import AutofuseError, DataError, ResourceError
from autofuse.foundation.files import sweep_temps
from autofuse.foundation.locks import lock
from autofuse.foundation.machine import cpu_threads, free_disk_gib
from autofuse.foundation.sharing_out import SHARES, share_of
from autofuse.foundation.workers import Outcome, run_units
from autofuse.foundation.workspace import Workspace
from autofuse.plan.types import Configuration, Plan
from autofuse.preprocessing.store import RECORD, CaseRecord, Store

GIB = 1 << 30
STORED_BYTES_PER_VOXEL = 2.0
"""Of one modality: float16 that hardly compresses is the worst case of a normalised image."""
LABEL_BYTES_PER_VOXEL = 0.2
MEMORY_BYTES_PER_VOXEL = 4.0
"""Of one float32 volume; a case at work holds its images, raw and prepared, and a few volumes of scratch."""
SCRATCH_VOLUMES = 6
_LISTED_PROBLEMS = 20


def prepare_dataset(
    dataset: Dataset,
    plan: Plan,
    configuration: Configuration,
    workspace: Workspace,
    *,
    workers: int | None = None,
    device: str = "cpu",
    wait_s: float = 0.0,
    share: tuple[int, int] | None = None,
) -> Store:
    """The store of ``configuration`` with every training case prepared; test cases are prepared when predicted.

    Cases that are there, undamaged, made by the same plan from the same files, are kept as they are.

    Args:
        share: prepare only the n-th (from 1) of so many shares of the cases; shares are prepared side by side.
        workers: processes; None decides by itself, 0 works in this one (as a GPU always does).
        wait_s: how long to wait for another process that prepares the same cases.

    Raises:
        ResourceError: before any work, if the disk is too small for what is missing or another process works here.
        DataError: at the end, naming all cases that could not be prepared; the others are kept.
    """
    digest = plan.preparation_digest(configuration)
    folder = workspace.prepared(configuration.name, digest)
    store = Store(folder)
    cases = dataset.cases if share is None else share_of(dataset.cases, *share)
    held = folder if share is None else folder / SHARES / f"{share[0]}-of-{share[1]}"
    with lock(held, wait_s):
        if share is None:
            sweep_temps(folder)  # a temporary file may be of another share, at work on another machine
        missing = _missing_cases(store, dataset, cases, digest)
        if missing:
            _refuse_small_disk(folder, configuration, len(plan.modalities), len(missing))
            work = partial(
                prepare_one, dataset=dataset, plan=plan, configuration=configuration, folder=folder, device=device
            )
            outcomes = run_units(
                work,
                [(case.id, case) for case in missing],
                label="preprocess",
                workers=workers if device == "cpu" else 0,
                uses_torch=True,
                memory_gib_each=_memory_gib(configuration, len(plan.modalities)),
            )
            _raise_problems(outcomes, len(cases))
    return store


def prepare_one(
    case: Case, *, dataset: Dataset, plan: Plan, configuration: Configuration, folder: Path, device: str
) -> None:
    """Read, prepare and store one case.

    Raises:
        DataError: if a file of the case cannot be used.
        ResourceError: if the disk is full.
    """
    from autofuse.dataset.raw import load_case
    from autofuse.preprocessing.prepare import prepare_case

    stamp = source_stamp(dataset, case)
    raw = load_case(dataset, case, reference=plan.reference)
    prepared = prepare_case(raw, plan, configuration, device)
    Store(folder).write(
        prepared,
        preparation=plan.preparation_digest(configuration),
        source_stamp=stamp,
        dimensions=configuration.dimensions,
    )


def _missing_cases(store: Store, dataset: Dataset, cases: Sequence[Case], digest: str) -> list[Case]:
    """Those of ``cases`` to prepare; says why where something unfit is there. Checksums are verified in parallel."""
    stale = {case.id: _staleness(store, dataset, case, digest) for case in cases}
    fresh = [case_id for case_id, finding in stale.items() if finding is None]
    damaged = store.damaged(fresh, threads=cpu_threads())
    for case_id, finding in (stale | damaged).items():
        if finding:
            say(f"{case_id}: prepared again, because {finding}")
    return [case for case in cases if stale[case.id] is not None or case.id in damaged]


def _staleness(store: Store, dataset: Dataset, case: Case, digest: str) -> str | None:
    """Why the stored case does not fit its raw files and the plan; empty if it was never stored, None if it fits."""
    path = store.case_folder(case.id) / RECORD
    if not path.exists():
        return ""
    try:
        record = CaseRecord.load(path)
        fits = record.preparation == digest and record.source_stamp == source_stamp(dataset, case)
    except AutofuseError as error:
        return error.problem
    return None if fits else "its raw files changed"


def estimated_disk_gib(configuration: Configuration, modalities: int, cases: int) -> float:
    """Upper estimate of what ``cases`` prepared cases of the median size take."""
    size = configuration.median_shape
    voxels = size[0] * size[1] * size[2]
    return cases * voxels * (STORED_BYTES_PER_VOXEL * modalities + LABEL_BYTES_PER_VOXEL) / GIB


def _memory_gib(configuration: Configuration, modalities: int) -> float:
    size = configuration.median_shape
    volume = size[0] * size[1] * size[2] * MEMORY_BYTES_PER_VOXEL
    return 0.4 + volume * (2 * modalities + SCRATCH_VOLUMES) / GIB


def _refuse_small_disk(folder: Path, configuration: Configuration, modalities: int, cases: int) -> None:
    needed, free = estimated_disk_gib(configuration, modalities, cases), free_disk_gib(folder)
    if needed > free:
        raise ResourceError(
            f"The disk is too small for {cases} prepared cases.",
            file=folder,
            found=f"{free:.2f} GiB free",
            expected=f"about {needed:.2f} GiB",
            remedy="Free some space, or name a folder on a larger disk with --workspace; finished cases are kept.",
        )


def _raise_problems(outcomes: list[Outcome[None]], cases: int) -> None:
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if not failed:
        return
    if len(failed) == 1 and isinstance(failed[0].error, DataError | ResourceError):
        raise failed[0].error
    for outcome in failed:
        log().error("%s: %s", outcome.name, outcome.error)
    causes = [f"{item.name}: {item.error.problem}" for item in failed if item.error is not None]
    kind = ResourceError if all(isinstance(item.error, ResourceError) for item in failed) else DataError
    shown = causes[:_LISTED_PROBLEMS] + (["..."] if len(causes) > _LISTED_PROBLEMS else [])
    raise kind(
        f"{len(failed)} of {cases} cases could not be prepared; the others are kept.",
        case=", ".join(item.name for item in failed),
        found="\n    ".join(shown),
        remedy="Repair or take out these cases, then run the same command again; `autofuse check` lists all problems.",
    )
