"""What each verb does: one call of the road, and how its result is shown."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autofuse import road
from autofuse.cli import tables
from autofuse.cli.answers import Answer, answer
from autofuse.cli.pilot_answer import pilot_answer
from autofuse.cli.submit_answer import submit_answer, with_submission
from autofuse.foundation.errors import DataError, PartialError, UsageError
from autofuse.road.places import demo_workspace, workspace_of

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from autofuse.evaluation.scoring import Scoring


def act(options: Namespace) -> Answer:
    """Carry out the verb of ``options``."""
    return ACTIONS[options.verb](options)


def _case_work(options: Namespace) -> dict[str, Any]:
    return {"workspace": options.workspace, "workers": options.workers}


def _method(options: Namespace) -> dict[str, Any]:
    from autofuse.training.run import parse_settings

    return {
        "configuration": options.configuration,
        "trainer": options.trainer,
        "settings": parse_settings(options.settings),
        "steps": options.steps,
        "minutes": options.minutes,
        "seed": options.seed,
        "precision": options.precision,
        "device": options.device,
    }


def _wishes(options: Namespace) -> dict[str, Any]:
    return {"expect_missing": options.expect_missing, "want_fused": options.want_fused, "topology": options.topology}


def _pilot(options: Namespace) -> dict[str, Any]:
    return {"pilot": options.pilot, "pilot_minutes": options.pilot_minutes}


def _check(options: Namespace) -> Answer:
    report = road.check(options.dataset, workers=options.workers)
    return answer(report, report.to_rich, exit_code=0 if report.ok else DataError.exit_code)


def _fingerprint(options: Namespace) -> Answer:
    from autofuse.fingerprint.oddities import oddities
    from autofuse.fingerprint.show import to_rich

    fingerprint = road.fingerprint(options.dataset, **_case_work(options))
    return answer(fingerprint, lambda: to_rich(fingerprint), unusual=lambda: list(oddities(fingerprint)))


def _plan(options: Namespace) -> Answer:
    plan = road.plan(
        options.dataset,
        memory_gib=options.memory,
        minutes=options.minutes,
        planner=options.planner,
        **_wishes(options),
        device=options.device,
        **_pilot(options),
        **_case_work(options),
    )
    place = workspace_of(options.dataset, options.workspace)
    shown, more = pilot_answer(options, place)
    show = (lambda: tables.plan(plan), *shown, lambda: tables.where({"plan": str(place.plan)}))
    return answer(plan, *show, exit_code=0, **more)


def _explain(options: Namespace) -> Answer:
    from autofuse.plan.explain import to_json, to_rich

    told = road.explain(options.dataset, pictures=options.pictures, device=options.device, **_case_work(options))
    paths = [str(path) for path in told.pictures]

    def show(console: Console) -> None:
        console.print(to_rich(told.plan, told.fingerprint))
        if paths:
            console.print(tables.where({f"picture, {Path(path).stem}": path for path in paths}), soft_wrap=True)

    return Answer(lambda: {**to_json(told.plan, told.fingerprint), "pictures": paths}, show)


def _preprocess(options: Namespace) -> Answer:
    store = road.preprocess(
        options.dataset, configuration=options.configuration, device=options.device, **_case_work(options)
    )
    result = {"folder": str(store.folder), "cases": list(store.case_ids)}
    text = f"{len(store.case_ids)} cases are prepared in {store.folder}"
    return Answer(lambda: result, lambda console: console.print(text, markup=False, soft_wrap=True))


def _train(options: Namespace) -> Answer:
    fold = road.train(options.dataset, fold=options.fold, **_method(options), **_case_work(options))
    assert fold.finished is not None
    return answer(
        fold.finished,
        lambda: tables.trained(fold),
        run=lambda: fold.run,
        fold=lambda: fold.fold,
        folder=lambda: str(fold.folder),
    )


def _predict(options: Namespace) -> Answer:
    predicted = road.predict(
        options.dataset,
        images=options.images,
        out=options.out,
        run=options.run,
        folds=options.folds,
        probabilities=options.probabilities,
        save_fused=options.save_fused,
        mirror=options.mirror,
        device=options.device,
        **_case_work(options),
    )
    code = PartialError.exit_code if predicted.failed else 0
    return answer(predicted, lambda: tables.predicted(predicted), exit_code=code)


def _fuse(options: Namespace) -> Answer:
    made = road.fuse(
        options.dataset,
        workspace=options.workspace,
        images=options.images,
        out=options.out,
        run=options.run,
        folds=options.folds,
        device=options.device,
    )
    code = PartialError.exit_code if made.failed else 0
    return answer(made, lambda: tables.fused(made), exit_code=code)


def _fuse_dataset(options: Namespace) -> Answer:
    made = road.fuse_dataset(
        options.dataset,
        options.out,
        run=options.run,
        only_fused=options.only_fused,
        device=options.device,
        **_case_work(options),
    )
    return answer(made, lambda: tables.fused_dataset(made))


def _evaluate(options: Namespace) -> Answer:
    from autofuse.evaluation.table import case_table, lesion_table, summary_table

    scores, folder = road.evaluate(
        options.dataset,
        predictions=options.predictions,
        references=options.references,
        out=options.out,
        run=options.run,
        scoring=_scoring(options),
        html=options.html,
        **_case_work(options),
    )
    by_lesion = () if scores.lesions is None else (lambda: lesion_table(scores).to_rich(),)
    return answer(
        scores,
        lambda: case_table(scores, worst=tables.WORST_SHOWN),
        lambda: summary_table(scores),
        *by_lesion,
        lambda: tables.where({"scores": str(folder)}),
        exit_code=PartialError.exit_code if scores.failed else 0,
        folder=lambda: str(folder),
    )


def _judge_fused(options: Namespace) -> Answer:
    from autofuse.evaluation.fusion.greys import Window
    from autofuse.evaluation.fusion.table import fusion_table

    scores, folder = road.judge_fused(
        options.dataset,
        options.fused,
        segmenter=options.segmenter,
        windows={name: Window(lower=lower, upper=upper) for name, lower, upper in options.windows},
        out=options.out,
        device=options.device,
        **_case_work(options),
    )
    return answer(
        scores,
        lambda: fusion_table(scores),
        lambda: tables.where({"scores": str(folder)}),
        exit_code=PartialError.exit_code if scores.failed else 0,
        folder=lambda: str(folder),
    )


def _compare(options: Namespace) -> Answer:
    from autofuse.evaluation.comparison_table import comparison_tables

    compared, folder = road.compare(
        options.dataset,
        options.folders,
        references=options.references,
        out=options.out,
        common=options.common,
        names=options.names,
        metrics=options.metrics,
        scoring=_scoring(options),
        **_case_work(options),
    )
    incomplete = any(item.missing for item in compared.folders)
    found = comparison_tables(compared, baseline_only=True)
    return answer(
        compared,
        *(table.to_rich for table in found),
        lambda: tables.compared(compared, folder),
        exit_code=PartialError.exit_code if incomplete else 0,
        folder=lambda: str(folder),
    )


def _scoring(options: Namespace) -> Scoring:
    """What is to be scored.

    Raises:
        UsageError: if a rule for lesions is changed that was not asked for.
    """
    from autofuse.dataset.types import LabelClass
    from autofuse.evaluation.scoring import LESION_RULES, Scoring

    given = dict(options.tolerance or ())
    changes = {"dilation": options.lesion_dilation, "volume_mm3": options.lesion_volume}
    changes = {name: value for name, value in changes.items() if value is not None}
    if hasattr(options, "lesion_distance"):
        changes["distance_mm"] = options.lesion_distance
    if changes and options.lesions is None:
        raise UsageError("A rule for lesions is changed, but lesions are not scored.", remedy="Add --lesions plain.")
    rule = None if options.lesions is None else LESION_RULES[options.lesions]
    if rule is not None and changes:
        rule = rule.model_validate({**rule.model_dump(), **changes, "name": f"{rule.name}, changed"})
    tolerance: dict[str, Any] = {"tolerance_mm": given.pop(None)} if None in given else {}
    return Scoring(
        regions=tuple(LabelClass(name=name, raw_values=values) for name, values in options.regions or ()),
        tolerances_mm=given,
        lesions=rule,
        **tolerance,
    )


def _run(options: Namespace) -> Answer:
    if options.submit is not None:
        road.require_submittable(options.dataset, options.submit)  # told before hours of training, not after
    report = road.run(
        options.dataset,
        folds=options.folds,
        memory_gib=options.memory,
        planner=options.planner,
        **_wishes(options),
        **_pilot(options),
        **_method(options),
        **_case_work(options),
    )
    place = workspace_of(options.dataset, options.workspace)
    shown, more = pilot_answer(options, place)
    ended = _ending(report, place.folder, *shown, **more)
    return ended if options.submit is None else with_submission(ended, report, options)


def _report(options: Namespace) -> Answer:
    made = road.report(
        options.dataset,
        workspace=options.workspace,
        run=options.run,
        out=options.out,
        anonymous=options.anonymous,
        pictures=options.pictures,
    )
    return answer(made, lambda: tables.page(made))


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


def _export(options: Namespace) -> Answer:
    choice: dict[str, Any] = {
        "workspace": options.workspace,
        "run": options.run,
        "folds": options.folds,
        "out": options.out,
        "name": options.name,
        "licence": options.licence,
    }
    if options.onnx:
        graphs = road.export_onnx(options.dataset, **choice)
        return answer(graphs, lambda: tables.exported_onnx(graphs))
    made = road.export_model(options.dataset, **choice)
    return answer(made, lambda: tables.exported(made))


def _import(options: Namespace) -> Answer:
    made = road.import_model(options.bundle, workspace=options.workspace, name=options.name)
    return answer(made, lambda: tables.imported(made, options.workspace))


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
    "predict": _predict,
    "fuse": _fuse,
    "fuse-dataset": _fuse_dataset,
    "evaluate": _evaluate,
    "judge-fused": _judge_fused,
    "compare": _compare,
    "run": _run,
    "report": _report,
    "align": _align,
    "scribble": _scribble,
    "export": _export,
    "import": _import,
    "submit": submit_answer,
    "demo": _demo,
    "info": _info,
}
