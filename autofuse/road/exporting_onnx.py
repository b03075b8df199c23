"""A finished model out of a workspace as ONNX networks with the contract of what is done before and after them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from autofuse.foundation.console import progress
from autofuse.foundation.errors import ModelError, UsageError
from autofuse.foundation.files import folder_atomically, write_bytes
from autofuse.foundation.values import StoredValue
from autofuse.road.runs import TrainedFold
from autofuse.road.shared_parts import SHARED, Parts, take_apart
from autofuse.road.steps import Folder

if TYPE_CHECKING:
    from autofuse.sharing.contract import OnnxMember


class ExportedOnnx(StoredValue):
    """Networks that were written.

    Attributes:
        folder: absolute; files: in it.
        run, folds: that they are; of an ensemble its name and all folds; members: of an ensemble, in words.
        largest_difference: of any probability from torch's, over ``compared`` tiles of noise.
    """

    kind: ClassVar[str] = "exported_onnx"

    name: str
    folder: str
    files: tuple[str, ...]
    run: str
    folds: tuple[int, ...]
    members: str = ""
    largest_difference: float
    compared: int


def export_onnx(
    dataset: Folder,
    *,
    workspace: Folder | None = None,
    run: str | None = None,
    folds: Sequence[int] | None = None,
    out: Folder | None = None,
    name: str | None = None,
    licence: str | None = None,
) -> ExportedOnnx:
    """The networks that `predict` would use as ONNX files in a folder, with contract.json and the model card.

    Args: as ``export_model``; ``out`` is a folder.

    Raises:
        UsageError: if onnx or onnxruntime is not installed, or the folder holds something else.
        ModelError: as ``export_model``; or if a network cannot be a graph, or does not say there what it says here.
        ResourceError: if it cannot be written.
    """
    from autofuse.inference.recipe import Recipe
    from autofuse.sharing.contract import CONTRACT, make_contract
    from autofuse.sharing.layout import CARD
    from autofuse.sharing.onnx_graph import OPSET, require_onnx

    require_onnx()
    parts = take_apart(dataset, workspace, run, folds, name, licence)
    if any(plan.masks_per_modality for plan in parts.plans.values()):
        raise ModelError(
            "A graph has one mask as its output, and this model makes one for each modality.",
            remedy="Share it with `autofuse export`, which keeps the whole model.",
        )
    folder = _folder(parts, out)
    with folder_atomically(folder) as aside:
        members = _write_members(parts, aside)
        model = parts.model()
        contract = make_contract(
            parts.name,
            model.licence,
            parts.plans,
            members,
            Recipe() if parts.ensemble is None else parts.ensemble.recipe,
            opset=OPSET,
            torch_version=model.torch_version,
        )
        texts = {CONTRACT: contract.to_json(), CARD: parts.card(graphs=True)}
        for file, text in texts.items():
            parts.secrets.require_absent(file, text.encode())
            write_bytes(aside / file, text.encode())
    return ExportedOnnx(
        name=parts.name,
        folder=str(folder),
        files=(*(member.file for member in members), *texts),
        run=parts.shown_as,
        folds=parts.numbers,
        members=parts.members,
        largest_difference=max(member.largest_difference for member in members),
        compared=sum(member.compared for member in members),
    )


def _write_members(parts: Parts, folder: Path) -> tuple[OnnxMember, ...]:
    """A graph for each fold, and what the contract says of it."""
    with progress("export", len(parts.folds)) as advance:
        made = []
        for fold in parts.folds:
            made.append(_write_member(parts, fold, folder))
            advance(1, note=made[-1].file)
    return tuple(made)


def _write_member(parts: Parts, fold: TrainedFold, folder: Path) -> OnnxMember:
    from autofuse.sharing.contract import OnnxMember, tensor_specs
    from autofuse.sharing.onnx_graph import write_graph
    from autofuse.sharing.pack import sha256_of
    from autofuse.training.model import load_model

    model, file = load_model(fold.folder), _graph_file(fold)
    compared = write_graph(model, folder / file)
    task = model.task
    flat = 3 - task.configuration.dimensions
    mirrored = task.plan.mirror_axes if parts.chosen.crew.mirror else ()
    inputs, output = tensor_specs(task)
    return OnnxMember(
        file=file,
        sha256=sha256_of(folder / file),
        member=parts.member(fold),
        weight=parts.share(fold),
        inputs=inputs,
        output=output,
        normalisation=task.plan.normalisation,
        registration=task.plan.registration,
        dimensions=task.configuration.dimensions,
        patch=task.configuration.patch,
        spacing_mm=task.configuration.spacing_mm,
        anisotropic_axis=task.configuration.anisotropic_axis,
        mirror_axes=tuple(axis - flat for axis in mirrored if axis >= flat),
        first_stage=tuple(_graph_file(stage) for stage in parts.first_stages(fold)),
        largest_difference=compared.largest_difference,
        compared=compared.tiles,
    )


def _graph_file(fold: TrainedFold) -> str:
    return f"{fold.run}-fold_{fold.fold}.onnx"


def _folder(parts: Parts, out: Folder | None) -> Path:
    """Where the networks go: a folder that is not there, is empty, or holds an earlier export.

    Raises:
        UsageError: if it holds something else, which would be replaced.
    """
    from autofuse.sharing.contract import CONTRACT

    folder = parts.chosen.workspace.folder / SHARED / f"{parts.name}-onnx" if out is None else Path(out).absolute()
    if folder.exists() and not (folder / CONTRACT).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            "The networks would replace something else.",
            found=str(folder),
            expected="a folder that is not there yet, or one of an earlier export",
            remedy="Name another folder with -o.",
        )
    return folder
