"""What one network is asked to do: a plan and one of its configurations."""

from __future__ import annotations

from dataclasses import dataclass

from autofuse.dataset.types import Labels
from autofuse.plan.types import Configuration, Plan


@dataclass(frozen=True)
class Task:
    """A plan and the configuration that is trained; everything that a trainer may ask about its data."""

    plan: Plan
    configuration: Configuration

    @property
    def labels(self) -> Labels:
        """What the outputs mean."""
        return self.plan.labels

    @property
    def modalities(self) -> int:
        """M, the number of modalities."""
        return len(self.plan.modalities)

    @property
    def prior_channels(self) -> int:
        """Extra input channels of a cascade's second stage (one per class or region), else 0."""
        return len(self.plan.labels.classes) if self.configuration.previous else 0

    @property
    def outputs(self) -> int:
        """C, the channels that a network predicts."""
        return self.plan.labels.outputs
