"""Where a container finds its images and leaves its mask; interface.json in a build context."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from autofuse.foundation.errors import UsageError
from autofuse.foundation.values import StoredValue, Value
from autofuse.sharing.types import Name

INTERFACE = "interface.json"
INPUT, OUTPUT = "/input", "/output"
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
InputPath = Annotated[str, Field(pattern=rf"^/input(/{_PART})+$", max_length=300)]
OutputPath = Annotated[str, Field(pattern=rf"^/output(/{_PART})+$", max_length=300)]


class ContainerInput(Value):
    """One modality of the case that a container is started with.

    Attributes:
        path: folder that holds one image.
        optional: whether a case may come without it.
    """

    modality: str
    path: InputPath
    optional: bool = False


class ContainerInterface(StoredValue):
    """What a container reads and writes.

    Attributes:
        model: name of the model in it.
        inputs: in the order of the model's modalities.
        result: folder for the mask, an .mha file named like the image that it lies on.
        volumes: JSON file for the volume of each structure in ml; None for none.
        values: that masks may hold.
        reference: number of the input on whose grid masks lie; None where all lie on one.
    """

    kind: ClassVar[str] = "container_interface"

    model: Name
    inputs: tuple[ContainerInput, ...] = Field(min_length=1)
    result: OutputPath
    volumes: OutputPath | None = None
    values: tuple[int, ...] = Field(min_length=1)
    reference: int | None = Field(default=None, ge=0)


def slug(name: str) -> str:
    """``name`` as Grand Challenge spells names in paths: small letters, digits, hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "image"


def parse_inputs(lines: Sequence[str], modalities: Sequence[str]) -> tuple[ContainerInput, ...]:
    """Inputs from lines such as ``T1=/input/images/t1-mri``; ``T1?=`` for a modality that a case may lack.

    Without any line, each modality is taken from ``/input/images/<its name as a slug>``.

    Raises:
        UsageError: if a line cannot be read, names no modality, or a modality has no line.
    """
    given: dict[str, ContainerInput] = {}
    for line in lines or [f"{name}=/input/images/{slug(name)}" for name in modalities]:
        name, _, path = line.partition("=")
        optional = name.endswith("?") and name not in modalities
        name = name.removesuffix("?") if optional else name
        if name not in modalities or name in given or not re.fullmatch(rf"{INPUT}(/{_PART})+", path):
            raise UsageError(
                "This line of the container's interface cannot be meant.",
                found=line,
                expected="MODALITY=/input/images/SLUG (MODALITY?=… where a case may lack it), each once, of "
                + ", ".join(modalities),
            )
        given[name] = ContainerInput(modality=name, path=path, optional=optional)
    missing = [name for name in modalities if name not in given]
    _require_each(missing, given)
    return tuple(given[name] for name in modalities)


def _require_each(missing: Sequence[str], given: Mapping[str, ContainerInput]) -> None:
    if missing:
        raise UsageError(
            "The container's interface lacks a modality of the model.",
            found=", ".join(given),
            expected="also " + ", ".join(missing),
            remedy=" ".join(f"--interface '{name}=/input/images/{slug(name)}'" for name in missing),
        )
    paths = [item.path for item in given.values()]
    if len(set(paths)) < len(paths):
        raise UsageError("Two modalities of the container's interface have one folder.", found=", ".join(paths))
