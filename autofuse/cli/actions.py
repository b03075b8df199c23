"""What each verb does: one call of the road, and how its result is shown."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autofuse import road
from autofuse.cli import dicom, given, tables
from autofuse.cli import result_actions as results
from autofuse.cli import units_answer as units
from autofuse.cli.answers import Answer, answer
from autofuse.cli.doctor_answer import doctor_answer
from autofuse.cli.pilot_answer import pilot_answer
from autofuse.cli.submit_answer import submit_answer, with_submission
from autofuse.foundation.errors import DataError, PartialError
from autofuse.road.places import demo_workspace, workspace_of

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


def act(options: Namespace) -> Answer:
    """Carry out the verb of ``options``."""
    return ACTIONS[options.verb](options)


def _check(options: Namespace) -> Answer:
    report = road.check(options.dataset, workers=options.workers)
    return answer(report, report.to_rich, exit_code=0 if report.ok else DataError.exit_code)


def _fingerprint(options: Namespace) -> Answer:
    from autofuse.fingerprint.oddities import oddities
    from autofuse.fingerprint.show import to_rich

    fingerprint = road.fingerprint(options.dataset, **given.case_work(options))
    return answer(fingerprint, lambda: to_rich(fingerprint), unusual=lambda: list(oddities(fingerprint)))


def _plan(options: Namespace) -> Answer:
    plan = road.plan(
        options.dataset,
        **given.memory(options),
        minutes=options.minutes,
        planner=options.planner,
        **given.wishes(options),
        device=options.device,
        **given.pilot(options),
        **given.case_work(options),
    )
    place = workspace_of(options.dataset, options.workspace)
    shown, more = pilot_answer(options, place)
    show = (lambda: tables.plan(plan), *shown, lambda: tables.where({"plan": str(place.plan)}))
    return answer(plan, *show, exit_code=0, **more)


def _explain(options: Namespace) -> Answer:
    from autofuse.plan.explain import to_json, to_rich

    told = road.explain(options.dataset, pictures=options.pictures, device=options.device, **given.case_work(options))
    paths = [str(path) for path in told.pictures]

    def show(console: Console) -> None:
        console.print(to_rich(told.plan, told.fingerprint))
        if paths:
            console.print(tables.where({f"picture, {Path(path).stem}": path for path in paths}), soft_wrap=True)

    return Answer(lambda: {**to_json(told.plan, told.fingerprint), "pictures": paths}, show)


def _preprocess(options: Namespace) -> Answer:
    store = road.preprocess(
        options.dataset, configuration=options.configuration, device=options.device, **given.case_work(options)
    )
    result = {"folder": str(store.folder), "cases": list(store.case_ids)}
    text = f"{len(store.case_ids)} cases are prepared in {store.folder}"
    return Answer(lambda: result, lambda console: console.print(text, markup=False, soft_wrap=True))


def _train(options: Namespace) -> Answer:
    fold = road.train(
        options.dataset,
        fold=options.fold,
        **given.memory(options),
        **given.method(options),
        **given.case_work(options),
    )
    assert fold.finished is not None
    return answer(
        fold.finished,
        lambda: tables.trained(fold),
        run=lambda: fold.run,
        fold=lambda: fold.fold,
        folder=lambda: str(fold.folder),
    )


def _run(options: Namespace) -> Answer:
    if options.submit is not None:
        road.require_submittable(options.dataset, options.submit)  # told before hours of training, not after
    if units.in_units(options):
        return _run_in_units(options)
    report = road.run(
        options.dataset,
        folds=options.folds,
        **given.memory(options),
        planner=options.planner,
        **given.wishes(options),
        **given.pilot(options),
        **given.method(options),
        **given.case_work(options),
    )
    return _ended(options, report)


def _run_in_units(options: Namespace) -> Answer:
    if options.dry_run:
        return units.dry_run(options)
    ran = units.run_outcome(options)
    if ran.report is None:
        return units.unfinished(ran)
    return _ended(options, ran.report, units=lambda: units.units_content(ran))


def _ended(options: Namespace, report: road.RunReport, **more: Callable[[], Any]) -> Answer:
    place = workspace_of(options.dataset, options.workspace)
    shown, pilot = pilot_answer(options, place)
    ended = _ending(report, place.folder, *shown, **more, **pilot)
    return ended if options.submit is None else with_submission(ended, options)


def _align(options: Namespace) -> Answer:
    from autofuse.plan.types import RegistrationPlan

    limits = RegistrationPlan(largest_shift_mm=options.largest_shift, largest_rotation_degrees=options.largest_rotation)
    made = road.align(options.images, options.out, reference=options.reference, limits=limits)
    folder = Path(options.out).absolute()
    code = PartialError.exit_code if made.failed else 0
    return answer(made, lambda: tables.alignment(made, folder), exit_code=code, folder=lambda: str(folder))


def _scribble(options: Namespace) -> Answer:
    from autofuse.scribbles.options import ScribbleOptions

    strokes = ScribbleOptions(
        every=options.every,
        density=options.density,
        interior=options.interior,
        boundary=options.boundary,
        background=options.background,
        axis=None if options.axis is None else "zyx".index(options.axis),
        seed=options.seed,
    )
    made = road.scribble(options.dataset, options.out, options=strokes, workers=options.workers)
    folder = Path(options.out).absolute()
    return answer(made, lambda: tables.scribbles(made, folder), folder=lambda: str(folder))


def _demo(options: Namespace) -> Answer:
    report = road.demo(
        options.folder,
        minutes=options.minutes,
        steps=options.steps,
        cases=options.cases,
        shift_mm=options.shift,
        scribbles=options.scribbles,
        unlabelled=options.unlabelled,
        missing=options.missing,
        device=options.device,
        workers=options.workers,
    )
    return _ending(report, demo_workspace(Path(options.folder)).folder)


def _ending(
    report: road.RunReport, folder: Path, *before: Callable[[], RenderableType], **more: Callable[[], Any]
) -> Answer:
    code = PartialError.exit_code if report.failed else 0
    page = folder / "report" / road.PAGE_FILE
    more |= {"workspace": lambda: str(folder), "page": lambda: str(page) if page.exists() else None}
    return answer(report, *before, lambda: tables.report(report, folder, page), exit_code=code, **more)


def _info(options: Namespace) -> Answer:
    inventory = road.info(options.dataset, workspace=options.workspace)
    return answer(inventory, lambda: tables.inventory(inventory))


ACTIONS: dict[str, Callable[[Namespace], Answer]] = {
    "check": _check,
    "fingerprint": _fingerprint,
    "plan": _plan,
    "explain": _explain,
    "preprocess": _preprocess,
    "train": _train,
    "select": results.select,
    "predict": results.predict,
    "fuse": results.fuse,
    "fuse-dataset": results.fuse_dataset,
    "evaluate": results.evaluate,
    "judge-fused": results.judge_fused,
    "compare": results.compare,
    "run": _run,
    "worker": units.worker_answer,
    "status": units.status_answer,
    "unit": units.unit_answer,
    "report": results.report,
    "align": _align,
    "scribble": _scribble,
    "export": results.export_model,
    "import": results.import_model,
    "submit": submit_answer,
    "from-dicom": dicom.from_dicom,
    "to-dicom-seg": dicom.to_dicom_seg,
    "demo": _demo,
    "doctor": doctor_answer,
    "info": _info,
}
