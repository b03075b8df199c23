"""Folders of masks compared with each other, and pages of scores that people read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autofuse.dataset.types import Dataset
from autofuse.foundation.errors import DataError, UsageError
from autofuse.road.steps import Folder, open_both

if TYPE_CHECKING:
    from autofuse.evaluation.comparable import Values
    from autofuse.evaluation.comparison_types import Comparison
    from autofuse.evaluation.scoring import Scoring
    from autofuse.evaluation.types import Scores

COMPARISON_FILE = "comparison.json"
PAIRS_FILE = "comparison.csv"
CASES_FILE = "comparison_cases.csv"
COMPARISON_PAGE = "comparison.html"
SCORES_PAGE = "scores.html"
COMPARED = "compared"
"""Folder in the workspace's scores with the comparisons."""

_LONGEST_NAME = 80


def compare(
    dataset: Folder,
    folders: Sequence[Folder],
    *,
    workspace: Folder | None = None,
    references: Folder | None = None,
    out: Folder | None = None,
    common: bool = False,
    names: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    scoring: Scoring | None = None,
    workers: int | None = None,
) -> tuple[Comparison, Path]:
    """What lies between folders of masks, and the folder with its tables and its page.

    All are scored on the same cases: those in ``references``, or those of the data set that any folder has a mask of.
    What an interrupted call scored is taken over.

    Args:
        folders: of masks named as in the data set; the first is the baseline.
        references: folder of true masks; None for those of the data set.
        common: only the cases that every folder has a mask of; else a mask that is missing counts as worst.
        names: what to call the folders; None for the ends of their paths.
        metrics: names as in ``autofuse.evaluation.comparable.COMPARABLE``; None for the usual ones.
        scoring: regions, tolerances of NSD, lesions; None for the data set's own classes.

    Raises:
        UsageError: if there are not two different folders, names do not fit them, or something named does not exist.
        DataError: if a folder holds no mask that could be scored.
    """
    from autofuse.evaluation.comparable import chosen_metrics
    from autofuse.evaluation.comparison import compare_scores
    from autofuse.evaluation.folder import evaluate_folder
    from autofuse.evaluation.scoring import Scoring, require_scorable
    from autofuse.foundation.console import say
    from autofuse.road.judging import modalities_of, subjects_of

    rules = scoring or Scoring()
    wanted = chosen_metrics(metrics, lesions=rules.lesions is not None)
    named = named_folders([Path(folder) for folder in folders], names)
    opened, place = open_both(dataset, workspace)
    require_scorable(rules, opened.labels)
    truth = _references(opened, list(named.values()), None if references is None else Path(references), common)
    into = place.scores / COMPARED / _short(list(named)) if out is None else Path(out)
    subjects, scores = subjects_of(opened), []
    for name, folder in named.items():
        say(f"Scoring {name}: {folder}")
        part = into / _as_file_name(name, list(named))
        scores.append(
            evaluate_folder(
                folder,
                truth,
                opened.labels,
                part,
                scoring=rules,
                subjects=subjects,
                keep=True,
                workers=workers,
                modalities=modalities_of(opened),
            )
        )
    comparison, values = compare_scores(opened.name, named, scores, wanted, subjects)
    _write(comparison, values, into)
    return comparison, into


def named_folders(folders: Sequence[Path], names: Sequence[str] | None) -> dict[str, Path]:
    """The folders, absolute, by name: the given ones, or as much of the end of each path as tells them apart.

    Raises:
        UsageError: if there are not two different folders, or not a name of its own for each.
        DataError: if one does not exist.
    """
    absolute = [folder.absolute() for folder in folders]
    if len(absolute) < 2 or len({folder.resolve() for folder in absolute}) < len(absolute):
        raise UsageError(
            "To compare takes two or more different folders of masks.",
            found=", ".join(map(str, folders)) or "none",
            remedy="autofuse compare DATASET FOLDER_A FOLDER_B",
        )
    for folder in absolute:
        if not folder.is_dir():
            raise DataError("This folder of masks does not exist.", file=folder)
    called = list(names) if names is not None else _distinct_ends(absolute)
    if len(called) != len(absolute) or len(set(called)) < len(called) or not all(name.strip() for name in called):
        raise UsageError(
            "Names and folders do not fit: each folder needs a name of its own.",
            found=f"names {', '.join(called)} for {len(absolute)} folders",
        )
    return dict(zip(called, absolute, strict=True))


def write_scores_page(scores: Scores, title: str, folder: Path) -> Path:
    """The page of one folder's scores, in ``folder``; its path."""
    from autofuse.foundation.files import write_bytes
    from autofuse.report.scores_page import scores_page

    path = folder / SCORES_PAGE
    write_bytes(path, scores_page(scores, title).encode())
    return path


def _write(comparison: Comparison, values: Sequence[Values], folder: Path) -> None:
    from autofuse.evaluation.comparison_table import cases_to_csv, pairs_to_csv
    from autofuse.foundation.files import write_bytes
    from autofuse.report.comparison_page import comparison_page

    names = [item.name for item in comparison.folders]
    comparison.save(folder / COMPARISON_FILE)
    write_bytes(folder / PAIRS_FILE, pairs_to_csv(comparison).encode())
    write_bytes(folder / CASES_FILE, cases_to_csv(names, values).encode())
    write_bytes(folder / COMPARISON_PAGE, comparison_page(comparison, values).encode())


def _references(dataset: Dataset, folders: Sequence[Path], references: Path | None, common: bool) -> Mapping[str, Path]:
    """Per case what judges it: all of ``references``, or of the data set's those that any folder has a mask of.

    Where only ``common`` cases are wanted, those of either that all folders have a mask of.
    """
    from autofuse.road.judging import references_in, references_of

    masks = [set(references_in(folder)) for folder in folders]
    there = set.intersection(*masks) if common else set.union(*masks)
    if references is None:
        known = references_of(dataset, (*dataset.cases, *dataset.test_cases))
    else:
        known = references_in(references)
    found = {name: path for name, path in known.items() if name in there or (references is not None and not common)}
    if not found:
        raise DataError(
            "No case whose truth is known has a mask" + (" in every folder." if common else "."),
            file=folders[0],
            found=", ".join(sorted(there)[:5]),
            expected=", ".join(sorted(known)[:5]) or "labelled cases",
            remedy="Name the folder of true masks with -r.",
        )
    return found


def _distinct_ends(folders: Sequence[Path]) -> list[str]:
    """The last parts of each path, as few as tell all of them apart."""
    longest = max(len(folder.parts) for folder in folders)
    for length in range(1, longest + 1):
        ends = ["/".join(folder.parts[-length:]) for folder in folders]
        if len(set(ends)) == len(ends):
            break
    return ends


def _short(names: Sequence[str]) -> str:
    """A folder's name for a comparison of these."""
    from autofuse.foundation.values import short_hash

    text = "-".join(name.replace("/", "_") for name in names)
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}-{short_hash(list(names))}"


def _as_file_name(name: str, names: Sequence[str]) -> str:
    """``name`` as the name of a folder that no other of ``names`` has."""
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
    return f"{list(names).index(name) + 1}-{safe[:_LONGEST_NAME]}"
