"""Folders of masks compared: means, paired differences with intervals and tests, ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from autofuse.evaluation.comparable import Metric, Values, comparable_values
from autofuse.evaluation.comparison_types import ComparedFolder, ComparedMean, Comparison, PairedDifference
from autofuse.evaluation.paired import RESAMPLES, SEED, paired_bootstrap
from autofuse.evaluation.ranks import ranking
from autofuse.evaluation.resampling import CONFIDENCE
from autofuse.evaluation.significance import holm, signed_rank
from autofuse.evaluation.summary import statistic
from autofuse.evaluation.types import Failure, Scores
from autofuse.foundation.errors import DataError


def compare_scores(
    dataset: str,
    folders: Mapping[str, Path],
    scores: Sequence[Scores],
    metrics: Sequence[Metric],
    subjects: Mapping[str, str],
) -> tuple[Comparison, list[Values]]:
    """What lies between the folders, and the numbers by case that it was made from.

    Args:
        dataset: its name.
        folders: name -> folder; scores: one each, in their order, by the same rules.
        subjects: case id -> subject; a case that is not in it is a subject of its own.

    Raises:
        DataError: if no case can be compared.
    """
    values = comparable_values(scores, metrics)
    names, cases = list(folders), sorted({case for item in values for case in item.by_case})
    if not cases:
        raise DataError(
            "There is nothing to compare: neither the truth nor any mask has one of the classes.",
            found=", ".join(item.name for item in scores[0].classes),
        )
    scored = {case.case for item in scores for case in item.cases}
    pairs = tuple(_corrected([pair for item in values for pair in _pairs(item, names, subjects)]))
    comparison = Comparison(
        dataset=dataset,
        folders=tuple(
            _folder(name, path, item, scored) for (name, path), item in zip(folders.items(), scores, strict=True)
        ),
        classes=tuple(item.name for item in scores[0].classes),
        metrics=tuple(metric.name for metric in metrics),
        regions=scores[0].regions,
        tolerance_mm=scores[0].tolerance_mm,
        lesions=scores[0].lesions,
        cases=len(cases),
        subjects=len({subjects.get(case, case) for case in cases}),
        left_out=_left_out(scores, scored),
        means=tuple(mean for item in values for mean in _means(item, names, subjects)),
        pairs=pairs,
        ranks=ranking(values, names, subjects, resamples=RESAMPLES, seed=SEED),
        tests=sum(pair.p is not None for pair in pairs),
        confidence=CONFIDENCE,
        resamples=RESAMPLES,
        seed=SEED,
    )
    return comparison, values


def _folder(name: str, path: Path, scores: Scores, scored: set[str]) -> ComparedFolder:
    missing = tuple(item for item in scores.failed if item.case in scored)
    return ComparedFolder(name=name, folder=str(path), scored=len(scores.cases), missing=missing)


def _left_out(scores: Sequence[Scores], scored: set[str]) -> tuple[Failure, ...]:
    failed = {item.case: item for part in scores for item in part.failed if item.case not in scored}
    return tuple(failed[case] for case in sorted(failed))


def _means(values: Values, names: Sequence[str], subjects: Mapping[str, str]) -> Iterator[ComparedMean]:
    for index, name in enumerate(names):
        found = statistic({case: row[index] for case, row in values.by_case.items()}, subjects)
        if found.mean is not None:
            yield ComparedMean(
                name=name,
                class_name=values.class_name,
                metric=values.metric.name,
                cases=found.n,
                mean=found.mean,
                low=found.low,
                high=found.high,
            )


def _pairs(values: Values, names: Sequence[str], subjects: Mapping[str, str]) -> Iterator[PairedDifference]:
    """Every two folders on one class and metric; the earlier one is the first."""
    if not values.by_case:
        return
    for one, other in combinations(range(len(names)), 2):
        differences = {case: row[other] - row[one] for case, row in values.by_case.items()}
        interval = paired_bootstrap(differences, subjects, resamples=RESAMPLES, seed=SEED)
        tested = signed_rank(differences, subjects)
        up, down = (sum(sign * gap > 0 for gap in differences.values()) for sign in (1, -1))
        better, worse = (up, down) if values.metric.higher_is_better else (down, up)
        several = interval.subjects > 1
        yield PairedDifference(
            first=names[one],
            second=names[other],
            class_name=values.class_name,
            metric=values.metric.name,
            cases=interval.cases,
            subjects=interval.subjects,
            first_mean=sum(row[one] for row in values.by_case.values()) / interval.cases,
            second_mean=sum(row[other] for row in values.by_case.values()) / interval.cases,
            difference=interval.difference,
            lower=interval.lower if several else None,
            upper=interval.upper if several else None,
            better=better,
            worse=worse,
            equal=interval.cases - better - worse,
            p=tested.p,
            note=tested.note,
        )


def _corrected(pairs: Sequence[PairedDifference]) -> Iterator[PairedDifference]:
    """The pairs with p-values corrected for how many there are."""
    corrected = iter(holm([pair.p for pair in pairs if pair.p is not None]))
    for pair in pairs:
        yield pair if pair.p is None else pair.model_copy(update={"p_holm": next(corrected)})
