"""What this machine can do, measured in seconds: what slows it down, and which options suit it."""

from autofuse.road.doctor.diagnosis import diagnose
from autofuse.road.doctor.types import Diagnosis

__all__ = ["Diagnosis", "diagnose"]
