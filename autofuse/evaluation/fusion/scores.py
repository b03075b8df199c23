"""Every fusion metric of one image with its sources."""

from __future__ import annotations

from collections.abc import Mapping

from autofuse.evaluation.fusion.ceiling import background_share, doubts
from autofuse.evaluation.fusion.greys import Unit, require_alike
from autofuse.evaluation.fusion.similarity import (
    edge_preservation,
    structural_similarity,
    visual_information_fidelity,
)
from autofuse.evaluation.fusion.statistics import (
    entropy,
    mutual_information,
    spatial_frequency,
    standard_deviation,
    sum_of_correlations_of_differences,
)
from autofuse.evaluation.fusion.types import FusionScore, SourceScore


def score_fused(
    fused: Unit, sources: Mapping[str, Unit], *, slice_axis: int = 0, shared_background: float = 0.0
) -> FusionScore:
    """All fusion metrics of one image.

    Args:
        fused: in [0, 1], (y, x) or (z, y, x).
        sources: by modality, in [0, 1], of the same shape.
        slice_axis: of a volume, the axis across which slices are cut.
        shared_background: share of the voxels in which every source is constant background; bounds the entropy.

    Raises:
        DataError: if shapes differ, voxels are not finite, or there is no source.
    """
    images = list(sources.values())
    require_alike(images)
    require_alike([fused, *images])
    singly = tuple(_with_source(name, fused, image, slice_axis) for name, image in sources.items())
    fidelities = [item.vif for item in singly if item.vif is not None]
    similarities = [item.ssim for item in singly if item.ssim is not None]
    bits, share = entropy(fused), background_share(fused)
    return FusionScore(
        entropy=bits,
        standard_deviation=standard_deviation(fused),
        spatial_frequency=spatial_frequency(fused, slice_axis),
        mutual_information=sum(item.mutual_information for item in singly),
        scd=sum_of_correlations_of_differences(fused, images),
        vif=sum(fidelities) if fidelities else None,
        qabf=edge_preservation(fused, images, slice_axis),
        ssim=sum(similarities) / len(similarities) if similarities else None,
        background_share=share,
        sources=singly,
        doubt=doubts(bits, share, shared_background),
    )


def _with_source(name: str, fused: Unit, source: Unit, slice_axis: int) -> SourceScore:
    return SourceScore(
        source=name,
        mutual_information=mutual_information(fused, source),
        vif=visual_information_fidelity(fused, source, slice_axis),
        ssim=structural_similarity(fused, source, slice_axis),
    )
