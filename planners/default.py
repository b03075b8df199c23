"""The planner that is used unless another is asked for: nnU-Net's rules, a time dial, and every decision on record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from autofuse.dataset.types import Labels
from autofuse.fingerprint.types import Fingerprint
from autofuse.plan.types import Budget, Decision, Plan
from autofuse_planners.augmentation import choose_augmentation
from autofuse_planners.configurations import choose_configurations
from autofuse_planners.fusion import choose_fusion
from autofuse_planners.grid import choose_grid
from autofuse_planners.length import choose_steps
from autofuse_planners.mirroring import choose_mirroring
from autofuse_planners.normalisation import choose_normalisation
from autofuse_planners.sizing import Scene
from autofuse_planners.supervision import choose_trainer
from autofuse_planners.thresholds import Thresholds


@dataclass(frozen=True)
class DefaultPlanner(Thresholds):
    """Decides from the fingerprint and the budget alone; its fields are the numbers that its rules compare with."""

    def plan(self, fingerprint: Fingerprint, labels: Labels, budget: Budget) -> Plan:
        """The plan for this fingerprint under this budget; the same two give the same plan, byte for byte.

        Raises:
            DataError: if no case is labelled.
            ResourceError: if the memory dial is too low for any network.
        """
        trainer, trainer_decision = choose_trainer(fingerprint, self)
        grid, grid_decisions = choose_grid(fingerprint, self)
        normalisation, normalisation_decisions = choose_normalisation(fingerprint, self)
        fusion = choose_fusion(fingerprint, self)
        encoder, encoder_decision = choose_encoder(budget, self)
        scene = Scene(
            dimensions=3,
            spacing_mm=grid.spacing_mm,
            median_shape=grid.median_shape,
            cases=grid.cases,
            channels=len(fingerprint.modalities),
            prior=0,
            outputs=labels.outputs,
            encoder=encoder,
            topology=fusion.topology,
            dropout=fusion.modality_dropout,
            budget=budget,
            rules=self,
        )
        configured = choose_configurations(scene, grid, len(labels.classes), fingerprint.slices_only)
        default = configured.configurations[0]
        steps, steps_decision = choose_steps(default, budget, self)
        mirror_axes, mirror_decision = choose_mirroring(fingerprint, labels, grid.transpose, steps, self)
        augmentation, augmentation_decision = choose_augmentation(default, steps, grid.cases, self)
        trainer = trainer.model_copy(update={"fields": {**trainer.fields, **augmentation}})
        decisions = (
            *grid_decisions,
            *normalisation_decisions,
            *fusion.decisions,
            encoder_decision,
            *configured.decisions,
            trainer_decision,
            mirror_decision,
            augmentation_decision,
            steps_decision,
        )
        return Plan(
            planner="default",
            dataset=fingerprint.dataset,
            fingerprint_digest=fingerprint.digest(),
            budget=budget,
            modalities=fingerprint.modalities,
            labels=labels,
            transpose=grid.transpose,
            normalisation=normalisation,
            configurations=configured.configurations,
            configuration=default.name,
            trainer=trainer,
            steps=steps,
            decisions=decisions,
            mirror_axes=mirror_axes,
        )


def choose_encoder(budget: Budget, rules: Thresholds) -> tuple[Literal["plain", "residual"], Decision]:
    """Residual blocks where memory allows and time is not short; they learn a little better and take longer."""
    if rules.encoder != "auto":
        evidence: dict[str, JsonValue] = {"encoder": rules.encoder}
        rule = "set as a field of the planner"
        return rules.encoder, Decision(what="encoder", chosen=rules.encoder, rule=rule, evidence=evidence)
    roomy = budget.minutes is None and budget.memory_gib >= rules.residual_memory_gib and budget.device == "cuda"
    chosen: Literal["plain", "residual"] = "residual" if roomy else "plain"
    other = "plain: fewer convolutions, but a little less accurate" if roomy else "residual: takes longer a step"
    return chosen, Decision(
        what="encoder",
        chosen=chosen,
        rule=(
            f"residual blocks on a GPU with no time dial and at least {rules.residual_memory_gib:g} GiB "
            "(nnU-Net Revisited, arXiv 2404.09556); else plain ones"
        ),
        evidence={"memory_gib": budget.memory_gib, "minutes": budget.minutes, "device": budget.device},
        alternatives=(other,),
    )
