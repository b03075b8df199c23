"""From all trained runs of a workspace to ``ensemble.json``: held-out cases predicted once, then the choice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from autofuse.dataset.one_mask import require_one_mask
from autofuse.dataset.types import IGNORE, Case, Dataset
from autofuse.evaluation.ensemble import Ensemble, EnsembleMember, LeftOut, MemberFold
from autofuse.foundation.console import progress, say
from autofuse.foundation.errors import DataError, ModelError, ResourceError
from autofuse.foundation.files import crc32_of_file
from autofuse.foundation.values import short_hash
from autofuse.foundation.workspace import Workspace
from autofuse.road.competing import Candidate, Competition, find_competition
from autofuse.road.groundwork import waiting_lock
from autofuse.road.judging import judge_held_out, taught_label
from autofuse.road.prediction import coded_ready, predict_held_out
from autofuse.road.runs import TrainedFold, earlier_stage

if TYPE_CHECKING:
    from autofuse.evaluation.held_out import Bench, HeldOutCase
    from autofuse.evaluation.selection import Annotation, Selection

RULES = 1
"""Number of the way in which is chosen; another one chooses anew."""
SHARE_OF_MEMORY = 0.5
"""Of the free memory, that held-out voxels may take."""
LOCK = "selection"


def select_ensemble(
    dataset: Dataset,
    workspace: Workspace,
    *,
    runs: Sequence[str] | None = None,
    members: int | None = None,
    mirror: bool = True,
    device: Literal["cpu", "cuda"] | None = None,
    workers: int | None = None,
    only_ready: str | None = None,
) -> Ensemble:
    """What was chosen from the runs of ``workspace``; kept while nothing has changed, and written to ensemble.json.

    Args:
        runs: that may compete; None for all.
        members: turns of the greedy choice.
        mirror: whether held-out cases are predicted with mirroring.
        only_ready: of other runs than this one, only those compete whose held-out cases are predicted already.

    Raises:
        UsageError: if a run is named that is not there.
        ModelError: if there is no run to choose from, or one is damaged.
        DataError: if a held-out case or its label cannot be used, or modalities carry masks of their own.
        ResourceError: if held-out voxels do not fit into memory.
    """
    from autofuse.evaluation.choosing import MOST_MEMBERS

    require_one_mask(dataset, "An ensemble")
    most = members or MOST_MEMBERS
    find_competition(dataset, workspace, runs)  # what cannot be is refused before anything is written
    with waiting_lock(workspace.folder / LOCK):
        competition = find_competition(dataset, workspace, runs)
        if only_ready is not None:
            competition = _ready(dataset, competition, only_ready, mirror, device)
        digest = _sources(dataset, competition, mirror, most)
        kept = _kept(workspace, digest)
        if kept is not None:
            return kept
        _predict(dataset, competition, mirror, device, workers)
        ensemble = _chosen(dataset, competition, mirror, most, digest)
        ensemble.save(workspace.ensemble)
        return ensemble


def _ready(dataset: Dataset, competition: Competition, own: str, mirror: bool, device: str | None) -> Competition:
    """``competition`` without runs that would have to be predicted first; as it is where ``own`` does not compete."""

    def is_ready(item: Candidate) -> bool:
        return item.run == own or all(coded_ready(dataset, fold, mirror=mirror, device=device) for fold in item.folds)

    waiting = [item for item in competition.candidates if not is_ready(item)]
    why = "its held-out cases are not predicted yet, and there is no time: `autofuse select` does it"
    return Competition(
        tuple(item for item in competition.candidates if item not in waiting) or competition.candidates,
        (*competition.left_out, *(LeftOut(run=item.run, why=why) for item in waiting)),
    )


def _sources(dataset: Dataset, competition: Competition, mirror: bool, most: int) -> str:
    """Hash of everything that the choice follows from."""
    cases = competition.candidates[0].held_out
    return short_hash(
        {
            "rules": RULES,
            "dataset": dataset.name,
            "labels": dataset.labels.model_dump(mode="json"),
            "runs": [member_of(item, 1).model_dump(mode="json") for item in competition.candidates],
            "left_out": [[item.run, item.why] for item in competition.left_out],
            "cases": [[case.id, case.subject, _label_crc(dataset, case)] for case in _cases(dataset, cases)],
            "mirror": mirror,
            "most": most,
        }
    )


def _cases(dataset: Dataset, names: Sequence[str]) -> list[Case]:
    by_name = {case.id: case for case in dataset.cases}
    return [by_name[name] for name in names]


def _label_crc(dataset: Dataset, case: Case) -> int:
    assert case.label is not None
    path = dataset.path(case.label)
    try:
        return crc32_of_file(path)
    except OSError as error:
        raise DataError(
            "The label of this case cannot be read.", case=case.id, file=path, found=error.strerror
        ) from None


def _kept(workspace: Workspace, digest: str) -> Ensemble | None:
    try:
        found = Ensemble.load(workspace.ensemble) if workspace.ensemble.exists() else None
    except ModelError as error:
        say(f"{workspace.ensemble} cannot be used and is made anew: {error.problem}")
        return None
    return found if found is not None and found.sources_digest == digest else None


def _predict(dataset: Dataset, competition: Competition, mirror: bool, device: str | None, workers: int | None) -> None:
    for item in competition.candidates:
        for fold in item.folds:
            # Those that are there are looked at too: their images may have changed.
            tell = not coded_ready(dataset, fold, mirror=mirror, device=device)
            anew = predict_held_out(dataset, fold, mirror=mirror, device=device, workers=workers, coded=True, tell=tell)
            if anew and fold.held_out_scores.exists():
                judge_held_out(dataset, fold, workers=workers)  # the masks that were judged are gone


def _chosen(dataset: Dataset, competition: Competition, mirror: bool, most: int, digest: str) -> Ensemble:
    from autofuse.evaluation.selection import STAGES, select_members_and_recipe

    bench, annotation = _bench(dataset, competition.candidates)
    runs = [(item.run, tuple(fold.fold for fold in item.folds)) for item in competition.candidates]
    say(f"Choosing among {len(runs)} run{'' if len(runs) == 1 else 's'} by {len(bench.cases)} held-out cases.")
    with progress("choose", STAGES) as advance:
        selection: Selection = select_members_and_recipe(bench, runs, annotation, most, advance)
    taken = zip(competition.candidates, selection.counts, strict=True)
    return Ensemble(
        dataset=dataset.name,
        labels_digest=dataset.labels.digest(),
        members=tuple(member_of(item, count) for item, count in taken if count),
        mirror=mirror,
        recipe=selection.recipe,
        sources_digest=digest,
        evidence=selection.evidence.model_copy(update={"left_out": competition.left_out}),
    )


def member_of(item: Candidate, weight: int) -> EnsembleMember:
    """The run as a member of an ensemble: its folds, by the hashes that they are known by."""
    first = item.folds[0].plan
    return EnsembleMember(
        run=item.run,
        configuration=first.configuration,
        trainer=first.trainer,
        weight=weight,
        folds=tuple(_member_fold(fold) for fold in item.folds),
        prior_run=first.prior_run,
    )


def _member_fold(fold: TrainedFold) -> MemberFold:
    assert fold.finished is not None
    prior = earlier_stage(fold)
    return MemberFold(
        fold=fold.fold,
        run_digest=fold.plan.digest(),
        weights_crc32=fold.finished.weights_crc32,
        prior=None if prior is None else _member_fold(prior),
    )


def _bench(dataset: Dataset, candidates: Sequence[Candidate]) -> tuple[Bench, Annotation]:
    """All held-out cases with their references, and how those were made.

    Raises:
        ResourceError: if they take more memory than there is.
    """
    from autofuse.evaluation.held_out import Bench
    from autofuse.evaluation.selection import Annotation
    from autofuse.foundation.machine import GIB, available_memory_gib

    limit = SHARE_OF_MEMORY * available_memory_gib()
    cases, taken, sparse, far = [], 0.0, False, True
    wanted = _cases(dataset, candidates[0].held_out)
    with progress("gather", len(wanted)) as advance:
        for number, case in enumerate(wanted):
            held, left_open, known_far = _held_out_case(dataset, case, candidates)
            cases.append(held)
            sparse, far = sparse or left_open, far and known_far
            taken += held.nbytes / GIB
            if taken > limit:
                raise ResourceError(
                    "Held-out voxels of this data set do not fit into memory.",
                    found=f"{taken:.2f} GiB after {number + 1} of {len(wanted)} cases",
                    expected=f"at most {limit:.2f} GiB, half of what was free",
                    remedy="Close other programs, or name fewer runs: autofuse select DATASET --runs A,B",
                )
            advance(1, note=case.id)
    return Bench(tuple(cases), dataset.labels), Annotation(sparse=sparse, far=far and sparse)


def _held_out_case(dataset: Dataset, case: Case, candidates: Sequence[Candidate]) -> tuple[HeldOutCase, bool, bool]:
    """The case, whether voxels of its reference are left open, and whether far background is known nevertheless."""
    from autofuse.evaluation.held_out import keep_case
    from autofuse.inference.coding import CODED_ENDING, read_coded

    taught = next((item.plan for item in candidates if item.plan.far_background), candidates[0].plan)
    truth, geometry = taught_label(dataset, case, taught)
    paths = [_holder(item, case.id).held_out / f"{case.id}{CODED_ENDING}" for item in candidates]
    codes = [read_coded(path, case.id) for path in paths]
    for path, found in zip(paths, codes, strict=True):
        _require_shape(case, path, found.shape[1:], truth.shape)
    held = keep_case(case.id, case.subject, codes, truth, geometry.spacing_mm, dataset.labels)
    sparse = bool((truth == IGNORE).any())
    return held, sparse, not sparse or taught.far_background


def _holder(item: Candidate, case: str) -> TrainedFold:
    return next(fold for fold in item.folds if case in fold.plan.held_out)


def _require_shape(case: Case, path: Path, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if found != expected:
        raise DataError(
            "The prediction of this held-out case and its label lie on different grids.",
            case=case.id,
            file=path,
            found=" x ".join(map(str, found)),
            expected=" x ".join(map(str, expected)) + ", as the label",
            remedy="Put the label onto the grid of the images, or train anew if they have changed.",
        )
