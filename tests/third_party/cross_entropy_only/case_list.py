"""The list of all cases with the size of each mask: a submission target of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from autofuse.foundation.files import write_bytes
from autofuse.images import read_label_image
from autofuse.sharing.submissions.target import Material


@dataclass(frozen=True)
class CaseList:
    """Attributes: separator: between the case and its number of voxels."""

    takes: ClassVar[Literal["masks", "model"]] = "masks"

    separator: str = ","

    def faults(self, material: Material) -> Sequence[str]:
        return [f"{case.id}: a blank in the name" for case in material.dataset.test_cases if " " in case.id]

    def place(self, name: str) -> str:
        return f"{name}.csv"

    def write(self, material: Material, out: Path) -> Sequence[str]:
        assert material.masks is not None
        lines = []
        for case in material.dataset.test_cases:
            mask = read_label_image(material.masks / f"{case.id}{material.dataset.file_ending}")
            lines.append(f"{case.id}{self.separator}{int((mask.voxels > 0).sum())}\n")
        write_bytes(out, "".join(lines).encode())
        return [f"{len(lines)} cases listed"]
