"""What was measured on a data set."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from autofuse.foundation.values import StoredValue, Value

Triple = tuple[float, float, float]
Shape = tuple[int, int, int]
Annotation = Literal["none", "sparse", "dense"]


class IntensityFacts(Value):
    """Intensities of one modality inside labelled foreground (labelled voxels only, never ignored ones).

    Percentiles are of the pooled foreground over cases; ``voxels`` says how many stood behind them. ``integral`` is
    whether all were whole numbers, as HU are. Where no case has foreground, non-zero voxels stand in for it.
    """

    voxels: int
    mean: float
    std: float
    minimum: float
    percentile_00_5: float
    median: float
    percentile_99_5: float
    maximum: float
    integral: bool = False


class ClassFacts(Value):
    """One class or region over all cases: where it occurs and how large it is."""

    name: str
    cases: int
    volume_ml_median: float
    components_median: float
    volume_fraction_mean: float


class CaseFacts(StoredValue):
    """One case, measured.

    Attributes:
        shape, spacing_mm: of the reference grid (array order, slowest first).
        cropped_shape: after cropping to the non-zero part of the present modalities.
        present: per modality, whether this case has it.
        annotation: "none" (no label), "sparse" (some voxels ignored) or "dense".
        labelled_fraction: labelled voxels / all voxels.
        class_voxels: voxels of each class or region, in the labels' order.
        class_components: connected components of each.
        class_centroids_mm: centre of mass of each, from the first voxel along the array axes; None where it is absent.
        quantiles: per modality, quantiles of foreground intensities at CaseFacts.QUANTILES evenly spaced levels; empty
            where the modality is absent or there is no foreground.
        moments: per modality (voxels, mean, standard deviation) of the same voxels.
        minmax: per modality (minimum, maximum) over the whole image, or None where absent.
        crop_fraction: cropped volume / whole volume.
        source_digest: hash of the names and contents of the files that were read; equal for a copy of them.
    """

    kind: ClassVar[str] = "case_facts"
    QUANTILES: ClassVar[int] = 401

    id: str
    subject: str
    shape: Shape
    spacing_mm: Triple
    cropped_shape: Shape
    crop_fraction: float
    present: tuple[bool, ...]
    annotation: Annotation
    labelled_fraction: float
    class_voxels: tuple[int, ...]
    class_components: tuple[int, ...]
    class_centroids_mm: tuple[Triple | None, ...]
    quantiles: tuple[tuple[float, ...], ...]
    moments: tuple[tuple[int, float, float] | None, ...]
    minmax: tuple[tuple[float, float] | None, ...]
    source_digest: str


class Fingerprint(StoredValue):
    """A data set, measured: what the planner reads, and nothing else.

    Attributes:
        dataset: name; dataset_digest: hash of the description (root excluded).
        modalities: names; optional: per modality, whether the data set marks it as optional.
        outputs: names of classes or regions; has_regions, has_ignore as the labels say.
        intensities: per modality.
        classes: per class or region.
        cases: per case, by id; their quantiles are pooled into ``intensities`` and left out here.
    """

    kind: ClassVar[str] = "fingerprint"

    dataset: str
    dataset_digest: str
    modalities: tuple[str, ...] = Field(min_length=1)
    optional: tuple[bool, ...]
    class_names: tuple[str, ...]
    has_regions: bool
    has_ignore: bool
    intensities: tuple[IntensityFacts, ...]
    classes: tuple[ClassFacts, ...]
    cases: tuple[CaseFacts, ...] = Field(min_length=1)

    @property
    def missing_rates(self) -> tuple[float, ...]:
        """Per modality, the share of cases that lack it."""
        count = len(self.cases)
        return tuple(
            sum(not case.present[index] for case in self.cases) / count for index in range(len(self.modalities))
        )

    @property
    def slices_only(self) -> bool:
        """Whether every case is a single 2D slice."""
        return all(min(case.shape) == 1 for case in self.cases)
