"""What a dataset.json says, validated: modalities, labels, ending, extensions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autofuse.dataset.extensions import Extensions, read_extensions
from autofuse.dataset.json_file import read_json
from autofuse.dataset.label_declaration import read_labels
from autofuse.dataset.problems import Findings
from autofuse.dataset.types import Labels, Modality

FILE = "dataset.json"


@dataclass(frozen=True)
class Description:
    """A dataset.json, as far as it could be understood.

    Attributes:
        content: everything it says.
        channels: names by channel; empty where it declares none.
        labels: None where they are not declared or not valid.
        file_ending: of images and labels, or None.
        extensions: of the key ``autofuse``.
    """

    content: dict[str, Any]
    channels: tuple[str, ...]
    labels: Labels | None
    file_ending: str | None
    extensions: Extensions

    def modalities(self, seen_missing: set[int]) -> tuple[Modality, ...]:
        """Modalities by channel; those that the data set declares optional, or those that some case lacks."""
        declared = self.extensions.optional_modalities
        return tuple(
            Modality(name=name, optional=(index in seen_missing) if declared is None else (name in declared))
            for index, name in enumerate(self.channels)
        )


def read_description(root: Path, findings: Findings) -> Description | None:
    """The folder's dataset.json, or None where it holds no JSON object."""
    content = None
    with findings.caught("dataset.json", file=FILE):
        content = read_json(root / FILE)
    if content is None and findings.errors:
        return None
    if not isinstance(content, dict):
        findings.error(
            "dataset.json",
            "dataset.json is no JSON object.",
            file=FILE,
            found=type(content).__name__,
            expected="an object with channel_names, labels and file_ending",
            remedy="Write it as documentation/reference/dataset_format.md shows.",
        )
        return None
    extensions = read_extensions(content, findings)
    channels = read_channels(content, findings)
    _check_optional(extensions, channels, findings)
    return Description(
        content=content,
        channels=channels,
        labels=read_labels(content, findings) if "labels" in content else None,
        file_ending=_ending(content, findings),
        extensions=extensions,
    )


def read_channels(content: dict[str, Any], findings: Findings) -> tuple[str, ...]:
    """Names of the channels from ``channel_names`` or, as the Decathlon and nnU-Net 1 call it, ``modality``."""
    key = "channel_names" if "channel_names" in content else "modality"
    if key not in content:
        return ()
    declared = content[key]
    good = isinstance(declared, dict) and bool(declared) and all(isinstance(name, str) for name in declared.values())
    numbers = sorted(declared, key=lambda text: (len(text), text)) if good else []
    if numbers != [str(index) for index in range(len(numbers))] or not good:
        findings.error(
            "channels",
            f"{key} in dataset.json does not name the channels 0, 1, 2 … without a gap.",
            file=FILE,
            found=repr(declared)[:200],
            expected='{"0": "T1", "1": "FLAIR"}',
            remedy="Name every channel, counting from 0; each name is text.",
        )
        return ()
    names = tuple(declared[number].strip() or f"channel {number}" for number in numbers)
    if len(set(names)) < len(names):
        findings.warn(
            "channels",
            "Several channels have the same name.",
            file=FILE,
            found=", ".join(names),
            remedy="Give each modality a name of its own, so that reports can tell them apart.",
        )
    return names


def _ending(content: dict[str, Any], findings: Findings) -> str | None:
    from autofuse.images import SUPPORTED_ENDINGS

    ending = content.get("file_ending")
    if ending is None or (isinstance(ending, str) and ending in SUPPORTED_ENDINGS):
        return ending
    findings.error(
        "file ending",
        "file_ending in dataset.json is none that autofuse reads.",
        file=FILE,
        found=repr(ending)[:50],
        expected="one of " + ", ".join(SUPPORTED_ENDINGS),
        remedy="Correct it (with the leading dot), or convert the images.",
    )
    return None


def _check_optional(extensions: Extensions, channels: tuple[str, ...], findings: Findings) -> None:
    unknown = sorted(set(extensions.optional_modalities or ()) - set(channels))
    if unknown and channels:
        findings.error(
            "autofuse key",
            "optional_modalities names a modality that is not declared.",
            file=FILE,
            found=", ".join(unknown),
            expected="some of " + ", ".join(channels),
            remedy="Spell it as in channel_names.",
        )


def check_count(content: dict[str, Any], count: int, findings: Findings) -> None:
    """Warn where numTraining is not the number of training cases; it decides nothing."""
    declared = content.get("numTraining")
    if declared is not None and declared != count:
        findings.warn(
            "numTraining",
            "numTraining in dataset.json is not the number of training cases that were found.",
            file=FILE,
            found=f"{declared!r} declared, {count} there",
            remedy="Check that no case is missing; then correct the number. It decides nothing.",
        )
