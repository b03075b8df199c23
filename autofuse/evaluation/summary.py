"""Scores summed up over cases: mean, median, spread and the interval of the mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from autofuse.dataset.types import Labels
from autofuse.evaluation.lesions import detection_f1
from autofuse.evaluation.resampling import bounds, by_subject, resampled_means, sums_and_counts
from autofuse.evaluation.scoring import Scoring
from autofuse.evaluation.types import (
    LESION_METRICS,
    METRICS,
    CaseScore,
    ClassScore,
    ClassSummary,
    Detection,
    Failure,
    ModalitySummary,
    Scores,
    Statistic,
)

BOOTSTRAP_SAMPLES = 2000
BOOTSTRAP_SEED = 12345

Numbers = Mapping[str, float | None]
"""A number per case id, None where it is not defined."""


def summarise(
    cases: Sequence[CaseScore],
    labels: Labels,
    *,
    scoring: Scoring | None = None,
    subjects: Mapping[str, str] | None = None,
    failed: Sequence[Failure] = (),
) -> Scores:
    """The scores of ``cases`` with their summary; the same cases give the same value, byte for byte.

    Args:
        scoring: what they were scored by; None for the labels' own classes.
        subjects: case id -> subject; a case that is not in it is a subject of its own.
    """
    rules, persons = scoring or Scoring(), subjects or {}
    ordered = tuple(sorted(cases, key=lambda item: item.case))
    metrics = METRICS + (LESION_METRICS if rules.lesions is not None else ())
    scored = rules.classes(labels)
    classes = tuple(
        _class_summary(item.name, {case.case: case.classes[index] for case in ordered}, metrics, persons)
        for index, item in enumerate(scored)
    )
    return Scores(
        labels_digest=labels.digest(),
        regions=rules.regions,
        tolerance_mm={item.name: rules.tolerance_of(item.name) for item in scored},
        lesions=rules.lesions,
        cases=ordered,
        classes=classes,
        overall=statistic({case.case: case.mean_dice for case in ordered}, persons),
        mean_dice=_mean_dice(classes),
        failed=tuple(sorted(failed, key=lambda item: item.case)),
        subjects=len({persons.get(case.case, case.case) for case in ordered}),
        bootstrap_seed=BOOTSTRAP_SEED,
        bootstrap_samples=BOOTSTRAP_SAMPLES,
        modalities=_modalities(ordered, labels, rules, persons),
    )


def _mean_dice(classes: Sequence[ClassSummary]) -> float | None:
    """Mean over the classes whose Dice is defined anywhere."""
    means = [item.statistics["dice"].mean for item in classes]
    defined = [mean for mean in means if mean is not None]
    return sum(defined) / len(defined) if defined else None


def _modalities(
    cases: Sequence[CaseScore], labels: Labels, rules: Scoring, subjects: Mapping[str, str]
) -> tuple[ModalitySummary, ...]:
    """Each modality alone, where masks name theirs; in the order of their masks' names."""
    summaries = []
    for name in dict.fromkeys(case.modality for case in sorted(cases, key=_channel) if case.modality):
        own = {case.case: case for case in cases if case.modality == name}
        classes = [
            _class_summary(item.name, {case: score.classes[k] for case, score in own.items()}, ("dice",), subjects)
            for k, item in enumerate(rules.classes(labels))
        ]
        overall = statistic({case: score.mean_dice for case, score in own.items()}, subjects)
        summaries.append(ModalitySummary(name=name, masks=len(own), overall=overall, mean_dice=_mean_dice(classes)))
    return tuple(summaries)


def _channel(case: CaseScore) -> str:
    return case.case[-4:]


def statistic(numbers: Numbers, subjects: Mapping[str, str]) -> Statistic:
    """Mean, median, sample standard deviation of the numbers that are defined, and the interval of the mean.

    The interval is the percentile bootstrap's, over subjects, seeded; there is none for a single subject.
    """
    defined = {case: number for case, number in numbers.items() if number is not None}
    if not defined:
        return Statistic(n=0)
    values = np.array([defined[case] for case in sorted(defined)], dtype=np.float64)
    groups = by_subject(defined, subjects)
    low, high = None, None
    if len(groups) > 1:
        sums, counts = sums_and_counts(list(groups.values()))
        low, high = bounds(resampled_means(sums, counts, BOOTSTRAP_SAMPLES, BOOTSTRAP_SEED))
    return Statistic(
        n=int(values.size),
        mean=float(values.mean()),
        median=float(np.median(values)),
        std=float(values.std(ddof=1)) if values.size > 1 else None,
        low=low,
        high=high,
    )


def _class_summary(
    name: str, rows: Mapping[str, ClassScore], metrics: Sequence[str], subjects: Mapping[str, str]
) -> ClassSummary:
    status = [row.status for row in rows.values()]
    return ClassSummary(
        name=name,
        n_cases=len(rows),
        n_empty=status.count("absent"),
        n_missed=status.count("missed"),
        n_false_positive=status.count("false_positive"),
        statistics={
            metric: statistic({case: getattr(row, metric) for case, row in rows.items()}, subjects)
            for metric in metrics
        },
        detection=_detection(list(rows.values())) if "lesion_f1" in metrics else None,
    )


def _detection(rows: Sequence[ClassScore]) -> Detection:
    tp, fn, fp = (sum(getattr(row, name) or 0 for row in rows) for name in ("lesion_tp", "lesion_fn", "lesion_fp"))
    return Detection(tp=tp, fn=fn, fp=fp, f1=detection_f1(tp, fp, fn))
