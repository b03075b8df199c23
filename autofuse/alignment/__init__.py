"""How far the modalities of a patient lie apart, and what brings them together: measured, registered, resampled."""

from autofuse.alignment.types import Rigid

__all__ = ["Rigid"]
