"""A Medical Segmentation Decathlon task, read unchanged: lists of images in dataset.json, modalities in a 4th axis.

nnU-Net 1 kept the Decathlon's dataset.json but split the images into one file per channel; that is understood too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autofuse.dataset.assembly import Draft, Images, assemble, images_of
from autofuse.dataset.description import FILE, Description, check_count
from autofuse.dataset.listing import contained, is_junk, listed_file
from autofuse.dataset.nnunet import add_truths
from autofuse.dataset.problems import Findings
from autofuse.dataset.types import Dataset


def is_decathlon(content: dict[str, Any]) -> bool:
    """Whether a dataset.json is a Decathlon task's: it has lists ``training`` of images, and names ``modality``."""
    return "modality" in content and "channel_names" not in content and isinstance(content.get("training"), list)


def import_decathlon(root: Path, description: Description, findings: Findings) -> Dataset | None:
    """The data set in a Task… folder, as far as it can be described; everything odd goes to ``findings``."""
    if "labels" not in description.content:
        findings.error(
            "dataset.json",
            "dataset.json lacks the key labels.",
            file=FILE,
            expected='"labels": {"0": "background", "1": "tumour"}',
            remedy="Add it.",
        )
    if not description.channels:
        return None
    entries = [entry for entry in description.content["training"] if not _names_junk(entry)]
    draft = Draft(layout="decathlon", file_ending=description.file_ending or _ending(entries))
    for entry in entries:
        image = entry.get("image") if isinstance(entry, dict) else entry
        case = _add(root, image, draft.train, draft.file_ending, description, findings)
        if case is None or not isinstance(entry, dict) or entry.get("label") is None:
            continue
        label = listed_file(root, entry["label"], description.extensions.outside_files, case, findings)
        if label is not None:
            draft.labels[case] = label
    tests = description.content.get("test")
    for entry in tests if isinstance(tests, list) else ():
        if not _names_junk(entry):
            image = entry.get("image") if isinstance(entry, dict) else entry
            _add(root, image, draft.test, draft.file_ending, description, findings)
    add_truths(root, draft, description, findings)
    check_count(description.content, len(draft.train), findings)
    return assemble(root, draft, description, description.labels, findings)


def _names_junk(entry: Any) -> bool:
    image = entry.get("image") if isinstance(entry, dict) else entry
    return isinstance(image, str) and is_junk(Path(image).name)


def _ending(entries: list[Any]) -> str:
    """Ending of the first listed image; .nii.gz, the Decathlon's, where nothing is listed."""
    from autofuse.images import SUPPORTED_ENDINGS

    images = [str(entry.get("image") if isinstance(entry, dict) else entry) for entry in entries]
    for ending in sorted(SUPPORTED_ENDINGS, key=len, reverse=True):
        if images and images[0].endswith(ending):
            return ending
    return ".nii.gz"


def _add(
    root: Path, image: Any, into: dict[str, Images], ending: str, description: Description, findings: Findings
) -> str | None:
    """Add one listed image as a case; its id, or None where the entry cannot be used."""
    if not isinstance(image, str) or not image.endswith(ending):
        findings.error(
            "list entry",
            "An entry of a list in dataset.json names no image of the data set's kind.",
            file=FILE,
            found=repr(image)[:100],
            expected=f"a path that ends in {ending}",
            remedy="Correct the entry.",
        )
        return None
    case = Path(image).name.removesuffix(ending)
    if case in into:
        findings.error(
            "case id", "Two listed images have the same name.", case=case, file=image, remedy="Rename one of them."
        )
        return None
    channels = len(description.channels)
    outside = description.extensions.outside_files
    split = _split_files(root, image, ending, channels, outside)
    if split:
        into[case] = images_of(split, channels)
        return case
    path = listed_file(root, image, outside, case, findings)
    if path is None:
        return None
    into[case] = images_of({0: path}, channels, shared=channels > 1)
    return case


def _split_files(root: Path, image: str, ending: str, channels: int, outside: bool) -> dict[int, str]:
    """nnU-Net 1's files <case>_0000.nii.gz …, by channel, where the listed file itself does not exist."""
    path = contained(root, image, outside)
    if path is None or (root / path).exists():
        return {}
    parts = {channel: f"{path.removesuffix(ending)}_{channel:04d}{ending}" for channel in range(channels)}
    return {channel: part for channel, part in parts.items() if (root / part).is_file()}
