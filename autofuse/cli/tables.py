"""Results as tables for people."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.text import Text

    from autofuse.evaluation.comparison_types import Comparison
    from autofuse.plan.types import Plan
    from autofuse.road import (
        AlignedImage,
        Alignment,
        Exported,
        ExportedOnnx,
        FusedDataset,
        FusedImages,
        Imported,
        Inventory,
        Predicted,
        RunReport,
        Submitted,
        TrainedFold,
        WrittenPage,
    )
    from autofuse.scribbles.types import Scribbles

WORST_SHOWN = 8
"""Cases listed, worst first."""


def _facts(rows: Mapping[str, str]) -> Text:
    """Names and values, one pair a line; a long path is never broken, so that it can be copied."""
    from rich.text import Text

    width = max(map(len, rows), default=0) + 2
    text = Text(no_wrap=True, overflow="ignore")
    for number, (name, value) in enumerate(rows.items()):
        text.append(("\n" if number else "") + name.ljust(width), style="bold").append(value)
    return text


def where(paths: Mapping[str, str]) -> Text:
    """Names and paths, one a line."""
    return _facts(paths)


def plan(decided: Plan) -> Group:
    """The plan in short; `autofuse explain` has the reasons."""
    from rich.console import Group

    from autofuse.plan.explain import configuration_table

    budget = decided.budget
    chosen = decided.named(decided.configuration)
    time = "default length" if budget.minutes is None else f"{budget.minutes:g} minutes a fold"
    facts = _facts(
        {
            "planner": decided.planner,
            "for": f"{budget.memory_gib:.1f} GiB, {time}, {budget.device}, {budget.precision}",
            "trainer": decided.trainer.name,
            "configuration": chosen.name,
            "steps": str(decided.steps),
        }
    )
    return Group(facts, configuration_table(decided).to_rich())


def trained(fold: TrainedFold) -> RenderableType:
    """How the training of a fold ended."""
    assert fold.finished is not None
    dice = fold.finished.dice
    return _facts(
        {
            "run": f"{fold.run}, fold {fold.fold}",
            "steps": f"{fold.finished.steps} in {fold.finished.seconds / 60:.1f} minutes",
            "Dice": "–" if dice is None else f"{dice:.3f} (last validation, prepared grid)",  # noqa: RUF001
            "folder": str(fold.folder),
        }
    )


def predicted(masks: Predicted) -> RenderableType:
    """Where the masks are, which cases have none, and which were predicted from less than all modalities."""
    rows = {
        "run": f"{masks.members or masks.run}, folds {', '.join(map(str, masks.folds))}",
        "masks": f"{len(masks.masks or masks.cases)} in {masks.folder}",
    }
    rows |= {"fused images": masks.fused} if masks.fused else {}
    rows |= {} if masks.volumes is None else {"volumes": masks.volumes}
    rows |= {item.case: item.words for item in masks.incomplete}
    rows |= {f"failed: {item.case}": item.problem for item in masks.failed}
    return _facts(rows)


def compared(comparison: Comparison, folder: Path) -> RenderableType:
    """Which masks counted as worst, and where the rest is."""
    rows = {}
    for item in comparison.folders:
        for case in item.missing[:WORST_SHOWN]:
            rows[f"worst: {item.name}, {case.case}"] = case.problem.splitlines()[0]
        if len(item.missing) > WORST_SHOWN:
            rows[f"worst: {item.name}"] = f"{len(item.missing) - WORST_SHOWN} more cases"
    rows |= {f"left out: {case.case}": case.problem.splitlines()[0] for case in comparison.left_out[:WORST_SHOWN]}
    return _facts(rows | {"comparison": str(folder), "page": str(folder / "comparison.html")})


def fused(made: FusedImages) -> RenderableType:
    """Where the fused images are, and which cases have none."""
    rows = {
        "run": f"{made.run}, folds {', '.join(map(str, made.folds))}",
        "fused images": f"{len(made.cases)} in {made.folder}",
    }
    return _facts(rows | {f"failed: {item.case}": item.problem for item in made.failed})


def fused_dataset(made: FusedDataset) -> RenderableType:
    """What the fused data set holds, and what to do with it next."""
    known = sum(not case.unseen for case in made.training)
    what = "the fused image alone" if made.only_fused else f"all modalities of {made.dataset} and the fused image"
    rows = {
        "data set": made.folder,
        "holds": f"{len(made.training)} training and {len(made.test)} test cases: {what}",
        "fused by": made.run,
        "record": str(Path(made.folder) / "fused.json"),
    }
    if known:
        rows["not held out"] = f"{known} training cases were fused by models that had learned from them"
    return _facts(rows | {"next": f"autofuse run {shlex.quote(made.folder)} --minutes 60"})


def report(ended: RunReport, folder: Path, written: Path) -> Group:
    """The scores of a whole run, and where everything is; ``written`` is the page on all of it, if there is one."""
    from rich.console import Group

    from autofuse.evaluation.table import summary_table
    from autofuse.evaluation.types import Scores

    parts: list[RenderableType] = []
    for title, place in (("Held-out cases", ended.held_out_scores), ("Test cases", ended.test_scores)):
        if place is not None:
            parts += [f"[bold]{title}[/bold]", summary_table(Scores.load(folder / place / "scores.json"))]
    rows = {"run": f"{ended.run}, folds {', '.join(str(fold.fold) for fold in ended.folds)}"}
    rows |= {f"also trained, {item.trainer}": f"{item.run}, {_dice(item.held_out_dice)}" for item in ended.others}
    rows |= {} if ended.ensemble is None else {"predicts": ended.ensemble}
    if ended.predictions is not None:
        rows["masks"] = f"{ended.predicted_cases} test cases in {folder / ended.predictions}"
    rows |= {item.case: item.words for item in ended.incomplete}
    rows |= {f"failed: {item.case}": item.problem for item in ended.failed}
    rows |= {f"picture, {Path(path).stem.removeprefix(ended.run + '-')}": str(folder / path) for path in ended.pictures}
    rows |= {"report": str(written)} if written.exists() else {}
    rows |= {"workspace": str(folder), "took": f"{ended.minutes:.1f} minutes"}
    return Group(*parts, _facts(rows))


def _dice(held_out: float | None) -> str:
    return "nothing held out" if held_out is None else f"Dice {held_out:.3f} on held-out cases"


def page(made: WrittenPage) -> Text:
    """Where the report is, and what is not in it."""
    rows = {"report": made.path, "size": f"{made.size_bytes / 2**20:.1f} MiB", "sections": ", ".join(made.sections)}
    return _facts(rows | {f"left out {number}": why for number, why in enumerate(made.left_out, start=1)})


def alignment(made: Alignment, folder: Path) -> Group:
    """How far every image lay from the reference, and lies now."""
    from rich.console import Group
    from rich.table import Table

    table = Table(title=f"On the grid of {made.reference}", title_justify="left")
    for column in ("image", "apart before", "apart now", "moved by", "turned by", "sees"):
        table.add_column(column, justify="left" if column == "image" else "right")
    for image in made.images:
        if image.name != made.reference:
            table.add_row(image.name, *_moved(image))
    rows = {"images": str(folder), "transforms": str(folder / "alignment.json"), "picture": str(folder / made.picture)}
    rows |= {f"failed: {image.name}": image.problem or "" for image in made.failed}
    return Group(table, _facts(rows))


def _moved(image: AlignedImage) -> tuple[str, ...]:
    """Distances before and now, size of the transform, share of the reference that is seen."""
    finest = image.resolution_mm or 0.0
    distances = (
        "?" if value is None else f"under {finest:.1f} mm" if value < finest else f"{value:.1f} mm"
        for value in (image.before_mm, image.after_mm)
    )
    before, after = (f"{text}{'' if image.certain else ' ?'}" for text in distances)
    if image.rigid is None:
        return before, after, "not", "not", f"{image.cover:.0%}"
    length = sum(part * part for part in image.rigid.shift_mm) ** 0.5
    return before, after, f"{length:.1f} mm", f"{image.rigid.degrees:.1f}°", f"{image.cover:.0%}"


def scribbles(made: Scribbles, folder: Path) -> Group:
    """How much of each class was drawn, and what to do with it next."""
    from rich.console import Group
    from rich.table import Table

    table = Table(title=f"Scribbles for {len(made.cases)} cases", title_justify="left")
    slices = sum(case.slices for case in made.cases)
    for column in ("class", "cases", "share of its voxels (median)", "voxels", f"drawn on of {slices:,} slices"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for item in made.totals:
        share = "-" if item.median_share is None else f"{item.median_share:.2%}"
        table.add_row(item.name, str(item.cases), share, f"{item.scribbled_voxels:,}", f"{item.slices:,}")
    rows = {"data set": str(folder), "record": str(folder / "scribbles.json"), "picture": str(folder / "scribbles.png")}
    if made.unlabelled:
        rows["unlabelled"] = f"{len(made.unlabelled)} cases, as in {made.dataset}"
    rows["next"] = f"autofuse run {shlex.quote(str(folder))} --minutes 60"
    return Group(table, _facts(rows))


def _model(made: Exported | ExportedOnnx | Imported) -> dict[str, str]:
    """Name and run; of an ensemble also its members, their weights and what is done to their mean."""
    rows = {"model": f"{made.name}: {made.run}, folds {', '.join(map(str, made.folds))}"}
    return rows | ({"members": made.members} if made.members else {})


def exported(made: Exported) -> RenderableType:
    """Where the bundle is, what is in it, and how it is checked."""
    scored = (
        f"of {made.scored_cases} held-out cases" if made.scored_cases else "none yet: `autofuse evaluate` makes them"
    )
    return _facts(
        {
            **_model(made),
            "scores": scored,
            "bundle": made.file,
            "size": f"{made.bytes / 1e6:.1f} MB, {made.entries} entries",
            "SHA-256": made.sha256,
        }
    )


def exported_onnx(made: ExportedOnnx) -> RenderableType:
    """Where the networks are, and how they compare with torch."""
    return _facts(
        {
            **_model(made),
            "compared": f"probabilities differ by at most {made.largest_difference:.1e} on {made.compared} tiles",
            "folder": made.folder,
            "files": ", ".join(made.files),
        }
    )


def imported(made: Imported, workspace: str | None) -> RenderableType:
    """What the model sees and finds, where it is, and how it is used."""
    where_to = "" if workspace is None else f" --workspace {shlex.quote(str(workspace))}"
    return _facts(
        {
            **_model(made),
            "made with": f"autofuse {made.made_with}",
            "sees": ", ".join(made.modalities),
            "finds": ", ".join(made.classes),
            "licence": made.licence or "not stated",
            "folder": made.folder + ("" if made.fresh else " (was there before)"),
            "card": str(Path(made.folder) / "README.md"),
            "next": f"autofuse predict {made.name} -i FOLDER -o MASKS{where_to}",
        }
    )


def submitted(made: Submitted) -> RenderableType:
    """Where the submission is, what is in it, and how a container's rehearsal went."""
    rows = {"target": made.target, "model": made.model, "submission": made.place}
    rows["holds"] = f"{len(made.cases)} masks" if made.cases else f"{len(made.files)} files"
    rehearsal = made.rehearsal
    if rehearsal is None:
        return _facts(rows)
    rows |= {f"rehearsed{' ' * number}": fact for number, fact in enumerate(rehearsal.facts)}
    rows["limits"] = f"{rehearsal.limit_minutes:g} minutes, {rehearsal.limit_memory_gib:.1f} GiB"
    for start in rehearsal.starts:
        name = " without ".join((start.case, *start.without))
        rows[name] = f"{start.seconds:.1f} s, {start.peak_memory_gib:.2f} GiB, exit code {start.exit_code}"
        rows |= {f"failed: {name}{' ' * number}": fault for number, fault in enumerate(start.faults)}
    return _facts(rows | {"rehearsal": "passed" if rehearsal.passed else "FAILED"})


def inventory(found: Inventory) -> Group:
    """Versions, machine, plug-ins and workspace."""
    from rich.console import Group

    machine = f"{found.threads} threads, {found.memory_gib:.1f} GiB free, {found.precision} on the CPU"
    rows = {
        "autofuse": f"{found.autofuse}, Python {found.python}, {found.platform}",
        "machine": machine + (f", {found.gpu}" if found.gpu else ", no GPU seen"),
        "disk": f"{found.disk_gib:.1f} GiB free",
        "packages": ", ".join(f"{name} {number}" for name, number in found.packages.items()),
        "planners": ", ".join(f"{name} ({value})" for name, value in found.planners.items()),
        "trainers": ", ".join(f"{name} ({value})" for name, value in found.trainers.items()),
        "submissions": ", ".join(f"{name} ({value})" for name, value in found.submissions.items()),
    }
    parts: list[RenderableType] = [_facts(rows)]
    state = found.workspace
    if state is not None:
        steps = {"measured": state.fingerprint, "planned": state.plan, "split": state.splits}
        kept = {"workspace": state.folder, "done": ", ".join(name for name, done in steps.items() if done) or "nothing"}
        kept |= {"measured": f"{state.measured_cases} cases"}
        kept |= {f"prepared {name}": f"{count} cases" for name, count in state.prepared_cases.items()}
        for run in state.runs:
            ended = "not finished" if run.steps is None else f"finished, {run.steps} steps"
            kept[f"{run.run}, fold {run.fold}"] = ended + ("" if run.dice is None else f", Dice {run.dice:.3f}")
        kept |= {f"masks by {name}": f"{count} cases" for name, count in state.predictions.items()}
        kept |= {"scores": ", ".join(state.scores)} if state.scores else {}
        parts.append(_facts(kept))
    return Group(*parts)
