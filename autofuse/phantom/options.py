"""What a phantom data set shall be like."""

from __future__ import annotations

from dataclasses import dataclass

from autofuse.foundation.errors import UsageError

STRUCTURES = ("organ", "vessel", "lesion")
"""What is to be segmented; label values 1, 2, 3."""
SEEN_ORDER = ("organ", "lesion", "vessel")
"""Structures are dealt to modalities in this order, so that two modalities part organ and lesion."""
MODALITY_NAMES = ("T1", "FLAIR", "T2", "PD")
MAX_MODALITIES = 99


@dataclass(frozen=True)
class PhantomOptions:
    """A recipe; equal options give equal files, byte for byte.

    Attributes:
        cases: training cases; test_cases: cases in imagesTs, with labels in labelsTs to score predictions by.
        shape: voxels (z, y, x); spacing_mm: voxel size, same order.
        modalities: images per case; each shows only part of the structures (one alone shows all).
        seed: decides everything that is random.
        shift_mm: length of the random rigid shift of every modality but the first against the truth.
        scribbles: share of each class's voxels that is annotated; 0 for dense labels. Dense truth: labelsTr_dense.
        unlabelled: this many of the training cases have no label (but dense truth).
        missing: probability that a case lacks a modality; each case keeps one, each modality stays in two cases.
        frames: cases per subject, the same anatomy slightly moved (ids phantom_001_frame1 …).
        noise: standard deviation of the noise over the contrast of a structure.
        bias: strength of the smooth multiplicative intensity drift (standard deviation of its logarithm).
        dimensions: 3, or 2 for images of a single slice.
        coarse: voxels of every modality but the first are so many times longer along each axis.
        narrow: the field of view of every modality but the first is this share of the extent along the first axis that
            has more than one voxel, anywhere inside.
        rotated_degrees: every modality but the first is rotated by up to so much, beside ``shift_mm``; in the plane
            for single slices.
        turned: every modality but the first is stored with its axes in another order, the first of them reversed.
        warped_mm: standard deviation along each axis of a smooth random warp of every modality but the first.
        labels_per_modality: each modality has labels of its own, of the anatomy as it lies in that modality.
    """

    cases: int = 12
    test_cases: int = 4
    shape: tuple[int, int, int] = (64, 64, 64)
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    modalities: int = 2
    seed: int = 0
    shift_mm: float = 0.0
    scribbles: float = 0.0
    unlabelled: int = 0
    missing: float = 0.0
    frames: int = 1
    noise: float = 0.25
    bias: float = 0.1
    dimensions: int = 3
    coarse: float = 1.0
    narrow: float = 1.0
    rotated_degrees: float = 0.0
    turned: bool = False
    warped_mm: float = 0.0
    labels_per_modality: bool = False

    @property
    def own_grids(self) -> bool:
        """Whether modalities but the first lie on grids of their own."""
        return self.coarse != 1 or self.narrow != 1 or self.turned

    @property
    def grid(self) -> tuple[int, int, int]:
        """Voxels per axis of the images that are written."""
        return (1, *self.shape[1:]) if self.dimensions == 2 else self.shape

    def channel_names(self) -> tuple[str, ...]:
        """Names of the modalities."""
        extra = tuple(f"M{index}" for index in range(len(MODALITY_NAMES), self.modalities))
        return (*MODALITY_NAMES, *extra)[: self.modalities]

    def seen_in(self, modality: int) -> tuple[str, ...]:
        """The structures that stand out in one modality; all others look like the body around them."""
        kinds = min(self.modalities, len(SEEN_ORDER))
        return tuple(name for index, name in enumerate(SEEN_ORDER) if index % kinds == modality % kinds)

    def check(self) -> None:
        """Nothing, if the recipe can be followed.

        Raises:
            UsageError: naming the option that cannot.
        """
        for good, name, expected in (
            (self.cases >= 1, "cases", "at least 1"),
            (self.test_cases >= 0, "test_cases", "0 or more"),
            (len(self.shape) == 3 and min(self.grid[1:]) >= 16, "shape", "at least 16 voxels along y and x"),
            (self.dimensions == 2 or self.shape[0] >= 5, "shape", "at least 5 slices"),
            (min(self.spacing_mm) > 0, "spacing_mm", "positive"),
            (1 <= self.modalities <= MAX_MODALITIES, "modalities", f"1 to {MAX_MODALITIES}"),
            (0 <= self.shift_mm < min(self._extents()) / 4, "shift_mm", "0 to a quarter of the field of view"),
            (0 <= self.scribbles <= 1, "scribbles", "0 to 1"),
            (0 <= self.unlabelled < self.cases, "unlabelled", "fewer than cases"),
            (0 <= self.missing < 1, "missing", "0 to below 1"),
            (self.frames >= 1, "frames", "at least 1"),
            (self.noise >= 0 and self.bias >= 0, "noise or bias", "0 or more"),
            (self.dimensions in (2, 3), "dimensions", "2 or 3"),
            (1 <= self.coarse <= min(count for count in self.grid if count > 1) / 4, "coarse", "1 to 4 voxels an axis"),
            (0.1 <= self.narrow <= 1, "narrow", "0.1 to 1"),
            (0 <= self.rotated_degrees <= 180, "rotated_degrees", "0 to 180"),
            (0 <= self.warped_mm < min(self._extents()) / 10, "warped_mm", "0 to a tenth of the field of view"),
            (not self.labels_per_modality or self.modalities > 1, "modalities", "2 or more, each with its labels"),
            (not self.labels_per_modality or self.coarse == 1, "coarse", "1 where modalities have labels"),
            (self.seed >= 0, "seed", "0 or more"),
        ):
            if not good:
                raise UsageError(
                    f"A phantom cannot be made with this {name}.",
                    found=str(getattr(self, name, "negative")),
                    expected=expected,
                )

    def _extents(self) -> list[float]:
        return [count * step for count, step in zip(self.grid, self.spacing_mm, strict=True) if count > 1]
