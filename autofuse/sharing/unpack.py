"""A bundle unpacked: aside, verified as it is written, its values validated, and only then under its name.

Nothing of a bundle is ever run: values are JSON held to their types, weights are safetensors, and the trainer is one
that is installed here under the name that the bundle says.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open

from autofuse.evaluation.ensemble import Ensemble
from autofuse.foundation.console import progress
from autofuse.foundation.errors import ModelError, ResourceError, UsageError
from autofuse.foundation.files import sweep_temps, sync, temp_beside
from autofuse.foundation.machine import GIB, free_disk_gib
from autofuse.foundation.values import StoredValue
from autofuse.images import SUPPORTED_ENDINGS
from autofuse.plan.types import Plan
from autofuse.sharing import layout
from autofuse.sharing.ensembles import FoldValues, Place, require_sound_ensemble
from autofuse.sharing.gate import REMEDY, Bundle, plain
from autofuse.sharing.pack import sha256_of
from autofuse.sharing.private import texts_of
from autofuse.sharing.soundness import require_sound_plan, require_sound_run
from autofuse.sharing.types import DataSummary, Manifest, Member, SharedModel
from autofuse.training.checkpoint import NET, load_checkpoint, tensors_crc32
from autofuse.training.run import RunPlan
from autofuse.training.state import FitResult

SPARE_BYTES = 64 << 20


def unpack_bundle(bundle: Bundle, folder: Path) -> bool:
    """Put the model of ``bundle`` into ``folder``; False if it was there already, whole.

    Files of the same bundle that were damaged since are mended; what predictions left in the folder stays.

    Raises:
        ModelError: if anything in the bundle is not what it must be; nothing is left behind.
        UsageError: if another model has that folder.
        ResourceError: if the disk is full or the folder cannot be written.
    """
    there = _manifest_in(folder)
    if there is not None and there != bundle.manifest:
        raise UsageError(
            "Another model of this name was imported before.",
            found=str(folder),
            remedy="Import this one under another name with --name, or remove that folder.",
        )
    if there is not None and is_whole(folder, there):
        return False
    with _aside(folder) as aside:
        _unpack(bundle, aside)
        with naming(bundle.path, aside):
            require_sound_model(aside, bundle.manifest)
        _put(aside, folder, mend=there is not None)
    return True


def is_whole(folder: Path, manifest: Manifest) -> bool:
    """Whether every file of the manifest is in ``folder`` with its size and hash."""
    files = {entry: folder / entry.path for entry in manifest.entries}
    return all(path.is_file() and path.stat().st_size == entry.bytes for entry, path in files.items()) and all(
        sha256_of(path) == entry.sha256 for entry, path in files.items()
    )


def require_sound_model(folder: Path, manifest: Manifest) -> SharedModel:
    """The model that was unpacked into ``folder``, every value of it read and held against the others.

    Raises:
        ModelError: naming the file that is not what it must be.
    """
    model = SharedModel.load(folder / layout.MODEL)
    if model.name != manifest.name:
        raise ModelError("Manifest and model have different names.", file=folder / layout.MODEL, found=model.name)
    if model.file_ending not in SUPPORTED_ENDINGS:
        raise ModelError(
            "Masks cannot have this ending.", file=folder / layout.MODEL, found=repr(model.file_ending[:80])
        )
    _require_printable(model, folder / layout.MODEL)
    _require_text(folder / layout.CARD)
    listed = {entry.path for entry in manifest.entries}
    if layout.SUMMARY in listed:
        DataSummary.load(folder / layout.SUMMARY)
    expected = {layout.MODEL, layout.CARD} | (listed & {layout.SUMMARY})
    expected |= set() if model.ensemble is None else {layout.ENSEMBLE}
    expected |= {f"{member.folder}/{name}" for member in model.members for name in layout.MEMBER_FILES}
    if listed != expected:
        wrong = ", ".join(sorted(listed ^ expected)[:5])
        raise ModelError("The bundle holds other files than its model has.", file=folder / layout.MODEL, found=wrong)
    values = {(member.run, member.fold): _sound_member(folder, member, model) for member in model.members}
    _require_first_stages(values, folder / layout.MODEL)
    wanted = {(model.run, fold) for fold in model.folds}
    if not wanted <= {(member.run, member.fold) for member in model.members if not member.earlier}:
        raise ModelError("The model lacks a fold that it predicts with.", file=folder / layout.MODEL)
    if model.ensemble is not None:
        _require_ensemble(folder / layout.ENSEMBLE, model, values)
    return model


@contextmanager
def naming(bundle: Path, aside: Path) -> Iterator[None]:
    """Errors name the bundle and the entry in it, not a temporary file that is gone when they are read."""
    try:
        yield
    except ModelError as error:
        inside = error.file
        if inside is not None and Path(inside).is_relative_to(aside):
            inside = Path(inside).relative_to(aside).as_posix()
        raise ModelError(
            plain(error.problem),
            file=bundle,
            found=plain(" · ".join(part for part in (inside, error.found) if part)) or None,
            expected=error.expected,
            remedy=error.remedy if "Install" in (error.remedy or "") else REMEDY,
        ) from error


def _require_ensemble(file: Path, model: SharedModel, values: dict[Place, FoldValues]) -> None:
    ensemble = Ensemble.load(file)
    if ensemble.digest() != model.ensemble:
        raise ModelError("Model and ensemble do not belong together.", file=file)
    _require_printable(ensemble, file)
    earlier = {(member.run, member.fold): values[member.run, member.fold] for member in model.members if member.earlier}
    predicting = {place: item for place, item in values.items() if place not in earlier}
    require_sound_ensemble(ensemble, model.name, predicting, earlier, file)


def _require_printable(value: StoredValue, file: Path) -> None:
    for text in texts_of(value.model_dump(mode="json")):
        if not text.replace("\n", " ").isprintable():
            raise ModelError("A text of this model cannot be printed.", file=file, found=text[:80])


def _require_first_stages(values: dict[Place, FoldValues], file: Path) -> None:
    """Every earlier stage is there, and has none itself: else predicting would never end."""
    for (_, fold), item in values.items():
        if item.run.prior_run is None:
            continue
        before = values.get((item.run.prior_run, fold))
        if before is None:
            raise ModelError("The first stage of a cascade is missing.", file=file, found=item.run.prior_run)
        if before.run.prior_run is not None:
            raise ModelError("The first stage of a cascade has one itself.", file=file, found=item.run.prior_run)


def _sound_member(folder: Path, member: Member, model: SharedModel) -> FoldValues:
    """What the files of ``member`` say.

    Raises:
        ModelError: naming the one that is not what it must be.
    """
    home = folder / member.folder
    plan = Plan.load(home / layout.PLAN)
    require_sound_plan(plan, home / layout.PLAN)
    run = RunPlan.load(home / layout.RUN)
    shapes = _weight_shapes(home / layout.WEIGHTS)
    require_sound_run(run, plan, shapes, home / layout.RUN)
    tensors, _ = load_checkpoint(home / layout.WEIGHTS, run.digest())
    result = FitResult.load(home / layout.FINISHED)
    same = (
        (member.fold, member.configuration, member.trainer) == (run.fold, run.configuration, run.trainer)
        and (result.run_digest, result.weights_crc32) == (run.digest(), tensors_crc32(tensors))
        and plan.modalities == model.modalities
        and tuple(item.name for item in plan.labels.classes) == model.classes
    )
    if not same:
        raise ModelError("The files of this member contradict each other.", file=home / layout.RUN)
    return FoldValues(plan, run, result.weights_crc32)


def _weight_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes by name, from the header of a safetensors file alone; whatever else the file may be, it is not read."""
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            "These weights are no safetensors file.",
            file=path,
            found=f"{error}"[:200],
            expected="a header of names, types and places, then numbers; pickles are never read",
        ) from None
    if not all(name.startswith(NET) for name in shapes):
        raise ModelError("These weights hold more than a network.", file=path, found=", ".join(sorted(shapes)[:3]))
    return shapes


def _require_text(path: Path) -> None:
    try:
        path.read_text(encoding="utf-8")
    except ValueError:
        raise ModelError("The model card is no text.", file=path) from None


def _manifest_in(folder: Path) -> Manifest | None:
    """The manifest of what was imported into ``folder`` before; None where there is nothing.

    Raises:
        UsageError: if something else is there.
    """
    if not os.path.lexists(folder):
        return None
    try:
        return Manifest.load(folder / layout.MANIFEST)
    except ModelError as error:
        raise UsageError(
            "Something else has the name of this model.",
            found=f"{folder}: {error.problem}",
            remedy="Import under another name with --name, or remove that folder.",
        ) from None


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A temporary folder beside ``folder``; whatever of it is left at the end goes, with parents that it made."""
    made = [parent for parent in folder.parents if not parent.exists()]
    aside = temp_beside(folder)
    try:
        aside.mkdir(parents=True)
        sweep_temps(folder.parent)
        yield aside
    except OSError as error:
        raise ResourceError(
            "The model could not be written.",
            file=folder,
            found=str(error),
            remedy="Check the free space and the permissions of the folder, then run the same command again.",
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        for parent in made:
            with suppress(OSError):
                parent.rmdir()


def _unpack(bundle: Bundle, aside: Path) -> None:
    entries = bundle.manifest.entries
    size = sum(entry.bytes for entry in entries)
    free = free_disk_gib(aside) * GIB
    if size + SPARE_BYTES > free:
        raise ResourceError(
            "The disk is too full for this model.",
            file=aside.parent,
            found=f"{free / GIB:.2f} GiB free",
            expected=f"at least {(size + SPARE_BYTES) / GIB:.2f} GiB",
            remedy="Free some space or name another folder with --workspace.",
        )
    with progress("import", len(entries)) as advance:
        for entry, pieces in bundle.verified():
            target = aside / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(target, pieces)
            advance(1, note=entry.path)
    bundle.manifest.save(aside / layout.MANIFEST)


def _write(target: Path, pieces: Iterator[bytes]) -> None:
    with target.open("xb") as sink:
        for piece in pieces:
            sink.write(piece)
        sink.flush()
        os.fsync(sink.fileno())


def _put(aside: Path, folder: Path, *, mend: bool) -> None:
    """Give what was unpacked its name; file by file where a damaged model stands there already."""
    files = sorted(path for path in aside.rglob("*") if path.is_file())
    for inner in sorted((path for path in aside.rglob("*") if path.is_dir()), reverse=True):
        sync(inner)
    if mend:
        for path in files:
            target = folder / path.relative_to(aside)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
    else:
        sync(aside)
        aside.rename(folder)
    sync(folder.parent)
