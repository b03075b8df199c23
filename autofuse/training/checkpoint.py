"""Checkpoints: one safetensors file that verifies itself. No pickle is written or read anywhere.

The header holds one JSON text ``{"about": {...}, "crc32": n}``; the CRC-32 runs over the canonical JSON of ``about``
and then, by tensor name, over each name, dtype, shape and bytes, since safetensors does not notice a flipped bit.
Tensor names: ``net/<name>`` weights, ``average/<name>`` their moving average, ``momentum/<objective>/<name>``.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from autofuse.foundation.errors import ModelError, ResourceError
from autofuse.foundation.files import write_atomically
from autofuse.foundation.values import Value, canonical_json
from autofuse.training.state import TrainingState

NET, AVERAGE, MOMENTUM = "net/", "average/", "momentum/"
Shape = tuple[int, ...]
_HEADER = "autofuse"
_REMEDY = "Delete the file to begin this fold anew, or copy it again from where it came."


class About(Value):
    """What a checkpoint says of itself; ``state`` is there while training may go on from it."""

    KIND: ClassVar[str] = "autofuse checkpoint"

    kind: str = KIND
    format: int = 1
    run_digest: str
    step: int
    dice: float | None = None
    state: TrainingState | None = None


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], about: About) -> int:
    """Write ``tensors`` and ``about`` atomically, read them back, and return the CRC-32 of the tensors.

    Raises:
        ResourceError: if the disk is full or the folder cannot be written; the old file is untouched.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}
    whole = _unshared(whole)
    text = canonical_json(about.model_dump(mode="json"))
    crc = zlib.crc32(text, tensors_crc32(whole))
    header = json.dumps({"about": json.loads(text), "crc32": crc})

    def fill(temp: Path) -> None:
        temp.touch()
        mode = temp.stat().st_mode
        try:
            save_file(whole, str(temp), metadata={_HEADER: header})
        except SafetensorError as error:
            raise OSError(str(error)) from error
        temp.chmod(mode & 0o777)  # safetensors makes files that only their owner may read

    def verify(temp: Path) -> None:
        try:
            _, _, found = _read(temp)
        except ModelError as error:
            raise OSError(error.problem) from error
        if found != crc:
            raise OSError("what was read back is not what was written")

    write_atomically(path, fill, verify)
    return tensors_crc32(whole)


def load_checkpoint(path: Path, run_digest: str | None = None) -> tuple[dict[str, Tensor], About]:
    """Tensors by name and what the file says of itself.

    Raises:
        ModelError: if it is missing, damaged, no checkpoint of ours, of another run than ``run_digest``, or holds a
            value that is not finite.
    """
    if not path.is_file():
        raise ModelError("There is no checkpoint here.", file=path, remedy="Train the fold first: autofuse train.")
    try:
        tensors, header, crc = _read(path)
        about = About.model_validate_json(json.dumps(header["about"]))
    except (ValidationError, KeyError, TypeError) as error:
        raise ModelError(
            "This file is not a checkpoint that this version understands.",
            file=path,
            found=str(error)[:200],
            remedy=_REMEDY,
        ) from None
    if about.kind != About.KIND or about.format != 1:
        raise ModelError("This file is of another kind.", file=path, found=f"{about.kind} {about.format}")
    if crc != header.get("crc32"):
        raise ModelError(
            "This checkpoint is damaged: its checksum does not fit.",
            file=path,
            found=f"{crc:08x}",
            expected=f"{header.get('crc32'):08x}" if isinstance(header.get("crc32"), int) else "a checksum",
            remedy=_REMEDY,
        )
    if run_digest is not None and about.run_digest != run_digest:
        raise ModelError(
            "This checkpoint belongs to another run.",
            file=path,
            found=about.run_digest[:12],
            expected=run_digest[:12],
            remedy=_REMEDY,
        )
    _require_finite(path, tensors)
    return tensors, about


def tensors_crc32(tensors: Mapping[str, Tensor]) -> int:
    """CRC-32 over names, dtypes, shapes and bytes of CPU tensors, in the order of their names."""
    crc = 0
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), crc)
        if tensor.numel():
            raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
            crc = zlib.crc32(raw.numpy().data, crc)
    return crc


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name begins with ``prefix``, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, ``prefix`` before each name."""
    return {prefix + name: tensor for name, tensor in tensors.items()}


def prediction_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights that predict: the moving average where there is one, else the weights themselves."""
    return part(tensors, AVERAGE) or part(tensors, NET)


def fill_networks(nets: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Copy ``weights`` into ``nets``.

    Raises:
        ModelError: naming the first tensors that are missing, unknown, or of another shape.
    """
    wrong = misfits(shapes_of(nets.state_dict()), shapes_of(weights))
    if wrong:
        raise ModelError(
            "The weights do not fit the networks that the trainer builds for this plan.",
            file=path,
            found="; ".join(wrong[:5]) + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""),
            remedy="Use the version of the trainer that made them; run.json names it.",
        )
    nets.load_state_dict(dict(weights))


def misfits(wanted: Mapping[str, Shape], given: Mapping[str, Shape]) -> list[str]:
    """What keeps tensors of the shapes ``given`` from being weights of the shapes ``wanted``, in words; by name."""
    wrong = [f"{name} is missing" for name in wanted if name not in given]
    wrong += [f"{name} is unknown" for name in given if name not in wanted]
    return wrong + [
        f"{name} has shape {given[name]} instead of {shape}"
        for name, shape in wanted.items()
        if name in given and given[name] != shape
    ]


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    """Shapes by name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def require_disk(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse to begin where the checkpoints (last, its successor while it is written, best) will not fit.

    Raises:
        ResourceError: with the numbers.
    """
    from autofuse.foundation.machine import GIB, free_disk_gib

    needed = 3 * sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) / GIB
    free = free_disk_gib(folder)
    if free < needed:
        raise ResourceError(
            "The disk is too full for the checkpoints of this run.",
            file=folder,
            found=f"{free:.2f} GiB free",
            expected=f"at least {needed:.2f} GiB",
            remedy="Free some space or name another folder with --workspace.",
        )


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], int]:
    """Tensors, the header, and the CRC-32 that its ``about`` and the tensors have now."""
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
        about = canonical_json(header["about"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            "This checkpoint is damaged or not one of ours.",
            file=path,
            found=f"{type(error).__name__}: {error}"[:200],
            remedy=_REMEDY,
        ) from None
    return tensors, header, zlib.crc32(about, tensors_crc32(tensors))


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors; those that share memory (tied weights) as copies, since a file holds each by itself."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        address = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if address in seen else tensor
        seen.add(address)
    return result


def _require_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(
                "A tensor of this checkpoint holds NaN or infinity.", file=path, found=name, remedy=_REMEDY
            )
