"""Finished folds whose networks were never trained, bundles of them, and bundles that were tampered with."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from autofuse.foundation.values import canonical_json
from autofuse.plan.task import Task
from autofuse.sharing import layout
from autofuse.sharing.pack import Packing, write_bundle
from autofuse.sharing.private import Secrets
from autofuse.sharing.reduce import reduce_fold
from autofuse.sharing.types import SharedModel
from autofuse.training.checkpoint import NET, About, prefixed, save_checkpoint, tensors_crc32
from autofuse.training.model import checkpoint_path
from autofuse.training.run import RunPlan, make_trainer, plan_run
from autofuse.training.state import FitResult

CASES = ("patient_anna_01", "patient_bert_02", "patient_cleo_03")
FOLDER = "runs/example-supervised-00000000/fold_0"
Change = Callable[[dict[str, Any]], None]


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


def pack_model(path: Path, folders: Sequence[Path], name: str = "example") -> Path:
    """A bundle of the folds in ``folders`` at ``path``; the first of them predicts, the others are earlier stages."""
    secrets = Secrets(CASES)
    folds = [reduce_fold(folder, name, secrets, earlier=number > 0) for number, folder in enumerate(folders)]
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
        autofuse_version=run.autofuse_version,
        torch_version=run.torch_version,
    )

    def fill(packing: Packing) -> None:
        for fold in folds:
            packing.add_fold(fold)
        packing.add_text(layout.MODEL, model.to_json())
        packing.add_text(layout.CARD, f"# {name}\n")

    write_bundle(path, name, fill)
    return path


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
