"""Fused images of cases on their native grid, by models whose method makes one; files that a viewer opens as they are.

Shapes: B batch, M modality, S spatial axes; z, y, x space.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autofuse.alignment.common_grid import background_value
from autofuse.dataset.raw import RawCase, load_case
from autofuse.dataset.types import Case, Dataset
from autofuse.foundation.console import log, progress
from autofuse.foundation.errors import AutofuseError, ModelError
from autofuse.foundation.files import crc32_of_file, sweep_temps
from autofuse.foundation.locks import lock
from autofuse.foundation.machine import default_precision
from autofuse.foundation.values import short_hash
from autofuse.foundation.workers import Outcome
from autofuse.images.io import VOLUME_ENDINGS, ending_of
from autofuse.images.write import write_image
from autofuse.inference.case import load_for, require_fitting
from autofuse.inference.export import Grids, target_chunks
from autofuse.inference.prediction import CaseOnGrid, LoadedCase, PredictOptions, grid_key, prior_key
from autofuse.inference.reading import read_priors, require_modalities
from autofuse.inference.record import RECORDS, PredictionRecord, kept_record, model_digest, settings_digest, source_of
from autofuse.inference.window import Rows, View, WindowPlan, sliding_window
from autofuse.inference.writing import record_path
from autofuse.preprocessing.normalise import inside_mask
from autofuse.sampling.batch import Batch
from autofuse.training.model import AnyModel, Model

WHITE_OF_PICTURES = 65535
"""Formats without floating point hold this where a fused image is 1."""


def fuse_cases(
    models: Sequence[AnyModel],
    dataset: Dataset,
    cases: Sequence[Case],
    out: Path,
    *,
    options: PredictOptions | None = None,
    priors: dict[str, Path] | None = None,
) -> list[Outcome[Path]]:
    """Fused images ``<case><ending>`` in ``out``, the mean of the models', one outcome per case in order.

    Values lie in [0, 1] (0 to 65535 in formats without floating point), and are 0 where nobody sees anything and
    outside of the body. A case whose fused image, models, options and images are unchanged is skipped; one that fails
    never stops the others.

    Raises:
        ModelError: if a model's method makes no fused image.
        UsageError: no models, or models that do not fit each other.
        ResourceError: somebody else writes into ``out``, or it cannot be written.
    """
    require_fitting(models)
    require_fusing(models)
    options = options or PredictOptions(mirror=False)
    digests = tuple(model_digest(model) for model in models)
    settings = short_hash(["fused image", settings_digest(options, dataset.file_ending)])
    outcomes = []
    with lock(out / RECORDS), progress("fuse", len(cases)) as advance:
        sweep_temps(out)
        sweep_temps(out / RECORDS)
        for case in cases:
            try:
                record = PredictionRecord(
                    case=case.id,
                    models=digests,
                    weights=None,
                    settings=settings,
                    source=source_of(
                        dataset,
                        case,
                        [folder / f"{case.id}{dataset.file_ending}" for folder in (priors or {}).values()],
                    ),
                    files={},
                )
                path = _fuse_one(models, dataset, case, out, record, options, priors or {})
                outcomes.append(Outcome(case.id, path, None, 0.0))
            except AutofuseError as error:
                error.case = error.case or case.id
                log().error("fuse: %s", error)
                outcomes.append(Outcome[Path](case.id, None, error, 0.0))
            advance(1, note=case.id)
    return outcomes


def require_fusing(models: Sequence[AnyModel]) -> None:
    """Nothing, if every model's method makes a fused image.

    Raises:
        ModelError: naming the one that makes none.
    """
    for model in models:
        if not model.trainer.fuses(model.task):
            raise ModelError(
                "This model makes no fused image.",
                found=f"trainer {model.run.trainer}, topology {model.task.configuration.network.topology}",
                expected="the trainer fuse4seg, or a network of the topology image_level",
                remedy="Plan with --want-fused, train, and name that run with --run.",
            )


def fuse_loaded(models: Sequence[AnyModel], case: LoadedCase, options: PredictOptions) -> NDArray[np.float32]:
    """The mean fused image (z, y, x) in [0, 1] on the native grid of a prepared case."""
    fused = np.zeros(case.geometry.shape, dtype=np.float32)
    for held in models:
        model = held if isinstance(held, Model) else held.load()  # of several, only one is in memory at a time
        task = model.task
        prepared = case.prepared[grid_key(task)]
        placement = prepared.placement
        grids = Grids(placement.prepared_shape, placement.cropped_shape, task.configuration.anisotropic_axis)
        view = placement.forward(fused)
        rows = _rows(model, case, prepared, options)
        for chunk in target_chunks(rows, grids, task.labels, logits=False, keep_all=True):
            assert chunk.values is not None
            view[chunk.start : chunk.stop] += chunk.values[0].clamp(0.0, 1.0).cpu().numpy() / len(models)
    return fused


def _fuse_one(
    models: Sequence[AnyModel],
    dataset: Dataset,
    case: Case,
    out: Path,
    record: PredictionRecord,
    options: PredictOptions,
    priors: dict[str, Path],
) -> Path:
    path = out / f"{case.id}{dataset.file_ending}"
    if kept_record(record_path(out, case.id), record, out) is not None:
        return path
    require_modalities(dataset, case, models)
    raw = load_case(dataset, case, with_label=False, reference=models[0].task.plan.reference)
    loaded = load_for(models, raw, read_priors(priors, dataset, case, raw.geometry))
    fused = fuse_loaded(models, loaded, options)
    _blacken_outside(fused, raw)
    stored = fused if ending_of(path) in VOLUME_ENDINGS else np.round(fused * WHITE_OF_PICTURES).astype(np.uint16)
    write_image(path, stored, raw.geometry)
    record.model_copy(update={"files": {path.name: crc32_of_file(path)}}).save(record_path(out, case.id))
    return path


def _blacken_outside(fused: NDArray[np.float32], raw: RawCase) -> None:
    """Set what lies outside of the body, where every image has its background's value, to black: nothing is there.

    Only where all images lie on one grid; one without a constant background, such as most CTs, has no outside.
    """
    there = [(channel, image.voxels) for channel, image in enumerate(raw.images) if image is not None]
    backgrounds = [background_value(voxels) for _, voxels in there]
    if None not in backgrounds and all(raw.on_reference(channel) for channel, _ in there):
        shows = [voxels != value for (_, voxels), value in zip(there, backgrounds, strict=True)]
        fused[~inside_mask(shows)] = 0.0


def _rows(model: Model, case: LoadedCase, prepared: CaseOnGrid, options: PredictOptions) -> Iterator[Rows]:
    """Finished rows of the fused image (1, n, y, x) on the prepared grid."""
    device, task = torch.device(options.device), model.task
    view = View(
        images=torch.from_numpy(prepared.images),
        present=torch.from_numpy(prepared.present),
        prior=case.priors.get(prior_key(model)),
        case=case.id,
        spacing_mm=prepared.placement.prepared_spacing_mm,
        partial=prepared.partial_view,
    )
    same_device = model.run.device == device.type
    precision = options.precision or (model.run.precision if same_device else default_precision(device.type))
    plan = WindowPlan(task.configuration.patch, 1, step=options.step, device=device, precision=precision)
    nets = model.nets.to(device).eval()
    return sliding_window(lambda batch: _fused(model, nets, batch), view, plan)


def _fused(model: Model, nets: nn.ModuleDict, batch: Batch) -> Tensor:
    fused = model.trainer.fused(nets, batch)
    assert fused is not None, "require_fusing asked"
    return fused
