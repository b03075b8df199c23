"""What the verbs do that use what was trained: predict, fuse, choose, judge, tell, share."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from autofuse import road
from autofuse.cli import given, tables
from autofuse.cli.answers import Answer, answer
from autofuse.foundation.errors import PartialError, UsageError
from autofuse.road.places import workspace_of

if TYPE_CHECKING:
    from autofuse.evaluation.scoring import Scoring


def predict(options: Namespace) -> Answer:
    """Masks."""
    predicted = road.predict(
        options.dataset,
        images=options.images,
        out=options.out,
        run=options.run,
        folds=options.folds,
        probabilities=options.probabilities,
        save_fused=options.save_fused,
        uncertainty=options.uncertainty,
        mirror=options.mirror,
        device=options.device,
        **given.case_work(options),
    )
    code = PartialError.exit_code if predicted.failed else 0
    return answer(predicted, lambda: tables.predicted(predicted), exit_code=code)


def fuse(options: Namespace) -> Answer:
    """Fused images."""
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


def fuse_dataset(options: Namespace) -> Answer:
    """A data set with the fused image as a modality."""
    made = road.fuse_dataset(
        options.dataset,
        options.out,
        run=options.run,
        only_fused=options.only_fused,
        device=options.device,
        **given.case_work(options),
    )
    return answer(made, lambda: tables.fused_dataset(made))


def select(options: Namespace) -> Answer:
    """The ensemble that was chosen."""
    from autofuse.evaluation.selection_table import selection_tables

    chosen = road.select(
        options.dataset,
        runs=options.runs,
        members=options.members,
        mirror=options.mirror,
        device=options.device,
        **given.case_work(options),
    )
    path = str(workspace_of(options.dataset, options.workspace).ensemble)
    return answer(
        chosen,
        lambda: selection_tables(chosen),
        lambda: tables.where({"chosen": chosen.in_words(), "written": path}),
        name=lambda: chosen.name,
        file=lambda: path,
    )


def evaluate(options: Namespace) -> Answer:
    """Scores of masks."""
    from autofuse.evaluation.table import case_table, lesion_table, summary_table

    scores, folder = road.evaluate(
        options.dataset,
        predictions=options.predictions,
        references=options.references,
        out=options.out,
        run=options.run,
        scoring=_scoring(options),
        html=options.html,
        **given.case_work(options),
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


def judge_fused(options: Namespace) -> Answer:
    """Scores of fused images."""
    from autofuse.evaluation.fusion.greys import Window
    from autofuse.evaluation.fusion.table import fusion_table

    scores, folder = road.judge_fused(
        options.dataset,
        options.fused,
        segmenter=options.segmenter,
        windows={name: Window(lower=lower, upper=upper) for name, lower, upper in options.windows},
        out=options.out,
        device=options.device,
        **given.case_work(options),
    )
    return answer(
        scores,
        lambda: fusion_table(scores),
        lambda: tables.where({"scores": str(folder)}),
        exit_code=PartialError.exit_code if scores.failed else 0,
        folder=lambda: str(folder),
    )


def compare(options: Namespace) -> Answer:
    """Folders of masks against each other."""
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
        **given.case_work(options),
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


def report(options: Namespace) -> Answer:
    """The page on a data set."""
    made = road.report(
        options.dataset,
        workspace=options.workspace,
        run=options.run,
        out=options.out,
        anonymous=options.anonymous,
        pictures=options.pictures,
    )
    return answer(made, lambda: tables.page(made))


def export_model(options: Namespace) -> Answer:
    """A bundle, or ONNX networks."""
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


def import_model(options: Namespace) -> Answer:
    """A model that was taken in."""
    made = road.import_model(options.bundle, workspace=options.workspace, name=options.name)
    return answer(made, lambda: tables.imported(made, options.workspace))
