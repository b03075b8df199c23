"""What each kind of work unit does: a call of the road, and the files by which what it left is known again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from autofuse.dataset.types import Case, Dataset
from autofuse.foundation.console import say
from autofuse.foundation.errors import ModelError, UsageError, one_line, understood
from autofuse.foundation.workspace import Workspace
from autofuse.road import run_graph as kinds
from autofuse.road.closing import Closing
from autofuse.road.fold import Method, prepare, stages, train_fold
from autofuse.road.groundwork import Ground, lay_ground, standing_ground
from autofuse.road.results import REPORT_FILE
from autofuse.road.run_order import RunOrder, order_of
from autofuse.road.runs import FINISHED_FILE, PLAN_FILE, RUN_FILE, TrainedFold, read_fold
from autofuse.road.steps import Folder, open_both
from autofuse.road.suiting import suited
from autofuse.road.together import require_gpus
from autofuse.training.signals import Interrupted
from autofuse.units.claims import claimed
from autofuse.units.ledger import Finished, Ledger
from autofuse.units.patience import wait_until_ready
from autofuse.units.shape import Graph, Unit

if TYPE_CHECKING:
    from autofuse.road.prediction import Crew


def do_unit(
    dataset: Folder,
    name: str,
    *,
    workspace: Folder | None = None,
    workers: int | None = None,
    again: bool = False,
    patience_s: float = 0.0,
) -> Finished:
    """The record of the unit called ``name``, done now, or found where it is done already.

    Args:
        again: do it even where it is done; what fits of its outputs is found all the same.
        patience_s: how long it may take until what the unit stands on is seen to be done, and nobody to be at it.

    Raises:
        UsageError: if there is no such unit, or one that it stands on is not done.
        ModelError: if nothing was asked for yet.
        ResourceError: if another process is at it.
        AutofuseError: whatever the work meets; it is written down first.
    """
    opened, place = open_both(dataset, workspace)
    ledger = Ledger(place.folder)
    graph = ledger.graph()
    unit = graph.named(name)
    wait_until_ready(ledger, graph, unit, patience_s)
    with claimed(ledger.claim_file(name), name):
        stood_on = _require_ready(ledger, graph, unit)
        kept = ledger.finished(unit)
        if kept is not None and kept.stood_on == stood_on and not again:
            say(f"{name} is done already.")
            return kept
        started = time.monotonic()
        try:
            made = Work(opened, place, graph, order_of(graph), workers).outputs(unit)
        except Interrupted:
            raise  # its state is saved; it goes on where somebody takes it up
        except Exception as error:
            known = understood(error)
            ledger.reopen(unit.name)  # where it was done before, that is no longer sure
            ledger.fail(unit, 1 if known is None else known.exit_code, str(known or one_line(error)))
            raise
        return ledger.finish(unit, stood_on, made, time.monotonic() - started)


def _require_ready(ledger: Ledger, graph: Graph, unit: Unit) -> dict[str, str]:
    """What the units before ``unit`` have left.

    Raises:
        UsageError: if a unit before it is not done.
    """
    stood_on = ledger.left_before(graph, unit)
    if stood_on is None:
        states = ledger.states(graph)
        missing = [before for before in unit.after if states[before].state != "done"]
        raise UsageError(
            "This unit stands on others that are not done.",
            found=", ".join(f"{before} ({states[before].state})" for before in missing[:5]),
            remedy="Do those first, or let `autofuse worker DATASET` take units in order.",
        )
    return stood_on


@dataclass(frozen=True)
class Work:
    """Does units of one order."""

    dataset: Dataset
    workspace: Workspace
    graph: Graph
    order: RunOrder
    workers: int | None

    def outputs(self, unit: Unit) -> list[Path]:
        """The files by which what ``unit`` left is known again, once it is done."""
        todo: dict[str, Callable[[Unit], list[Path]]] = {
            kinds.GROUND: self._lay_ground,
            kinds.PREPARE: self._prepare,
            kinds.FIRST_STAGE: self._first_stage,
            kinds.TRAIN: self._train,
            kinds.HELD_OUT: self._predict_held_out,
            kinds.SCORE: self._score,
            kinds.SELECT: self._select,
            kinds.PREDICT: self._predict,
            kinds.REPORT: self._report,
        }
        if unit.kind not in todo:
            raise ModelError(
                "This version does not know this kind of work unit.",
                found=unit.kind,
                expected=", ".join(todo),
                remedy="Use the version that wrote the units, or give `autofuse run` again.",
            )
        return todo[unit.kind](unit)

    @cached_property
    def ground(self) -> Ground:
        """The ground, as its unit has laid it."""
        return standing_ground(self.dataset, self.workspace)

    @cached_property
    def closing(self) -> Closing:
        """What comes after training."""
        return Closing(self.ground, self.workers)

    def _lay_ground(self, unit: Unit) -> list[Path]:
        from autofuse.road.pilot import arbitrate
        from autofuse.road.whole import require_good

        place, order = self.workspace, self.order
        if not place.fingerprint.exists():
            require_good(self.dataset, self.workers)
        ground = lay_ground(self.dataset, place, order.asked(), workers=self.workers)
        if order.pilot or order.pilot_minutes is not None:
            arbitrate(ground, minutes=order.pilot_minutes, steps=order.steps, workers=self.workers)
        for trainer in order.methods:
            self._require_method(ground, trainer)
        return [place.fingerprint, place.plan, place.splits]

    def _require_method(self, ground: Ground, trainer: str | None) -> None:
        """Nothing, if what is asked for can be trained; else hours would pass before anybody is told."""
        from autofuse.road.fold import chosen_trainer

        ground = suited(ground, trainer)
        stages(ground, self.order.configuration)
        chosen_trainer(ground, self.order.method(trainer))

    def _prepare(self, unit: Unit) -> list[Path]:
        from autofuse.foundation.sharing_out import share_of
        from autofuse.preprocessing.store import RECORD

        made: dict[Path, None] = {}
        cases = share_of(self.dataset.cases, *_share(unit))
        for trainer in self.order.methods:
            ground = suited(self.ground, trainer)
            for configuration in stages(ground, self.order.configuration):
                store = prepare(ground, configuration, self.workers, _share(unit))
                made |= {store.case_folder(case.id) / RECORD: None for case in cases}
        return list(made)

    def _first_stage(self, unit: Unit) -> list[Path]:
        ground, method, fold = self._training(unit)
        parts = stages(ground, method.configuration)
        if len(parts) == 1:
            say("No cascade: there is no first stage.")
            return []
        earlier = replace(method, configuration=parts[0].name)
        return _files_of(train_fold(ground, earlier, fold, workers=self.workers))

    def _train(self, unit: Unit) -> list[Path]:
        ground, method, fold = self._training(unit)
        return _files_of(train_fold(ground, method, fold, workers=self.workers))

    def _training(self, unit: Unit) -> tuple[Ground, Method, int]:
        """Under which plan what is trained, and which fold."""
        require_gpus(self.ground.device, self.order.gpus)
        trainer = cast("str | None", unit.about["trainer"])
        ground, method = suited(self.ground, trainer), self.order.method(trainer)
        minutes = self.order.fold_minutes
        if minutes is not None:
            parts = stages(ground, method.configuration)
            method = replace(method, minutes={item.name: minutes / len(parts) for item in parts})
        return ground, method, cast(int, unit.about["fold"])

    def _predict_held_out(self, unit: Unit) -> list[Path]:
        from autofuse.foundation.sharing_out import share_of

        fold = self._trained(unit.about)
        self.closing.predict_held_out(fold, _share(unit))
        return self._records(fold.held_out, share_of(self._held_out(fold), *_share(unit)))

    def _score(self, unit: Unit) -> list[Path]:
        from autofuse.evaluation.folder import SCORES_FILE

        fold = self._trained(unit.about)
        scores = self.closing.score(fold)
        made = self._records(fold.held_out, self._held_out(fold))
        return made if scores is None else [*made, fold.held_out_scores / SCORES_FILE]

    def _held_out(self, fold: TrainedFold) -> list[Case]:
        held_out = set(fold.plan.held_out)
        return [case for case in self.dataset.cases if case.id in held_out]

    def _records(self, folder: Path, cases: Sequence[Case]) -> list[Path]:
        """The records of the masks of ``cases``; each holds the hash of its mask."""
        from autofuse.inference.own_mask import masks_of
        from autofuse.inference.writing import record_path

        own = self.ground.plan.masks_per_modality
        return [record_path(folder, mask) for case in cases for mask in masks_of(case, own)]

    def _select(self, unit: Unit) -> list[Path]:
        self.closing.choose(self._runs())
        return [self.workspace.ensemble] if self.closing.chooses(self._runs()) else []

    def _predict(self, unit: Unit) -> list[Path]:
        from autofuse.road.prediction import predict_with

        made = predict_with(
            self.dataset,
            self.workspace,
            self._crew(),
            mirror=self.closing.mirror,
            device=self.ground.device,
            workers=self.workers,
            need_one=False,  # the report tells which failed
            share=_share(unit),
        )
        predicted = [case for case in self.dataset.test_cases if case.id in set(made.cases)]
        return self._records(Path(made.folder), predicted)

    def _report(self, unit: Unit) -> list[Path]:
        ended = [item for unit in self.graph.units if (item := Ledger(self.workspace.folder).finished(unit))]
        seconds = sum(item.seconds for item in ended)
        self.closing.report(self._runs(), self._crew(), lambda: seconds / 60)
        return [self.workspace.folder / REPORT_FILE]

    def _crew(self) -> Crew:
        """What the unit before has chosen; what has been trained elsewhere since then changes nothing."""
        from autofuse.road.crews import chosen_ensemble, ensemble_crew
        from autofuse.road.prediction import crew_of

        runs = self._runs()
        ensemble = chosen_ensemble(self.dataset, self.workspace) if self.closing.chooses(runs) else None
        return crew_of(runs[0]) if ensemble is None else ensemble_crew(self.workspace.runs, ensemble)

    def _runs(self) -> list[list[TrainedFold]]:
        """What was trained: per trainer its folds."""
        by_trainer: dict[str | None, list[TrainedFold]] = {}
        for unit in self.graph.units:
            if unit.kind == kinds.TRAIN:
                trainer = cast("str | None", unit.about["trainer"])
                by_trainer.setdefault(trainer, []).append(self._trained(unit.about))
        return list(by_trainer.values())

    def _trained(self, about: object) -> TrainedFold:
        """The fold that the ``train`` unit of the same trainer and fold has left."""
        wanted = {name: value for name, value in cast("dict[str, object]", about).items() if name != "share"}
        unit = next(item for item in self.graph.units if item.kind == kinds.TRAIN and item.about == wanted)
        finished = Ledger(self.workspace.folder).finished(unit)
        paths = [] if finished is None else [name for name in finished.outputs if name.endswith(FINISHED_FILE)]
        if not paths:
            raise ModelError("This fold is not trained.", found=unit.name, remedy=f"autofuse unit DATASET {unit.name}")
        fold = read_fold((self.workspace.folder / paths[0]).parent)
        if fold.finished is None:
            raise ModelError("The training of this fold is not finished.", file=fold.folder)
        return fold


def _share(unit: Unit) -> tuple[int, int]:
    number, of = cast("list[int]", unit.about["share"])
    return number, of


def _files_of(fold: TrainedFold) -> list[Path]:
    return [fold.folder / name for name in (RUN_FILE, PLAN_FILE, FINISHED_FILE)]
