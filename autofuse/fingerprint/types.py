"""What was measured on a data set."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar, Literal

from pydantic import Field

from autofuse.foundation.values import StoredValue, Value, is_empty

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


class GridFacts(Value):
    """The grid of one modality in one case.

    Attributes:
        shape, spacing_mm: along its own array axes, slowest first.
        same: whether it is the case's reference grid.
        overlap: share of the reference grid's voxels whose centres lie in this modality's field of view.
    """

    shape: Shape
    spacing_mm: Triple
    same: bool
    overlap: float = Field(ge=0, le=1)


class PairFacts(Value):
    """How far two modalities of one case lie apart, and how much one says about the other.

    Attributes:
        fixed, moving: channels; fixed is the reference modality where the case has it.
        displacement_mm: what is seen at x in ``fixed`` is seen at x + displacement in ``moving``; along the reference
            grid's axes.
        distance_mm: its length.
        agreement: normalised mutual information there, 1 (independent) to 2; agreement_unmoved: without moving.
        resolution_mm: voxel that was measured at; smaller distances mean nothing.
        reliable: whether the best place stands out from the others enough to be believed.
    """

    fixed: int
    moving: int
    displacement_mm: Triple
    distance_mm: float = Field(ge=0)
    agreement: float
    agreement_unmoved: float
    resolution_mm: float = Field(gt=0)
    reliable: bool = True


class RegistrationFacts(Value):
    """A trial on one case: whether a rigid transform removes the displacement of two modalities.

    Attributes:
        case, fixed, moving: what was registered.
        before_mm, after_mm: displacement measured without and with the transform.
        rotation_degrees, shift_mm: how large the transform is.
    """

    case: str
    fixed: int
    moving: int
    before_mm: float
    after_mm: float
    rotation_degrees: float
    shift_mm: float


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
        grids: per modality its own grid, or None where absent; () where nothing was recorded (all as the reference).
        mask_modality: channel on whose grid the mask lies; None without a mask.
        pairs: every pair that was compared, the reference modality with each other one.
        class_component_ml: per class (smallest, median, largest) connected component; zeros where it is absent.
        class_cover: per class of a sparse label, labelled voxels over those of the boxes that enclose them slice by
            slice: near 1 for filled outlines, small for strokes; 0 where it is absent or the label is dense.
        stroke_reach_mm: how far the structures of a sparse label reach beyond their strokes at most; None where there
            are no strokes of structures and of the background.
        stroke_gap_mm: how far the loneliest piece of their strokes lies from the next; None where the reach is.
        source_digest: hash of the names and contents of the files that were read; equal for a copy of them.
        modality_annotations: where modalities carry masks of their own, how each is annotated, "none" where it has no
            mask; () otherwise. Each class is then as the first mask shows it that has it, the reference modality's
            before all others, in voxels of the reference grid, and ``annotation`` is that of the masks that are there.
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
    grids: tuple[GridFacts | None, ...] = ()
    mask_modality: int | None = None
    pairs: tuple[PairFacts, ...] = ()
    class_component_ml: tuple[Triple, ...] = ()
    class_cover: tuple[float, ...] = ()
    stroke_reach_mm: float | None = None
    stroke_gap_mm: float | None = None
    modality_annotations: tuple[Annotation, ...] = Field(default=(), exclude_if=is_empty)

    def overlap(self, modality: int) -> float:
        """Share of the reference field of view that a modality covers: 0 where absent, 1 where nothing says else."""
        if not self.present[modality]:
            return 0.0
        grid = self.grids[modality] if self.grids else None
        return 1.0 if grid is None else grid.overlap


class Fingerprint(StoredValue):
    """A data set, measured: what the planner reads, and nothing else.

    Attributes:
        dataset: name; dataset_digest: hash of the description (root excluded).
        modalities: names; optional: per modality, whether the data set marks it as optional.
        outputs: names of classes or regions; has_regions, has_ignore as the labels say.
        intensities: per modality.
        classes: per class or region.
        cases: per case, by id; their quantiles are pooled into ``intensities`` and left out here.
        reference: channel whose grid masks lie on and are written on: named by the data set, else that of most masks.
        registrations: trials on the cases that lie furthest apart.
        labelled_per_modality: where modalities carry masks of their own, the number of cases in which each has one; ()
            where one mask is for all.
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
    reference: int = 0
    registrations: tuple[RegistrationFacts, ...] = ()
    labelled_per_modality: tuple[int, ...] = Field(default=(), exclude_if=is_empty)

    @property
    def patterns(self) -> tuple[tuple[tuple[bool, ...], int], ...]:
        """Which modalities cases have, the most frequent pattern first, with the number of cases."""
        counts = Counter(case.present for case in self.cases)
        return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

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
