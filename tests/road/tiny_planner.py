"""Planners of somebody else, so small that a pilot takes seconds; they differ in what they nominate."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import ClassVar

import pytest
from pydantic import JsonValue

from autofuse.dataset.types import Labels
from autofuse.fingerprint.types import Fingerprint
from autofuse.foundation import registry
from autofuse.foundation.registry import PLANNERS
from autofuse.plan.types import (
    Budget,
    Challenger,
    Configuration,
    Decision,
    NetworkPlan,
    NormalisationPlan,
    Plan,
    TrainerChoice,
)

LEARNING: dict[str, JsonValue] = {"ce_weight": 0.1, "learning_rate": 0.3, "momentum": 0.9}
"""What learns something in so few steps; the cross-entropy alone would first empty the masks."""
STEPS = 40


class Teaching:
    """Learns by default, and nominates nobody."""

    fields: ClassVar[dict[str, JsonValue]] = LEARNING
    challengers: ClassVar[tuple[Challenger, ...]] = ()
    steps: ClassVar[int] = STEPS

    def plan(self, fingerprint: Fingerprint, labels: Labels, budget: Budget) -> Plan:
        """One small network for every data set; the topology that is asked for."""
        return Plan(
            planner="somebody's",
            dataset=fingerprint.dataset,
            fingerprint_digest=fingerprint.digest(),
            budget=budget,
            modalities=fingerprint.modalities,
            labels=labels,
            transpose=(0, 1, 2),
            normalisation=(NormalisationPlan(scheme="zscore"),) * len(fingerprint.modalities),
            configurations=(_configuration(budget.topology or "early"),),
            configuration="3d",
            trainer=TrainerChoice(name="supervised", fields=dict(self.fields)),
            challengers=self.challengers,
            steps=self.steps,
            decisions=(Decision(what="patch", chosen="16", rule="tiny", evidence={"cases": len(fingerprint.cases)}),),
        )


class LazyChallenger(Teaching):
    """Its challenger never learns."""

    challengers = (
        Challenger(trainer=TrainerChoice(name="supervised", fields={"learning_rate": 0.0}), because="it is calm"),
    )


class LazyDefault(Teaching):
    """Its default never learns; of its two challengers one does."""

    fields: ClassVar[dict[str, JsonValue]] = {"learning_rate": 0.0}
    challengers = (
        Challenger(trainer=TrainerChoice(name="supervised", fields={"momentum": 0.5}), because="it stays calm"),
        Challenger(trainer=TrainerChoice(name="partial", fields=LEARNING), because="it learns"),
    )


class Topologies(Teaching):
    """Challenges concatenation with stems, and with two things that nobody has."""

    steps = 4
    challengers = (
        Challenger(trainer=TrainerChoice(name="supervised"), topology="stems", because="one stem a modality"),
        Challenger(trainer=TrainerChoice(name="supervised"), topology="unheard_of", because="why not"),
        Challenger(trainer=TrainerChoice(name="somebody's"), because="it is not installed"),
    )

    def plan(self, fingerprint: Fingerprint, labels: Labels, budget: Budget) -> Plan:
        """As above, but knows two topologies only."""
        known = budget.topology in (None, "early", "stems")
        return super().plan(fingerprint, labels, budget if known else budget.model_copy(update={"topology": None}))


class Cascade(Teaching):
    """The same at half the resolution first."""

    def plan(self, fingerprint: Fingerprint, labels: Labels, budget: Budget) -> Plan:
        """Two stages."""
        alone = super().plan(fingerprint, labels, budget)
        full = alone.named(alone.configuration)
        low = full.model_copy(update={"name": "3d_low", "spacing_mm": (2.0, 2.0, 2.0), "median_shape": (8, 10, 10)})
        second = full.model_copy(update={"name": "3d_cascade", "previous": "3d_low"})
        return alone.model_copy(update={"configurations": (low, second), "configuration": "3d_cascade"})


class OwnMasks(Teaching):
    """A mask for each modality."""

    steps = 3

    def plan(self, fingerprint: Fingerprint, labels: Labels, budget: Budget) -> Plan:
        """As above, with a head for each modality and the trainer that teaches them."""
        plan = super().plan(fingerprint, labels, budget.model_copy(update={"topology": "per_modality"}))
        trainer = TrainerChoice(name="collaboration", fields={"aligned": False, "warm_up": 0.0})
        return plan.model_copy(update={"masks_per_modality": True, "trainer": trainer, "budget": budget})


KINDS = (Teaching, LazyChallenger, LazyDefault, Topologies, OwnMasks, Cascade)
ALL: dict[str, type[Teaching]] = {kind.__name__: kind for kind in KINDS}


def register_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let these planners be found beside those that are installed."""
    points = {name: EntryPoint(name, f"{__name__}:{name}", PLANNERS) for name in ALL}
    found = registry.registered

    def registered(group: str) -> dict[str, EntryPoint]:
        return {**found(group), **(points if group == PLANNERS else {})}

    monkeypatch.setattr(registry, "registered", registered)


def _configuration(topology: str) -> Configuration:
    network = NetworkPlan(
        topology=topology,
        features=(8, 16),
        kernels=((3, 3, 3),) * 2,
        strides=((1, 1, 1), (2, 2, 2)),
        blocks=(1, 1),
        decoder_blocks=(1,),
        deep_supervision=False,
    )
    return Configuration(
        name="3d",
        dimensions=3,
        spacing_mm=(1.0, 1.0, 1.0),
        median_shape=(16, 20, 20),
        patch=(16, 16, 16),
        batch=2,
        network=network,
        memory_gib=0.3,
    )
