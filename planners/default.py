"""The planner that is used unless another is asked for: nnU-Net's rules, a time dial, and every decision on record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import JsonValue

from autofuse.dataset.types import Labels
from autofuse.fingerprint.types import Fingerprint
from autofuse.plan.types import Budget, Challenger, Configuration, Decision, NormalisationPlan, Plan
from autofuse_planners.augmentation import choose_augmentation
from autofuse_planners.challengers import choose_challengers
from autofuse_planners.configurations import Configured, choose_configurations
from autofuse_planners.far_background import choose_far_background
from autofuse_planners.fusion import FUSION_TABLE, IMAGE_LEVEL, Fusion, Meeting, choose_fusion
from autofuse_planners.grid import Grid, choose_grid
from autofuse_planners.length import choose_steps
from autofuse_planners.mirroring import choose_mirroring
from autofuse_planners.normalisation import choose_normalisation
from autofuse_planners.schedule import choose_schedule
from autofuse_planners.sizing import Scene
from autofuse_planners.supervision import (
    CHALLENGER_TABLE,
    SUPERVISION_TABLE,
    Annotated,
    Supervision,
    choose_supervision,
    within_time,
)
from autofuse_planners.table import Row
from autofuse_planners.thresholds import Thresholds

Encoder = Literal["plain", "residual"]


@dataclass(frozen=True)
class DefaultPlanner(Thresholds):
    """Decides from the fingerprint and the budget alone; its fields are the numbers that its rules compare with.

    Every rule is a method of its own: a subclass replaces one and keeps the rest. The tables are fields, so that a row
    is added or changed without a subclass.
    """

    fusion_table: tuple[Row[Meeting], ...] = FUSION_TABLE
    supervision_table: tuple[Row[Annotated], ...] = SUPERVISION_TABLE
    challenger_table: tuple[Row[Annotated], ...] = CHALLENGER_TABLE

    def plan(self, fingerprint: Fingerprint, labels: Labels, budget: Budget) -> Plan:
        """The plan for this fingerprint under this budget; the same two give the same plan, byte for byte.

        Raises:
            DataError: if no case is labelled.
            ResourceError: if the memory dial is too low for any network.
        """
        grid, grid_decisions = self.choose_grid(fingerprint)
        normalisation, normalisation_decisions = self.choose_normalisation(fingerprint)
        fusion = self.choose_fusion(fingerprint, budget, grid)
        supervision = self.choose_supervision(fingerprint, fusion)
        encoder, encoder_decision = self.choose_encoder(budget)
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
            sparse=any(case.annotation == "sparse" for case in fingerprint.cases),
            own_masks=bool(fingerprint.labelled_per_modality),
        )
        configured = self.choose_configurations(scene, grid, len(labels.classes), fingerprint.slices_only)
        default = configured.configurations[0]
        steps, steps_decision = self.choose_steps(default, budget)
        supervision = within_time(supervision, steps, budget.minutes, self)
        mirror_axes, mirror_decision = self.choose_mirroring(fingerprint, labels, grid, steps)
        augmentation, augmentation_decision = self.choose_augmentation(default, steps, grid)
        schedule, schedule_decision = self.choose_schedule(steps)
        jitter = {"jitter_mm": fusion.jitter_mm} if fusion.jitter_mm else {}
        fields = {**supervision.trainer.fields, **augmentation, **jitter, **schedule}
        trainer = supervision.trainer.model_copy(update={"fields": fields})
        challengers, challengers_decision = self.choose_challengers(supervision, fusion)
        far_background, far_decisions = self.choose_far_background(fingerprint)
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
            challengers=challengers,
            steps=steps,
            decisions=(
                *grid_decisions,
                *normalisation_decisions,
                *fusion.decisions,
                encoder_decision,
                *configured.decisions,
                supervision.decision,
                challengers_decision,
                *far_decisions,
                *choose_masks(fingerprint),
                mirror_decision,
                augmentation_decision,
                steps_decision,
                schedule_decision,
            ),
            mirror_axes=mirror_axes,
            reference=fingerprint.reference,
            registration=fusion.registration,
            far_background=far_background,
            masks_per_modality=bool(fingerprint.labelled_per_modality),
        )

    def choose_grid(self, fingerprint: Fingerprint) -> tuple[Grid, tuple[Decision, ...]]:
        """Target spacing, axis order and how axes are resampled."""
        return choose_grid(fingerprint, self)

    def choose_normalisation(
        self, fingerprint: Fingerprint
    ) -> tuple[tuple[NormalisationPlan, ...], tuple[Decision, ...]]:
        """One scheme for each modality."""
        return choose_normalisation(fingerprint, self)

    def choose_fusion(self, fingerprint: Fingerprint, budget: Budget, grid: Grid) -> Fusion:
        """Topology, registration and modality dropout."""
        return choose_fusion(fingerprint, budget, grid.spacing_mm, self, self.fusion_table)

    def choose_supervision(self, fingerprint: Fingerprint, fusion: Fusion) -> Supervision:
        """The trainer and the trainers that may do better."""
        tables = (self.supervision_table, self.challenger_table)
        fused = fusion.topology == IMAGE_LEVEL
        return choose_supervision(fingerprint, fusion.together, self, *tables, fused=fused)

    def choose_encoder(self, budget: Budget) -> tuple[Encoder, Decision]:
        """Plain or residual blocks."""
        return choose_encoder(budget, self)

    def choose_configurations(self, scene: Scene, grid: Grid, outputs_as_input: int, slices_only: bool) -> Configured:
        """Patch, network and batch of every way to see the data, the default first."""
        return choose_configurations(scene, grid, outputs_as_input, slices_only)

    def choose_steps(self, default: Configuration, budget: Budget) -> tuple[int, Decision]:
        """Length of training one fold."""
        return choose_steps(default, budget, self)

    def choose_mirroring(
        self, fingerprint: Fingerprint, labels: Labels, grid: Grid, steps: int
    ) -> tuple[tuple[int, ...], Decision]:
        """Axes along which images may be mirrored."""
        return choose_mirroring(fingerprint, labels, grid.transpose, steps, self)

    def choose_augmentation(self, default: Configuration, steps: int, grid: Grid) -> tuple[dict[str, Any], Decision]:
        """Fields of the trainer that say how strongly patches are augmented."""
        return choose_augmentation(default, steps, grid.cases, self)

    def choose_schedule(self, steps: int) -> tuple[dict[str, Any], Decision]:
        """Fields of the trainer that say how fast it learns."""
        return choose_schedule(steps, self)

    def choose_far_background(self, fingerprint: Fingerprint) -> tuple[bool, tuple[Decision, ...]]:
        """Whether what no stroke reaches is taught as background."""
        return choose_far_background(fingerprint, self)

    def choose_challengers(self, supervision: Supervision, fusion: Fusion) -> tuple[tuple[Challenger, ...], Decision]:
        """What the arbiter may try against the default."""
        return choose_challengers(supervision.trainer, supervision.challengers, fusion.rivals)


def choose_masks(fingerprint: Fingerprint) -> tuple[Decision, ...]:
    """What is predicted, and why, where modalities carry masks of their own; no decision where one mask is for all."""
    counts = fingerprint.labelled_per_modality
    if not counts:
        return ()
    evidence: dict[str, JsonValue] = dict(zip(fingerprint.modalities, counts, strict=True))
    return (
        Decision(
            what="masks",
            chosen="one for each modality",
            rule="each modality carries a mask of its own, so each is taught by it and predicted on its own grid",
            evidence={"cases_with_a_mask_of_its_own": evidence},
            alternatives=("one for all: it would fit one modality, and be wrong for those that lie elsewhere",),
        ),
    )


def choose_encoder(budget: Budget, rules: Thresholds) -> tuple[Encoder, Decision]:
    """Residual blocks where memory allows and time is not short; they learn a little better and take longer."""
    if rules.encoder != "auto":
        evidence: dict[str, JsonValue] = {"encoder": rules.encoder}
        rule = "set as a field of the planner"
        return rules.encoder, Decision(what="encoder", chosen=rules.encoder, rule=rule, evidence=evidence)
    roomy = budget.minutes is None and budget.memory_gib >= rules.residual_memory_gib and budget.device == "cuda"
    chosen: Encoder = "residual" if roomy else "plain"
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
