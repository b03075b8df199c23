"""What the cases say together: intensities per modality, sizes per class, the modality that carries the masks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import fmean, median

from autofuse.dataset.types import Labels
from autofuse.fingerprint.case import CaseRecord
from autofuse.fingerprint.sketch import pooled_mean_std, pooled_percentile
from autofuse.fingerprint.types import CaseFacts, ClassFacts, IntensityFacts

_NOTHING = IntensityFacts(
    voxels=0, mean=0.0, std=0.0, minimum=0.0, percentile_00_5=0.0, median=0.0, percentile_99_5=0.0, maximum=0.0
)
_MM3_PER_ML = 1000.0


def pool_intensities(records: Sequence[CaseRecord], modality: int) -> IntensityFacts:
    """Intensities of one modality inside labelled foreground; of its non-zero voxels where no case has foreground;
    all 0 where no case has the modality."""
    sketches = [found for record in records if (found := record.foreground[modality]) is not None]
    if not sketches:
        sketches = [found for record in records if (found := record.nonzero[modality]) is not None]
    if not sketches:
        return _NOTHING
    mean, std = pooled_mean_std(sketches)
    return IntensityFacts(
        voxels=sum(item.voxels for item in sketches),
        mean=mean,
        std=std,
        minimum=min(item.minimum for item in sketches),
        percentile_00_5=pooled_percentile(sketches, 0.5),
        median=pooled_percentile(sketches, 50.0),
        percentile_99_5=pooled_percentile(sketches, 99.5),
        maximum=max(item.maximum for item in sketches),
        integral=all(item.integral for item in sketches),
    )


def pool_classes(cases: Sequence[CaseFacts], labels: Labels) -> tuple[ClassFacts, ...]:
    """Per class or region, over the labelled cases in which it occurs.

    Sparse labels show less of a class than there is, so sizes come from dense cases where there are any.
    """
    dense = [case for case in cases if case.annotation == "dense"]
    trusted = dense or [case for case in cases if case.annotation == "sparse"]
    return tuple(_class_facts(item.name, index, cases, trusted) for index, item in enumerate(labels.classes))


def pool_reference(cases: Sequence[CaseFacts]) -> int:
    """The channel on whose grid most masks lie, else the one that most cases have; the first of equals."""
    votes = Counter(case.mask_modality for case in cases if case.mask_modality is not None)
    if not votes:
        votes = Counter(channel for case in cases for channel, there in enumerate(case.present) if there)
    return min(votes, key=lambda channel: (-votes[channel], channel), default=0)


def _class_facts(name: str, index: int, cases: Sequence[CaseFacts], trusted: Sequence[CaseFacts]) -> ClassFacts:
    shown = [case for case in trusted if case.class_voxels[index]]
    volumes_ml = [case.class_voxels[index] * math.prod(case.spacing_mm) / _MM3_PER_ML for case in shown]
    shares = [case.class_voxels[index] / math.prod(case.shape) for case in shown]
    return ClassFacts(
        name=name,
        cases=sum(case.class_voxels[index] > 0 for case in cases),
        volume_ml_median=float(median(volumes_ml)) if shown else 0.0,
        components_median=float(median(case.class_components[index] for case in shown)) if shown else 0.0,
        volume_fraction_mean=fmean(shares) if shown else 0.0,
    )
