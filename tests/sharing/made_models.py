"""Finished folds whose networks were never trained, bundles of them, and bundles that were tampered with."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from autofuse.evaluation.ensemble import Ensemble, EnsembleMember, MemberFold
from autofuse.foundation.values import canonical_json
from autofuse.inference.recipe import Recipe
from autofuse.plan.task import Task
from autofuse.plan.types import Plan
from autofuse.sharing import layout
from autofuse.sharing.pack import Packing, write_bundle
from autofuse.sharing.private import Secrets
from autofuse.sharing.reduce import ReducedFold, reduce_fold
from autofuse.sharing.types import SharedModel
from autofuse.training.checkpoint import NET, About, prefixed, save_checkpoint, tensors_crc32
from autofuse.training.model import checkpoint_path
from autofuse.training.run import RunPlan, make_trainer, plan_run
from autofuse.training.state import FitResult

CASES = ("patient_anna_01", "patient_bert_02", "patient_cleo_03")
FOLDER = "runs/example-supervised-00000000/fold_0"
Change = Callable[[dict[str, Any]], None]
Refused = Callable[[Path, str], str]
"""Imports a bundle, which must be refused with these words; what was said."""


def write_fold(folder: Path, task: Task, trainer: str = "supervised", *, prior_run: str | None = None) -> Path:
    """``folder`` with the files of a finished fold of a fresh network; its patients' names are ``CASES``."""
    method = make_trainer(trainer)
    run = plan_run(
        task,
        trainer,
        method,
        fold=0,
        labelled=CASES[:2],
        held_out=CASES[2:],
        subjects={case: case.removesuffix(case[-3:]) for case in CASES},
        steps=5,
        precision="fp32",
        prior_run=prior_run,
    )
    torch.manual_seed(0)
    weights = prefixed(NET, method.networks(task).state_dict())
    folder.mkdir(parents=True)
    task.plan.save(folder / layout.PLAN)
    run.save(folder / layout.RUN)
    save_checkpoint(checkpoint_path(folder, "last"), weights, About(run_digest=run.digest(), step=5))
    FitResult(
        run_digest=run.digest(),
        steps=5,
        epochs=1,
        seconds=1.0,
        dice=None,
        best_dice=None,
        best_step=None,
        weights_crc32=tensors_crc32(weights),
        best_crc32=None,
        skipped_steps=0,
    ).save(folder / layout.FINISHED)
    return folder


def pack_model(
    path: Path,
    folders: Sequence[Path],
    name: str = "example",
    *,
    weights: Sequence[int] | None = None,
    recipe: Recipe | None = None,
) -> Path:
    """A bundle of the folds in ``folders`` at ``path``; the first of them predicts, the others are earlier stages.

    Args:
        weights: of as many folds, each of a run of its own, that predict together; then ``recipe`` is done.
    """
    secrets, last = Secrets(CASES), len(weights or (1,))
    folds = [reduce_fold(folder, name, secrets, earlier=number >= last) for number, folder in enumerate(folders)]
    ensemble = None if weights is None else _ensemble(name, folds, weights, recipe or Recipe())
    plan = plan_value(folds[0].texts[layout.PLAN])
    run = RunPlan.parse(folds[0].texts[layout.RUN].encode(), path)
    model = SharedModel(
        name=name,
        modalities=tuple(plan["modalities"]),
        classes=tuple(item["name"] for item in plan["labels"]["classes"]),
        file_ending=".nii.gz",
        run=folds[0].member.run,
        folds=(0,),
        members=tuple(fold.member for fold in folds),
        ensemble=None if ensemble is None else ensemble.digest(),
        autofuse_version=run.autofuse_version,
        torch_version=run.torch_version,
    )

    def fill(packing: Packing) -> None:
        for fold in folds:
            packing.add_fold(fold)
        packing.add_text(layout.MODEL, model.to_json())
        packing.add_text(layout.CARD, f"# {name}\n")
        if ensemble is not None:
            packing.add_text(layout.ENSEMBLE, ensemble.to_json())

    write_bundle(path, name, fill)
    return path


def _ensemble(name: str, folds: Sequence[ReducedFold], weights: Sequence[int], recipe: Recipe) -> Ensemble:
    by_run = {fold.member.run: fold for fold in folds}

    def named(fold: ReducedFold, prior: MemberFold | None) -> MemberFold:
        run, result = (json.loads(fold.texts[file]) for file in (layout.RUN, layout.FINISHED))
        crc = result["value"]["weights_crc32"]
        return MemberFold(fold=fold.member.fold, run_digest=run["sha256"], weights_crc32=crc, prior=prior)

    def member(fold: ReducedFold, weight: int) -> EnsembleMember:
        before = json.loads(fold.texts[layout.RUN])["value"]["prior_run"]
        prior = None if before is None else named(by_run[before], None)
        return EnsembleMember(
            run=fold.member.run,
            configuration=fold.member.configuration,
            trainer=fold.member.trainer,
            weight=weight,
            folds=(named(fold, prior),),
            prior_run=before,
        )

    return Ensemble(
        dataset=name,
        labels_digest=Plan.parse(folds[0].texts[layout.PLAN].encode(), Path(layout.PLAN)).labels.digest(),
        members=tuple(member(fold, weight) for fold, weight in zip(folds, weights, strict=False)),
        mirror=True,
        recipe=recipe,
        sources_digest="",
    )


def plan_value(text: str) -> dict[str, Any]:
    """The value in the JSON text of a plan."""
    value: dict[str, Any] = json.loads(text)["value"]
    return value


def contents(bundle: Path) -> dict[str, bytes]:
    """The entries of a bundle by name, unpacked."""
    with zipfile.ZipFile(bundle) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def repacked(bundle: Path, path: Path, changes: Mapping[str, bytes | None], *, listed: bool = True) -> Path:
    """``bundle`` at ``path`` with other entries; None leaves one out.

    Args:
        listed: whether the manifest lists the new ones, with their sizes and hashes: whoever forges can do that.
    """
    entries = contents(bundle) | {name: content for name, content in changes.items() if content is not None}
    entries = {name: content for name, content in entries.items() if changes.get(name, b"") is not None}
    if listed and layout.MANIFEST not in changes:
        entries[layout.MANIFEST] = _relisted(entries)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            plain = layout.is_weights(name) or name == layout.MANIFEST
            method = zipfile.ZIP_STORED if plain else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=method)
    return path


def forged(content: bytes, change: Change) -> bytes:
    """The JSON of a stored value after ``change``, with a hash that fits again."""
    envelope = json.loads(content)
    change(envelope["value"])
    envelope["sha256"] = hashlib.sha256(canonical_json(envelope["value"])).hexdigest()
    return json.dumps(envelope).encode()


def _relisted(entries: Mapping[str, bytes]) -> bytes:
    def change(value: dict[str, Any]) -> None:
        value["entries"] = [
            {"path": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in sorted(entries.items())
            if name != layout.MANIFEST
        ]

    return forged(entries[layout.MANIFEST], change)
