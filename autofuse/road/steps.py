"""The steps of the road as functions. Each finds finished work by its hashes and does what is missing before it.

``dataset`` is the folder of a data set; ``workspace`` is where everything that is made goes (None: the default).
``workers`` are processes for work on cases: 0 for none, None lets each step decide. ``device``: "auto", "cpu", "cuda".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autofuse.foundation.errors import UsageError
from autofuse.road.places import dataset_folder, imported_model, workspace_of

if TYPE_CHECKING:
    from autofuse.dataset.report import CheckReport
    from autofuse.dataset.types import Dataset
    from autofuse.evaluation.ensemble import Ensemble
    from autofuse.evaluation.scoring import Scoring
    from autofuse.evaluation.types import Scores
    from autofuse.fingerprint.types import Fingerprint
    from autofuse.foundation.workspace import Workspace
    from autofuse.plan.types import Plan
    from autofuse.preprocessing.store import Store
    from autofuse.road.dials import Asked
    from autofuse.road.fold import Method, Precision
    from autofuse.road.groundwork import Ground
    from autofuse.road.inventory import Inventory
    from autofuse.road.results import Predicted
    from autofuse.road.runs import TrainedFold

Device = Literal["auto", "cpu", "cuda"]
Folder = str | Path


def check(dataset: Folder, *, workers: int | None = None) -> CheckReport:
    """Everything that is wrong with a data set, and what was found in it; nothing is written."""
    from autofuse.dataset.check import check_dataset

    return check_dataset(dataset_folder(dataset), workers=workers)


def fingerprint(dataset: Folder, *, workspace: Folder | None = None, workers: int | None = None) -> Fingerprint:
    """What the data set is, measured; cases that were measured before and have not changed are not read again."""
    from autofuse.road.groundwork import find_fingerprint, waiting_lock

    opened, place = open_both(dataset, workspace)
    with waiting_lock(place.folder):
        return find_fingerprint(opened, place, workers)


def plan(
    dataset: Folder,
    *,
    workspace: Folder | None = None,
    memory_gib: float | None = None,
    vram_gib: float | None = None,
    minutes: float | None = None,
    planner: str | None = None,
    expect_missing: bool | None = None,
    want_fused: bool | None = None,
    topology: str | None = None,
    pilot: bool = False,
    pilot_minutes: float | None = None,
    device: Device = "auto",
    workers: int | None = None,
) -> Plan:
    """What was decided for the data set. A plan that is there is kept unless a dial is given that differs.

    Args:
        memory_gib: that training may use; vram_gib: the same dial for a GPU, refused where there is none.
        minutes: of training one fold.
        expect_missing: whether any modality may be absent at prediction; want_fused: whether a fused image that a
            person can read is asked for. None leaves either as it was.
        topology: how modalities shall meet, whatever the rules say; "auto" lets them decide again.
        pilot: try the plan's challengers briefly, and let one replace the default if it is better beyond chance.
        pilot_minutes: for that, instead of a tenth of the time of training one fold.
    """
    from autofuse.road.dials import Asked

    asked = Asked(
        planner=planner,
        device=explicit(device),
        memory_gib=memory_gib,
        minutes=minutes,
        expect_missing=expect_missing,
        want_fused=want_fused,
        topology=topology,
        vram_gib=vram_gib,
    )
    ground = ground_of(dataset, workspace, asked, workers)
    if pilot or pilot_minutes is not None:
        from autofuse.road.pilot import arbitrate

        ground = arbitrate(ground, minutes=pilot_minutes, workers=workers)
    return ground.plan


def preprocess(
    dataset: Folder,
    *,
    workspace: Folder | None = None,
    configuration: str | None = None,
    device: Device = "auto",
    workers: int | None = None,
) -> Store:
    """The prepared cases of a configuration (the plan's choice if None)."""
    from autofuse.road.dials import Asked
    from autofuse.road.fold import planned_configuration, prepare

    ground = ground_of(dataset, workspace, Asked(device=explicit(device)), workers)
    return prepare(ground, planned_configuration(ground, configuration), workers)


def train(
    dataset: Folder,
    *,
    workspace: Folder | None = None,
    fold: int = 0,
    configuration: str | None = None,
    trainer: str | None = None,
    settings: Mapping[str, Any] | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    memory_gib: float | None = None,
    vram_gib: float | None = None,
    seed: int | None = None,
    precision: Precision | None = None,
    gpus: int = 1,
    device: Device = "auto",
    workers: int | None = None,
) -> TrainedFold:
    """One fold, trained; what is None is the plan's choice.

    Args:
        settings: hyper-parameters of the trainer by name; a variant has a run folder of its own.
        steps, minutes: the length, at most one of them; the plan's number of steps if neither is given.
        gpus: processes that train together, each on a GPU of its own; on the CPU they share it. Where torchrun started
            this process among others, they train together.
        memory_gib, vram_gib: the memory dial, as in ``plan``; another one than before gives another plan.

    Raises:
        UsageError: if fold, configuration, trainer, a setting, the length or so many GPUs do not exist.
    """
    from autofuse.road.dials import Asked
    from autofuse.road.fold import stages, train_fold
    from autofuse.road.suiting import suited
    from autofuse.road.together import among_others, require_gpus

    require_gpus(device, gpus)
    asked = Asked(device=explicit(device), memory_gib=memory_gib, vram_gib=vram_gib)
    ground = suited(ground_of(dataset, workspace, asked, workers), trainer)
    require_gpus(ground.device, gpus)
    method = replace(method_of(configuration, trainer, settings, steps, minutes, seed, precision), gpus=gpus)
    if minutes is not None:
        parts = stages(ground, configuration)
        method = replace(method, minutes={item.name: minutes / len(parts) for item in parts})
    with among_others(ground.device):
        return train_fold(ground, method, fold, workers=workers)


def predict(
    dataset: Folder,
    *,
    workspace: Folder | None = None,
    images: Folder | None = None,
    out: Folder | None = None,
    run: str | None = None,
    folds: Sequence[int] | None = None,
    probabilities: bool = False,
    save_fused: bool = False,
    uncertainty: bool = False,
    mirror: bool = True,
    device: Device = "auto",
    workers: int | None = None,
) -> Predicted:
    """Masks of the data set's test cases, or of the images in a folder, on their native grid.

    Args:
        dataset: folder of a data set, or the name of a model that was imported; that needs ``images``.
        images: folder of images named as in training; None for the data set's test cases.
        out: where the masks go; None for the workspace.
        run: whose models (if None: the ensemble that was chosen, or the newest finished run where none was); folds:
            which of its folds are averaged (all if None).
        probabilities: also write the probabilities of every class.
        save_fused: also write the fused images that were segmented, into the folder ``fused`` beside the masks.
        uncertainty: also write maps of entropy and mutual information, and volumes with intervals.
        mirror: average over mirrored images: slower, a little better.

    Returns:
        What was predicted, with the cases that failed; one bad case never stops the others.
    """
    from autofuse.road.models import choose_model, require_images
    from autofuse.road.prediction import predict_with

    chosen = choose_model(dataset, workspace, run, folds)
    require_images(chosen, images, f"autofuse predict {dataset} -i FOLDER -o MASKS")
    opened, place, crew = chosen.dataset, chosen.workspace, chosen.crew
    predicted = predict_with(
        opened,
        place,
        crew,
        images=None if images is None else Path(images),
        out=None if out is None else Path(out),
        probabilities=probabilities,
        uncertainty=uncertainty,
        mirror=mirror,
        device=explicit(device),
        workers=workers,
    )
    if save_fused:
        from autofuse.road.fusing import fused_beside

        made = fused_beside(
            Path(predicted.folder), opened, crew.folds, None if images is None else Path(images), device
        )
        predicted = predicted.model_copy(update={"fused": made.folder})
    return predicted


def select(
    dataset: Folder,
    *,
    workspace: Folder | None = None,
    runs: Sequence[str] | None = None,
    members: int | None = None,
    mirror: bool = True,
    device: Device = "auto",
    workers: int | None = None,
) -> Ensemble:
    """The best single run or ensemble of all that is trained, its post-processing, and the evidence.

    It is written to ensemble.json, which ``predict`` uses from then on, and kept while runs and labels do not change.

    Args:
        runs: that may compete, by name (all if None).
        members: turns of the greedy choice (10 if None); 1 for the best single run.
        mirror: average over mirrored images; new cases are then predicted so as well.
    """
    from autofuse.road.selecting import select_ensemble

    opened, place = open_both(dataset, workspace)
    return select_ensemble(
        opened, place, runs=runs, members=members, mirror=mirror, device=explicit(device), workers=workers
    )


def evaluate(
    dataset: Folder,
    *,
    workspace: Folder | None = None,
    predictions: Folder | None = None,
    references: Folder | None = None,
    out: Folder | None = None,
    run: str | None = None,
    scoring: Scoring | None = None,
    html: bool = False,
    workers: int | None = None,
) -> tuple[Scores, Path]:
    """Scores of masks, and the folder that their tables are in. What an interrupted call scored is taken over.

    Args:
        predictions: folder of masks; None for the held-out cases of a run.
        references: folder of true masks; None for those of the data set.
        run: which run's held-out cases (the newest finished run if None).
        scoring: regions, tolerances of NSD, lesions; None for the data set's own classes.
        html: also write a page that people can read, scores.html.

    Raises:
        UsageError: if ``scoring`` names what the data set does not have.
    """
    from autofuse.evaluation.scoring import Scoring, require_scorable
    from autofuse.road.judging import score_folder
    from autofuse.road.prediction import score_held_out

    opened, place = open_both(dataset, workspace)
    require_scorable(scoring or Scoring(), opened.labels)
    into = None if out is None else Path(out)
    if predictions is not None:
        truth = None if references is None else Path(references)
        scores, folder = score_folder(opened, place, Path(predictions), truth, into, scoring, workers)
    elif references is not None:
        raise UsageError("References without predictions: a run's held-out cases are judged by the data set's own.")
    else:
        scores, folder = score_held_out(opened, place, run, into, workers, scoring)
    from autofuse.road.comparing import SCORES_PAGE, write_scores_page

    if html:
        write_scores_page(scores, opened.name, folder)
    else:
        # A page of an earlier evaluation would contradict the tables beside it.
        (folder / SCORES_PAGE).unlink(missing_ok=True)
    return scores, folder


def info(dataset: Folder | None = None, *, workspace: Folder | None = None) -> Inventory:
    """This installation and this machine; with a data set or an imported model, also what its workspace holds."""
    from autofuse.road.inventory import take_inventory

    if dataset is None:
        return take_inventory()
    model = imported_model(dataset, workspace)
    return take_inventory(model or workspace_of(dataset_folder(dataset), workspace))


def open_both(dataset: Folder, workspace: Folder | None) -> tuple[Dataset, Workspace]:
    """The data set and its workspace."""
    from autofuse.dataset.opening import open_dataset

    folder = dataset_folder(dataset)
    return open_dataset(folder), workspace_of(folder, workspace)


def ground_of(dataset: Folder, workspace: Folder | None, asked: Asked, workers: int | None) -> Ground:
    """What every later step stands on, found or made."""
    from autofuse.road.groundwork import lay_ground

    opened, place = open_both(dataset, workspace)
    return lay_ground(opened, place, asked, workers=workers)


def explicit(device: Device) -> Literal["cpu", "cuda"] | None:
    """The device that is asked for; None for "auto".

    Raises:
        UsageError: if CUDA is asked for and is not there.
    """
    if device == "auto":
        return None
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise UsageError(
                "There is no CUDA device here.", found="--device cuda", remedy="Use --device cpu, or leave it out."
            )
    return device


def method_of(
    configuration: str | None,
    trainer: str | None,
    settings: Mapping[str, Any] | None,
    steps: int | None,
    minutes: float | None,
    seed: int | None,
    precision: Precision | None,
) -> Method:
    """What is to be trained.

    Raises:
        UsageError: if a length in steps and one in minutes is given.
    """
    from autofuse.road.fold import DEFAULT_SEED, Method

    if steps is not None and minutes is not None:
        raise UsageError(
            "A length in steps and one in minutes were given.",
            found=f"{steps} steps and {minutes:g} minutes",
            remedy="Give --steps or --minutes.",
        )
    return Method(
        configuration=configuration,
        trainer=trainer,
        settings=dict(settings or {}),
        steps=steps,
        seed=DEFAULT_SEED if seed is None else seed,
        precision=precision,
    )
