"""One case from its images to labels on its native grid, by one model or the mean of several.

Members that see the case on the same grid (folds of one run) are averaged there; means of different grids (other
spacings, 2D and 3D) are averaged on the native one. Both are sums of probabilities, and interpolation is linear, so the
order makes no difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autofuse.dataset.grids import on_one_grid
from autofuse.foundation.errors import ModelError, UsageError
from autofuse.foundation.machine import tune_allocator
from autofuse.inference.components import postprocess
from autofuse.inference.export import paint
from autofuse.inference.forecast import extras_of
from autofuse.inference.members import Advance, Members, Weighted
from autofuse.inference.memory import TUNED_BELOW_GIB
from autofuse.inference.own_mask import lies_elsewhere, of_modality, own_grid, painted_elsewhere, require_whose
from autofuse.inference.prediction import (
    CaseOnGrid,
    LoadedCase,
    Prediction,
    PredictOptions,
    Probabilities,
    Seen,
    grid_key,
    prior_key,
    prior_names,
)
from autofuse.inference.prior import prior_channels
from autofuse.inference.spool import Spool
from autofuse.inference.uncertainty import Spread, calibrate
from autofuse.plan.types import RegistrationPlan
from autofuse.preprocessing.elsewhere import Rigids, find_rigids
from autofuse.preprocessing.placement import Placement
from autofuse.preprocessing.prepare import PreparedCase, prepare_case
from autofuse.training.model import AnyModel

if TYPE_CHECKING:
    from autofuse.dataset.raw import RawCase

HALF_LIMIT = 30_000.0
"""Larger intensities are kept in single precision."""

Priors = Mapping[str, NDArray[np.integer]]
"""By name of a cascade's earlier run, or configuration, its class indices (z, y, x) on the native grid."""


def predict_case(
    models: Sequence[AnyModel],
    raw: RawCase,
    options: PredictOptions | None = None,
    *,
    priors: Priors | None = None,
    weights: Sequence[float] | None = None,
    advance: Advance | None = None,
) -> Prediction:
    """Labels of one case.

    Args:
        models: members of the ensemble; one is an ensemble of one.
        priors: for cascades, by name of the earlier run or configuration, its class indices (z, y, x), native grid.
        weights: of the members; equal without.
        advance: told the share of the work that was just done.

    Raises:
        UsageError: no models, or models of different label sets.
        DataError: the case does not fit the plan.
        ModelError: the network gives no finite values, or a cascade's earlier masks are missing.
        ResourceError: it does not fit into memory; with the numbers.
    """
    require_fitting(models)
    return predict_loaded(models, load_for(models, raw, priors), options, weights=weights, advance=advance)


def load_for(models: Sequence[AnyModel], raw: RawCase, priors: Priors | None = None) -> LoadedCase:
    """The case prepared on every grid that a member sees; computed on the CPU, whose result is the reference.

    Modalities are registered once for all members whose plans ask for it alike.
    """
    prepared: dict[str, CaseOnGrid] = {}
    earlier: dict[str, Tensor] = {}
    rigids: dict[RegistrationPlan | None, Rigids] = {}
    for model in models:
        task, key = model.task, grid_key(model.task)
        plan = task.plan
        if key not in prepared:
            if plan.registration not in rigids:
                rigids[plan.registration] = find_rigids(raw, plan)
            moved = rigids[plan.registration]
            alone = replace(raw, label=None, labels=())
            prepared[key] = _on_grid(prepare_case(alone, plan, task.configuration, rigids=moved))
        if task.configuration.previous is not None and prior_key(model) not in earlier:
            masks = _earlier_masks(raw.case.id, model, priors)
            earlier[prior_key(model)] = prior_channels(masks, task.plan, task.configuration, prepared[key].placement)
    seen = _seen(raw, models[0].task.plan.modalities, prepared[grid_key(models[0].task)])
    own = tuple(None if image is None else image.geometry for image in raw.images)
    return LoadedCase(raw.case.id, raw.geometry, prepared, earlier, seen, own)


def _seen(raw: RawCase, names: Sequence[str], prepared: CaseOnGrid) -> Seen:
    absent = tuple(name for name, here in zip(names, prepared.present, strict=True) if not here)
    partly: tuple[tuple[str, float], ...] = ()
    if prepared.partial_view:
        shares = [1.0 - float(np.isnan(image).mean()) for image in prepared.images]
        partly = tuple((name, share) for name, share in zip(names, shares, strict=True) if share < 1)
    one_grid = on_one_grid([None if image is None else image.geometry for image in raw.images])
    return Seen(absent, partly, "" if one_grid or raw.reference is None else names[raw.reference])


def _on_grid(case: PreparedCase) -> CaseOnGrid:
    """The images as the store keeps them for training: half floats, unless they would overflow."""
    fits = max(float(np.nanmax(case.images)), -float(np.nanmin(case.images))) < HALF_LIMIT
    # torch converts to half precision many times as fast as numpy.
    images = torch.from_numpy(case.images).half().numpy() if fits else case.images
    return CaseOnGrid(images, case.present, case.placement, case.partial_view)


def predict_loaded(
    models: Sequence[AnyModel],
    case: LoadedCase,
    options: PredictOptions | None = None,
    *,
    weights: Sequence[float] | None = None,
    ahead: bool = False,
    next_gib: float | None = None,
    advance: Advance | None = None,
) -> Prediction:
    """As ``predict_case``, for a case that was prepared.

    Args:
        ahead: plan for another one being read meanwhile; next_gib: what that takes, if it is known.
    """
    options = options or PredictOptions()
    require_whose(models, case, options)
    elsewhere = lies_elsewhere(case, options)
    parts = _parts(models, _shares(models, weights), apart=options.uncertainty)
    several = len(parts) > 1
    extras = extras_of(models, options, ahead=ahead, next_gib=next_gib, elsewhere=elsewhere)
    work = Members(case, options, len(models), extras, advance)
    plans = [work.memory(model.task) for model in models]
    if max(plan.peak_gib for plan in plans) < TUNED_BELOW_GIB:
        tune_allocator()
    task = parts[-1].group[0][0].task
    frame = _frame([case.prepared[grid_key(model.task)].placement for model in models])
    indices = np.zeros(case.geometry.shape, dtype=np.int16)
    keeps = several or options.keeps or elsewhere
    native = work.spool(task.outputs, frame.cropped_shape) if keeps else None
    spread = None
    if options.uncertainty:
        spread = Spread(task.labels, work.spool(1, frame.cropped_shape), len(models), options.thresholds)
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        for chunk in work.framed(part.group, frame, keep_all=native is not None):
            if native is not None and chunk.values is not None:
                native.add(chunk.start, chunk.values, part.weight)
                if spread is not None:
                    spread.add(number, chunk, part.weight)
                if last and several:
                    chunk = replace(chunk, values=native.read(chunk.start, chunk.stop))
            if last:
                paint(chunk, task.labels, frame.forward(indices), options.thresholds)
    geometry = case.geometry
    if native is not None and elsewhere:
        geometry = own_grid(case, options)
        indices = painted_elsewhere(Probabilities(native, frame, task.labels), geometry, options.thresholds)
    postprocess(indices, task.labels, geometry.spacing_mm, options.steps)
    prediction = Prediction(case.id, indices, geometry, task.labels, None, work.memory(task), case.seen)
    if options.modality is not None:
        prediction = of_modality(prediction, options.modality, task.plan.modalities)
    return prediction if native is None else _with_probabilities(prediction, native, spread, frame, options)


def _with_probabilities(
    prediction: Prediction, native: Spool, spread: Spread | None, frame: Placement, options: PredictOptions
) -> Prediction:
    """``prediction`` with what was asked for beside the mask."""
    uncertainty = None
    if spread is not None:
        uncertainty = spread.finish(native, prediction.indices, frame, options.temperature)
    elif options.keeps:
        calibrate(native, prediction.labels, options.temperature)
    kept = options.probabilities or options.coded
    probabilities = Probabilities(native, frame, prediction.labels) if kept else None
    return replace(prediction, probabilities=probabilities, uncertainty=uncertainty)


@dataclass(frozen=True)
class _Part:
    """Members that are averaged where they see the case, and the weight of their mean."""

    group: Sequence[Weighted]
    weight: float = 1.0


def _parts(models: Sequence[AnyModel], shares: Sequence[float], *, apart: bool) -> list[_Part]:
    """Members by the grid on which they see the case, each with its share; ``apart``: every member for itself."""
    if apart:
        return [_Part([(model, 1.0)], share) for model, share in zip(models, shares, strict=True)]
    groups: dict[str, list[Weighted]] = {}
    for model, share in zip(models, shares, strict=True):
        groups.setdefault(grid_key(model.task), []).append((model, share))
    return [_Part(group) for group in groups.values()]


def _frame(placements: Sequence[Placement]) -> Placement:
    """The first placement, cropped so that it holds the crops of all."""
    first = placements[0]
    if all(item.crop == first.crop for item in placements):
        return first
    z, y, x = (
        (min(item.crop[axis][0] for item in placements), max(item.crop[axis][1] for item in placements))
        for axis in range(3)
    )
    spans = (z, y, x)
    sizes = [spans[axis][1] - spans[axis][0] for axis in first.transpose]
    return first.model_copy(update={"crop": spans, "cropped_shape": tuple(sizes)})


def require_fitting(models: Sequence[AnyModel]) -> None:
    """Nothing, if the models can predict together.

    Raises:
        UsageError: if there are none, or they differ in labels, modalities or order of axes.
    """
    if not models:
        raise UsageError("There is no model to predict with.", remedy="Train one first: autofuse train.")
    first = models[0].task
    for model in models[1:]:
        same = model.task.labels == first.labels and model.task.plan.modalities == first.plan.modalities
        if not same:
            raise UsageError(
                "Models of different labels or modalities cannot predict together.",
                found=f"{model.run.trainer}, fold {model.run.fold}, beside {models[0].run.trainer}",
            )
        # Probabilities of different grids are added up before the order of axes is undone.
        if model.task.plan.transpose != first.plan.transpose:
            raise UsageError(
                "Models whose plans put another axis first cannot predict together.",
                found=f"axes {model.task.plan.transpose} beside {first.plan.transpose}",
                remedy="Predict with each of them apart, or train them with one plan.",
            )


def _shares(models: Sequence[AnyModel], weights: Sequence[float] | None) -> list[float]:
    chosen = [1.0] * len(models) if weights is None else list(weights)
    if len(chosen) != len(models) or min(chosen, default=0) < 0 or sum(chosen) <= 0:
        raise UsageError("Each member needs one weight, none negative, not all 0.", found=str(chosen))
    return [weight / sum(chosen) for weight in chosen]


def _earlier_masks(case: str, model: AnyModel, priors: Priors | None) -> NDArray[np.integer]:
    found = [priors[name] for name in prior_names(model) if name in priors] if priors else []
    if not found:
        previous = model.task.configuration.previous
        raise ModelError(
            "This model is the second stage of a cascade and needs the masks of the first.",
            case=case,
            expected=f"masks of the configuration {previous!r}",
            remedy=f"Predict with {previous!r} first.",
        )
    return found[0]
