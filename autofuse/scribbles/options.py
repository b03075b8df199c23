"""How a scribbled copy shall be drawn."""

from __future__ import annotations

from dataclasses import dataclass

from autofuse.foundation.errors import UsageError


@dataclass(frozen=True)
class ScribbleOptions:
    """How strokes are drawn; equal options give equal files, byte for byte.

    Attributes:
        every: every n-th slice is drawn on, from a random one on.
        density: share of each stroke's length that is kept, in one piece.
        interior: strokes along the middle of each component; boundary: strokes along its contour, just inside.
        background: strokes for what is no structure, too.
        axis: array axis (0, 1, 2 for z, y, x) across which slices are cut; None for the one with the coarsest spacing.
            An image of a single slice is drawn in its own plane.
        seed: decides everything that is random.
    """

    every: int = 1
    density: float = 0.6
    interior: bool = True
    boundary: bool = True
    background: bool = True
    axis: int | None = None
    seed: int = 0

    def check(self) -> None:
        """Nothing, if strokes can be drawn so.

        Raises:
            UsageError: naming the option that cannot be meant.
        """
        for good, name, expected in (
            (self.every >= 1, "every", "at least 1"),
            (0 < self.density <= 1, "density", "above 0, at most 1"),
            (self.axis in (None, 0, 1, 2), "axis", "0, 1 or 2 (z, y, x), or none"),
            (self.seed >= 0, "seed", "0 or more"),
        ):
            if not good:
                raise UsageError(
                    f"Scribbles cannot be drawn with this {name}.", found=str(getattr(self, name)), expected=expected
                )
        if not (self.interior or self.boundary):
            raise UsageError(
                "Scribbles cannot be drawn with neither interior nor boundary strokes.",
                expected="at least one of the two",
                remedy="Leave out --no-interior or --no-boundary.",
            )
