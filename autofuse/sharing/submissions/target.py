"""What a submission target is: a frozen dataclass whose fields are its options, found by entry point.

Ours are found in the group ``autofuse.submissions`` exactly as anybody's are; how to write one is told in
documentation/how-to/write_a_submission_target.md.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, cast

from pydantic import TypeAdapter, ValidationError

from autofuse.dataset.types import Dataset
from autofuse.foundation.errors import DataError, UsageError
from autofuse.foundation.registry import SUBMISSIONS, load_registered

FAULTS_TOLD = 20


@dataclass(frozen=True)
class Material:
    """What a submission is made from.

    Attributes:
        name: of the model; names files.
        dataset: its test cases are submitted, its modalities and labels are the model's.
        reference: channel on whose grid masks lie; None where all lie on one.
        masks: folder with a mask ``<case><file_ending>`` of every test case; None for a target that takes the model.
        bundle: the model as `autofuse export` writes it; None for a target that takes masks.
    """

    name: str
    dataset: Dataset
    reference: int | None = None
    masks: Path | None = None
    bundle: Path | None = None


class Target(Protocol):
    """One way to submit.

    Attributes:
        takes: whether it wants the masks of the test cases, or the model as a bundle.
    """

    takes: ClassVar[Literal["masks", "model"]]

    def faults(self, material: Material) -> Sequence[str]:
        """What keeps this from being submitted, as far as it shows before anything is predicted or exported."""

    def place(self, name: str) -> str:
        """Name of the file or folder that is written where the user names none; ``name`` is the model's."""

    def write(self, material: Material, out: Path) -> Sequence[str]:
        """Write the submission to ``out``, whole or not at all; remarks for the user.

        Raises:
            DataError: if the material must not be submitted; all of what is wrong is listed.
        """


def make_target(name: str, fields: Mapping[str, Any] | None = None) -> Target:
    """The target registered as ``name`` with ``fields`` instead of its defaults.

    Raises:
        UsageError: if there is no such target, it has no such field, or a value is of the wrong type.
    """
    kind: Any = load_registered(SUBMISSIONS, name)
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise UsageError(f"What is registered as submission {name!r} is not a dataclass.", found=repr(kind)[:120])
    known = {field.name: field for field in dataclasses.fields(kind) if field.init}
    described = ", ".join(f"{field.name} (now {field.default!r})" for field in known.values()) or "no options"
    for field in fields or {}:
        if field not in known:
            raise UsageError(f"The submission {name!r} has no option {field!r}.", expected=described)
    try:
        adapter = TypeAdapter(cast("type[Any]", kind))
        return cast("Target", adapter.validate_json(json.dumps(dict(fields or {})), strict=True))
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"An option of the submission {name!r} does not take this value: {first['msg']}.",
            found=f"{'.'.join(map(str, first['loc']))}: {json.dumps(first['input'])[:120]}",
            expected=described,
        ) from None


def refuse(faults: Sequence[str], problem: str, remedy: str, file: Path | None = None) -> None:
    """Nothing, if there are no faults.

    Raises:
        DataError: listing them.
    """
    if not faults:
        return
    told = list(faults[:FAULTS_TOLD])
    if len(faults) > FAULTS_TOLD:
        told.append(f"and {len(faults) - FAULTS_TOLD} more")
    raise DataError(problem, file=file, found="\n    " + "\n    ".join(told), remedy=remedy)
