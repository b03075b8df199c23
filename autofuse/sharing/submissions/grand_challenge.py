"""A build context for Grand Challenge: Dockerfile, entry point, interface, bundle, wheels and pinned requirements.

The container takes one case a start from ``/input``, writes ``/output``, has ``/tmp`` for everything else, needs no
network, and is run by a user without rights (https://grand-challenge.org/documentation/runtime-environment/).
"""

from __future__ import annotations

import shutil
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import ValidationError

from autofuse.foundation.errors import UsageError
from autofuse.foundation.files import folder_atomically, sync
from autofuse.sharing.layout import BUNDLE_ENDING
from autofuse.sharing.layout import MODEL as MODEL_ENTRY
from autofuse.sharing.submissions.interface import INTERFACE, ContainerInterface, parse_inputs, slug
from autofuse.sharing.submissions.mask_check import mask_values
from autofuse.sharing.submissions.target import Material
from autofuse.sharing.submissions.texts import ENTRY_POINT_TEXT, IGNORED_TEXT, dockerfile, readme
from autofuse.sharing.submissions.wheels import packed_distributions, requirements, write_wheel
from autofuse.sharing.types import SharedModel

ENTRY_POINT, REQUIREMENTS, WHEELS, MODEL = "entry_point.py", "requirements.txt", "wheels", "model"
CONTEXT_FILES = ("Dockerfile", ".dockerignore", ENTRY_POINT, REQUIREMENTS, INTERFACE, "README.md")


@dataclass(frozen=True)
class GrandChallenge:
    """A container.

    Attributes:
        interface: lines such as "T1=/input/images/t1-mri", or "T1?=…" for a modality that cases may lack; without any,
            the slug of each modality's name.
        result: folder for the mask; None for ``/output/images/<model>-segmentation``.
        volumes: JSON file for the volume of each structure in ml, such as "/output/volumes.json"; None for none.
        gpu: whether torch for CUDA is installed; such a container runs without a GPU, too.
        base_image: that the container stands on; None for Python's own of the version that runs here.
    """

    takes: ClassVar[Literal["masks", "model"]] = "model"

    interface: tuple[str, ...] = ()
    result: str | None = None
    volumes: str | None = None
    gpu: bool = False
    base_image: str | None = None

    def faults(self, material: Material) -> Sequence[str]:
        """None; an interface that cannot be meant is refused.

        Raises:
            UsageError: if it cannot.
        """
        self.read_interface(material)
        return ()

    def place(self, name: str) -> str:
        """A folder."""
        return f"{name}-container"

    def read_interface(self, material: Material) -> ContainerInterface:
        """What the options say.

        Raises:
            UsageError: if they cannot be meant.
        """
        dataset = material.dataset
        inputs = parse_inputs(self.interface, [item.name for item in dataset.modalities])
        try:
            return ContainerInterface(
                model=material.name,
                inputs=inputs,
                result=self.result or f"/output/images/{slug(material.name)}-segmentation",
                volumes=self.volumes,
                values=mask_values(dataset.labels),
                reference=material.reference,
            )
        except ValidationError as error:
            first = error.errors()[0]
            raise UsageError(
                "The container cannot write there.",
                found=f"{'.'.join(map(str, first['loc']))}: {first['input']}",
                expected="a path such as /output/images/SLUG, or /output/NAME.json",
            ) from None

    def write(self, material: Material, out: Path) -> Sequence[str]:
        """The build context."""
        if material.bundle is None:
            raise UsageError("A container is made from a model, and there is none.")
        interface = self.read_interface(material)
        packages = packed_distributions(_trainers(material.bundle))
        base = self.base_image or f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"
        bundle = f"{material.name}{BUNDLE_ENDING}"
        texts = {
            "Dockerfile": dockerfile(base, f"{MODEL}/{bundle}"),
            ".dockerignore": IGNORED_TEXT,
            ENTRY_POINT: ENTRY_POINT_TEXT,
            REQUIREMENTS: requirements(packages, gpu=self.gpu),
            INTERFACE: interface.to_json(),
            "README.md": readme(interface, gpu=self.gpu),
        }
        with folder_atomically(out) as temp:
            for name, text in texts.items():
                (temp / name).write_text(text, encoding="utf-8")
            (temp / WHEELS).mkdir()
            for package in packages:
                write_wheel(package, temp / WHEELS)
            (temp / MODEL).mkdir()
            shutil.copyfile(material.bundle, temp / MODEL / bundle)
            sync(temp / MODEL / bundle)
        return [] if self.interface else [f"{item.modality} is expected in {item.path}" for item in interface.inputs]


def _trainers(bundle: Path) -> list[str]:
    """Names of the trainers whose networks are in the bundle."""
    with zipfile.ZipFile(bundle) as archive:
        model = SharedModel.parse(archive.read(MODEL_ENTRY), bundle)
    return sorted({member.trainer for member in model.members})
