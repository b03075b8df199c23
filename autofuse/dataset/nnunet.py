"""nnU-Net v2's raw folder, read unchanged: imagesTr, labelsTr, imagesTs, dataset.json, explicit lists of files."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

from autofuse.dataset.assembly import Draft, Images, assemble, images_of
from autofuse.dataset.description import FILE, Description, check_count
from autofuse.dataset.listing import (
    contained,
    group_by_case,
    is_junk,
    labels_by_case,
    list_files,
    listed_file,
    note_orphans,
)
from autofuse.dataset.problems import Findings
from autofuse.dataset.types import Dataset, mask_name

DENSE_LABELS = "labelsTr_dense"
"""Folder of dense truth beside sparse labels; used for judging only."""
FLAT_ENDINGS = (".png", ".tif", ".tiff")
"""Natural-image formats, where nnU-Net lets one file hold all channels."""


def import_nnunet(root: Path, description: Description, findings: Findings) -> Dataset | None:
    """The data set in an nnU-Net v2 raw folder, as far as it can be described; everything odd goes to ``findings``."""
    _require_keys(description, findings)
    explicit = description.content.get("dataset")
    ending = description.file_ending or _ending_in_use(root, explicit, findings)
    if ending is None or not description.channels:
        return None
    own = description.extensions.labels_per_modality
    draft = Draft(layout="nnunet", file_ending=ending, labels_per_modality=own)
    if explicit is None:
        draft.train = _folder_images(root, "imagesTr", ending, len(description.channels), findings)
        draft.labels = _folder_labels(root, "labelsTr", draft, draft.train, findings)
    else:
        _read_lists(root, explicit, description, draft, findings)
    if (root / "imagesTs").is_dir():
        draft.test = _folder_images(root, "imagesTs", ending, len(description.channels), findings)
    add_truths(root, draft, description, findings)
    check_count(description.content, len(draft.train), findings)
    return assemble(root, draft, description, description.labels, findings)


def add_truths(root: Path, draft: Draft, description: Description, findings: Findings) -> None:
    """Find the labels that predictions are judged by: labelsTr_dense (or the declared folder) and labelsTs."""
    declared = description.extensions.evaluation_labels
    inside = declared is not None and contained(root, declared, description.extensions.outside_files) is not None
    if declared is not None and not (inside and (root / declared).is_dir()):
        findings.error(
            "autofuse key",
            "The folder that autofuse.evaluation_labels names does not exist in the data set's folder.",
            file=declared,
            remedy="Correct the name in dataset.json.",
        )
        declared = None
    dense = declared or DENSE_LABELS
    if (root / dense).is_dir():
        draft.truths = _folder_labels(root, dense, draft, draft.train, findings)
    if (root / "labelsTs").is_dir():
        draft.test_truths = _folder_labels(root, "labelsTs", draft, draft.test, findings)


def _require_keys(description: Description, findings: Findings) -> None:
    for key, present, example in (
        ("channel_names", description.channels or "modality" in description.content, '{"0": "T1", "1": "FLAIR"}'),
        ("labels", "labels" in description.content, '{"background": 0, "lesion": 1}'),
    ):
        if not present and key not in description.content:
            findings.error(
                "dataset.json",
                f"dataset.json lacks the key {key}.",
                file=FILE,
                expected=f'"{key}": {example}',
                remedy="Add it; documentation/reference/dataset_format.md describes the file.",
            )


def _ending_in_use(root: Path, explicit: Any, findings: Findings) -> str | None:
    """The one ending of the images where dataset.json does not say it."""
    from autofuse.images import SUPPORTED_ENDINGS

    if any(problem.rule == "file ending" for problem in findings.problems):
        return None
    names = [path.name for path in (root / "imagesTr").glob("*") if not is_junk(path.name)]
    if isinstance(explicit, dict):
        names = [str(entry.get("label", "")) for entry in explicit.values() if isinstance(entry, dict)]
    # Longest ending first, so that .nii.gz is not taken for something that ends in .gz.
    known = sorted(SUPPORTED_ENDINGS, key=len, reverse=True)
    used = Counter(next((ending for ending in known if name.endswith(ending)), "") for name in names)
    used.pop("", None)
    if len(used) == 1:
        ending = next(iter(used))
        findings.warn(
            "file ending",
            "dataset.json does not say the files' ending; it is taken from the images.",
            file=FILE,
            found=ending,
            remedy=f'Add "file_ending": "{ending}".',
        )
        return ending
    findings.error(
        "file ending",
        "dataset.json does not say the files' ending, and the images do not show a single one.",
        file=FILE,
        found=", ".join(sorted(used)) or "no images",
        remedy='Add "file_ending", such as ".nii.gz".',
    )
    return None


def _folder_images(root: Path, folder: str, ending: str, channels: int, findings: Findings) -> dict[str, Images]:
    grouped = group_by_case(list_files(root, folder, findings), folder, ending, channels, findings)
    shared = ending in FLAT_ENDINGS and all(set(files) == {0} for files in grouped.values())
    return {case: images_of(files, channels, shared) for case, files in grouped.items()}


def _folder_labels(
    root: Path, folder: str, draft: Draft, cases: dict[str, Images], findings: Findings
) -> dict[str, str]:
    """Label files of ``cases``; labels without an image are noted and left out."""
    labels = labels_by_case(list_files(root, folder, findings), folder, draft.file_ending, findings)
    names = draft.label_names(cases)
    note_orphans(labels, names, findings)
    return {name: label for name, label in labels.items() if name in names}


def _read_lists(root: Path, explicit: Any, description: Description, draft: Draft, findings: Findings) -> None:
    """nnU-Net's explicit lists: {"dataset": {case: {"images": [one per channel], "label": file}}}."""
    if not isinstance(explicit, dict):
        findings.error(
            "list entry",
            "The key dataset in dataset.json is no object of cases.",
            file=FILE,
            found=type(explicit).__name__,
            expected='{"case_1": {"images": ["a.nii.gz"], "label": "b.nii.gz"}}',
            remedy="Correct or remove the key.",
        )
        return
    outside = description.extensions.outside_files
    for case, entry in explicit.items():
        files = entry.get("images") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(files, list) or not files:
            findings.error(
                "list entry",
                "A case's entry in dataset.json does not list its images.",
                case=case,
                file=FILE,
                found=repr(entry)[:100],
                expected='{"images": [one file per channel], "label": file}',
                remedy="Complete the entry.",
            )
            continue
        draft.train[case] = _listed_images(root, case, files, draft.file_ending, description, findings)
        for name, file in _listed_labels(case, entry.get("label"), draft, findings).items():
            label = listed_file(root, _expanded(file), outside, case, findings)
            if label is not None:
                draft.labels[name] = label


def _listed_labels(case: str, entry: Any, draft: Draft, findings: Findings) -> dict[str, Any]:
    """By name the files that an entry lists as labels: one, or where modalities have their own, a list of them."""
    if entry is None or not draft.labels_per_modality:
        return {} if entry is None else {case: entry}
    if isinstance(entry, list) and len(entry) == len(draft.train[case]):
        return {mask_name(case, channel): file for channel, file in enumerate(entry) if file is not None}
    findings.error(
        "list entry",
        "A case's entry in dataset.json does not list one label per channel.",
        case=case,
        file=FILE,
        found=repr(entry)[:100],
        expected=f"a list of {len(draft.train[case])} files (null where a modality has no label)",
        remedy="Complete the entry, or take labels_per_modality out of the key autofuse.",
    )
    return {}


def _listed_images(
    root: Path, case: str, files: list[Any], ending: str, description: Description, findings: Findings
) -> Images:
    channels = len(description.channels)
    outside = description.extensions.outside_files
    shared = ending in FLAT_ENDINGS and len(files) == 1
    if len(files) != channels and not shared:
        findings.error(
            "channel number",
            "A case's entry in dataset.json does not list one image per channel.",
            case=case,
            file=FILE,
            found=f"{len(files)} images",
            expected=f"{channels}: {', '.join(description.channels)} (null for one that the case lacks)",
            remedy="Complete the entry.",
        )
    found = {}
    for channel, file in enumerate(files[:channels]):
        path = None if file is None else listed_file(root, _expanded(file), outside, case, findings)
        if path is not None:
            found[channel] = path
    return images_of(found, channels, shared and 0 in found)


def _expanded(path: Any) -> Any:
    """nnU-Net expands environment variables in its lists; so do we."""
    return os.path.expandvars(path) if isinstance(path, str) else path
