"""What is done to averaged probabilities until they are a mask: thresholds, temperature, steps of post-processing."""

from __future__ import annotations

from pydantic import Field

from autofuse.foundation.values import Value


class StructureSteps(Value):
    """Post-processing of one class or region; by default nothing is done.

    Attributes:
        structure: name of the class or region.
        largest_only: keep its largest connected component only.
        least_mm3: remove components of a smaller volume; 0 removes none.
        fill_holes: give it background (or the region around it) that it encloses.
    """

    structure: str
    largest_only: bool = False
    least_mm3: float = Field(default=0.0, ge=0)
    fill_holes: bool = False

    @property
    def acts(self) -> bool:
        """Whether anything is done."""
        return self.largest_only or self.least_mm3 > 0 or self.fill_holes

    def in_words(self) -> str:
        """Such as "largest component only, holes filled"; "nothing" where nothing is done."""
        parts = ["largest component only"] if self.largest_only else []
        parts += [f"no component under {self.least_mm3:g} mm3"] if self.least_mm3 else []
        parts += ["holes filled"] if self.fill_holes else []
        return ", ".join(parts) or "nothing"


class Recipe(Value):
    """How averaged probabilities become a mask, and how sure they are.

    Attributes:
        thresholds: per region, the probability above which a voxel belongs to it; None for 0.5 (and for classes).
        temperature: log-odds are divided by it before probabilities are handed out; masks do not depend on it.
        steps: of post-processing, in the order in which they are done; structures that are not named stay as they are.
    """

    thresholds: tuple[float, ...] | None = None
    temperature: float = Field(default=1.0, gt=0)
    steps: tuple[StructureSteps, ...] = ()

    @property
    def changes_masks(self) -> bool:
        """Whether masks differ from those of the probabilities alone."""
        return self.thresholds is not None or any(step.acts for step in self.steps)

    def in_words(self) -> str:
        """Such as "liver: largest component only; temperature 1.2"; empty where nothing is done."""
        parts = [f"{step.structure}: {step.in_words()}" for step in self.steps if step.acts]
        if self.thresholds is not None:
            parts.append("thresholds " + ", ".join(f"{value:g}" for value in self.thresholds))
        parts += [f"temperature {self.temperature:g}"] if self.temperature != 1 else []
        return "; ".join(parts)
