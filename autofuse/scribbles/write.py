"""A scribbled copy on disk: case by case, resumable, and only then given the dataset.json that makes it a data set."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import ClassVar

from autofuse.dataset.copying import CopiedCase, copied_cases, small_files, source_description
from autofuse.dataset.description import FILE as DESCRIPTION
from autofuse.dataset.label_declaration import MAX_RAW_VALUE
from autofuse.dataset.types import Dataset, Labels
from autofuse.foundation.console import log, say
from autofuse.foundation.errors import AutofuseError, DataError, ModelError, ResourceError, UsageError
from autofuse.foundation.files import crc32_of_file, sweep_temps, write_bytes
from autofuse.foundation.values import StoredValue, short_hash
from autofuse.foundation.workers import Outcome, run_units
from autofuse.scribbles.one_case import Copying, copy_case, record_of
from autofuse.scribbles.options import ScribbleOptions
from autofuse.scribbles.types import CaseScribbles, Scribbles, totals

RECORD = "scribbles.json"
AT_WORK = ".scribbling"
"""Folder in an unfinished copy: its recipe, and what each finished case got."""
_RECIPE = "recipe.json"
_OWN = (".lock", AT_WORK)
_LISTED = 10


class Recipe(StoredValue):
    """What an unfinished copy is to be made with."""

    kind: ClassVar[str] = "scribble recipe"

    options: ScribbleOptions


def refuse_other_content(dataset: Dataset, folder: Path, options: ScribbleOptions) -> None:
    """Nothing, if the copy may be made in (or goes on in) ``folder``; nothing is written.

    Raises:
        UsageError: if the options make no sense, the folder lies in the data set or holds it, or it holds something
            else than a copy with these options.
    """
    options.check()
    out, root = folder.resolve(), Path(dataset.root).resolve()
    if out == root or root in out.parents or out in root.parents:
        raise UsageError(
            "The scribbled copy would lie in the data set, or the data set in it.",
            file=folder,
            expected="a folder beside it",
            remedy="Name another folder with --out; a data set is never written to.",
        )
    if not folder.exists() or (folder.is_dir() and not _content(folder)):
        return
    before = _options_of(folder) if folder.is_dir() else None
    if before is None:
        raise _refusal("The folder for the scribbled copy holds something else.", folder)
    if before != options:
        there, asked = asdict(before), asdict(options)
        other = [name for name in asked if asked[name] != there[name]]
        raise _refusal(
            "The folder holds a scribbled copy with other options.",
            folder,
            found=", ".join(f"{name} {there[name]}" for name in other),
            expected=", ".join(f"{name} {asked[name]}" for name in other),
        )


def write_scribbled(
    dataset: Dataset, folder: Path, options: ScribbleOptions, *, workers: int | None = None
) -> Scribbles:
    """What was drawn; ``folder`` then holds the scribbled copy of ``dataset``, in nnU-Net's raw layout.

    A copy that is finished already is left as it is, an unfinished one is gone on with.

    Args:
        workers: processes; None decides by itself, 0 works in this one.

    Raises:
        UsageError: as ``refuse_other_content``, or if files of the copy were changed, or the source since it was made.
        DataError: naming all cases that cannot be used; the others are kept.
    """
    refuse_other_content(dataset, folder, options)
    cases = copied_cases(dataset, all_truths=True)
    sources = {copied.targets: _source_hash(dataset, copied) for copied in cases}
    whole = short_hash([_said(dataset), list(sources.values())])
    finished = _finished(folder)
    if finished is not None and finished.source != whole:
        problem = "The folder holds a scribbled copy of another data set, or of this one before it changed."
        raise _refusal(problem, folder, f"a copy of {finished.dataset}", f"a copy of {dataset.name} as it is now")
    _sweep(folder, cases)
    kept = _kept(folder, cases, sources, finished)
    missing = [copied for copied in cases if copied.targets not in kept]
    if finished is not None and not missing and (folder / DESCRIPTION).exists():
        shutil.rmtree(folder / AT_WORK, ignore_errors=True)
        say(f"This data set was scribbled before; {folder / RECORD} holds how.")
        return finished
    Recipe(options=options).save(folder / AT_WORK / _RECIPE)
    alone = dataset.model_copy(update={"cases": (), "test_cases": ()})
    shared = Copying(alone, folder, folder / AT_WORK, with_ignore(dataset.labels), options)
    outcomes = run_units(
        partial(copy_case, shared=shared),
        [(copied.case.id, (copied, sources[copied.targets])) for copied in missing],
        label="Drawing scribbles",
        workers=workers,
    )
    _raise_problems(outcomes)
    drawn = [made for made in (*kept.values(), *(outcome.value for outcome in outcomes)) if made is not None]
    return _finish(dataset, shared, drawn, whole)


def _finish(dataset: Dataset, shared: Copying, drawn: Sequence[CaseScribbles], source: str) -> Scribbles:
    ordered = tuple(sorted(drawn, key=lambda case: case.id))
    made = Scribbles(
        dataset=dataset.name,
        source=source,
        options=shared.options,
        cases=ordered,
        unlabelled=tuple(case.id for case in dataset.cases if case.label is None),
        totals=totals(ordered),
    )
    made.save(shared.folder / RECORD)
    for name, content in small_files(dataset, shared.labels).items():
        write_bytes(shared.folder / name, content)
    shutil.rmtree(shared.records, ignore_errors=True)
    return made


def with_ignore(labels: Labels) -> Labels:
    """The same labels with an ignore value: their own, or the next one, which nnU-Net wants to be the highest."""
    if labels.ignore is not None:
        return labels
    free = max(labels.raw_values) + 1
    if free > MAX_RAW_VALUE:
        free = max(set(range(1, MAX_RAW_VALUE)) - set(labels.raw_values))
    return labels.model_copy(update={"ignore": free})


def _said(dataset: Dataset) -> object:
    """Everything that the copy takes over from the source's description, wherever that lies."""
    description = source_description(dataset)
    plain = dataset.model_copy(update={"cases": (), "test_cases": (), "root": "", "name": ""})
    return [plain.model_dump(mode="json"), description.content if description else None]


def _source_hash(dataset: Dataset, copied: CopiedCase) -> str:
    """Hash of a case's description, of its labels' contents and of its images' sizes."""
    case = copied.case
    labels = dict.fromkeys(path for path in (case.label, case.evaluation_label) if path is not None)
    images = dict.fromkeys(image.path for image in case.images if image is not None)
    try:
        contents = [crc32_of_file(dataset.path(path)) for path in labels]
        sizes = [dataset.path(path).stat().st_size for path in images]
    except OSError as error:
        raise DataError(
            "A file of this case cannot be read.",
            case=case.id,
            file=error.filename,
            found=error.strerror or str(error),
            remedy=f"Put the file back, or take the case out; `autofuse check {dataset.root}` lists all problems.",
        ) from None
    return short_hash([case.model_dump(mode="json"), dataset.labels.model_dump(mode="json"), contents, sizes])


def _content(folder: Path) -> list[str]:
    """What lies in the folder, but for what a process at work leaves there."""
    return [path.name for path in folder.iterdir() if path.name != ".lock" and not path.name.startswith(".tmp-")]


def _options_of(folder: Path) -> ScribbleOptions | None:
    """The options of the finished or unfinished copy in ``folder``; None if it holds none."""
    try:
        if (folder / RECORD).exists():
            return Scribbles.load(folder / RECORD).options
        return Recipe.load(folder / AT_WORK / _RECIPE).options
    except ModelError:
        return None


def _finished(folder: Path) -> Scribbles | None:
    if (folder / AT_WORK).exists() and not (folder / DESCRIPTION).exists():
        return None
    return Scribbles.load(folder / RECORD) if (folder / RECORD).exists() else None


def _sweep(folder: Path, cases: Sequence[CopiedCase]) -> None:
    """Remove what killed writers left; whatever else is no file of the copy is named.

    Raises:
        UsageError: naming such files: they would become cases of the copy.
    """
    wanted = {target for copied in cases for target in copied.targets}
    sweep_temps(folder)
    strangers = []
    for place in sorted({Path(target).parts[0] for target in wanted}):
        sweep_temps(folder / place)
        there = sorted((folder / place).iterdir()) if (folder / place).is_dir() else []
        strangers += [f"{place}/{path.name}" for path in there if f"{place}/{path.name}" not in wanted]
    strangers = [name for name in strangers if not Path(name).name.startswith(".")]
    if strangers:
        raise _refusal(
            "The folder for the scribbled copy holds files of cases that the data set does not have.",
            folder,
            ", ".join(strangers[:_LISTED]),
        )


def _kept(
    folder: Path, cases: Sequence[CopiedCase], sources: Mapping[tuple[str, ...], str], finished: Scribbles | None
) -> dict[tuple[str, ...], CaseScribbles | None]:
    """Per case (by its files) that needs no more work what was drawn, or None for one without a label.

    Raises:
        UsageError: if somebody changed what was drawn: that is never written over.
    """
    known = {} if finished is None else {case.id: case for case in finished.cases}
    kept: dict[tuple[str, ...], CaseScribbles | None] = {}
    for copied in cases:
        there = all((folder / target).is_file() for target in copied.targets)
        if copied.label is None:
            if there and finished is not None:
                kept[copied.targets] = None
            continue
        made = known.get(copied.case.id) or _recorded(folder, copied.case.id)
        if made is None or made.source != sources[copied.targets] or not (folder / copied.label).is_file():
            continue
        if crc32_of_file(folder / copied.label) != made.crc32:
            raise _refusal("A scribbled label was changed after it was drawn.", folder / copied.label)
        if there:
            kept[copied.targets] = made
    return kept


def _recorded(folder: Path, case: str) -> CaseScribbles | None:
    try:
        return CaseScribbles.load(record_of(folder / AT_WORK, case))
    except ModelError:
        return None


def _refusal(problem: str, file: Path, found: str | None = None, expected: str | None = None) -> UsageError:
    return UsageError(
        problem,
        file=file,
        found=found,
        expected=expected or "no folder, an empty one, or one that the same command began",
        remedy="Name another folder with --out, or remove this one.",
    )


def _raise_problems(outcomes: Sequence[Outcome[CaseScribbles | None]]) -> None:
    """Raise one error for all cases that failed.

    Raises:
        DataError: or a ResourceError, where nothing but resources were short.
    """
    failed = [outcome.error for outcome in outcomes if outcome.error is not None]
    if not failed:
        return
    if len(failed) == 1 and isinstance(failed[0], DataError | ResourceError):
        raise failed[0]
    for error in failed:
        log().error("%s", error)
    kind: type[AutofuseError] = ResourceError if all(isinstance(e, ResourceError) for e in failed) else DataError
    more = [f"and {len(failed) - _LISTED} more"] if len(failed) > _LISTED else []
    raise kind(
        f"{len(failed)} cases could not be scribbled; the others are kept.",
        case=", ".join(error.case or "?" for error in failed),
        found="\n    ".join([f"{error.case}: {error.problem}" for error in failed[:_LISTED]] + more),
        remedy="Repair these cases, then run the same command again; `autofuse check` lists all problems.",
    )
