"""From what an importer found to a data set: ids, missing modalities, subjects and fixed splits, all checked."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autofuse.dataset.description import FILE, Description
from autofuse.dataset.fixed_splits import read_fixed_splits
from autofuse.dataset.problems import Findings
from autofuse.dataset.subjects import Subjects, find_subjects
from autofuse.dataset.types import Case, Dataset, ImageFile, Labels, mask_name

Images = tuple[ImageFile | None, ...]


@dataclass
class Draft:
    """What an importer read from a folder or a list, before anything was checked across cases.

    Attributes:
        layout, file_ending: as in ``Dataset``.
        train, test: images by case id, per channel.
        labels: label file by case id, of training cases.
        subjects: by case id, where the importer's own source says them; cases left out are their own.
        truths: dense label file for judging, by case id; of training cases and of test cases.
        labels_per_modality: whether labels and truths are by mask name instead (``Case.mask_name``), one a modality.
    """

    layout: str
    file_ending: str
    train: dict[str, Images] = field(default_factory=dict)
    test: dict[str, Images] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    subjects: dict[str, str] = field(default_factory=dict)
    truths: dict[str, str] = field(default_factory=dict)
    test_truths: dict[str, str] = field(default_factory=dict)
    labels_per_modality: bool = False

    def label_names(self, cases: Mapping[str, Images]) -> set[str]:
        """The names that labels of ``cases`` can have."""
        if not self.labels_per_modality:
            return set(cases)
        present = ((case, k) for case, images in cases.items() for k, image in enumerate(images) if image is not None)
        return {mask_name(case, channel) for case, channel in present}


def images_of(files: Mapping[int, str], channels: int, shared: bool = False) -> Images:
    """Files by channel as a tuple; ``shared``: the file of channel 0 holds all channels as its components."""
    if shared and channels > 1:
        return tuple(ImageFile(path=files[0], component=index) for index in range(channels))
    return tuple(ImageFile(path=files[index]) if index in files else None for index in range(channels))


def assemble(
    root: Path, draft: Draft, description: Description, labels: Labels | None, findings: Findings
) -> Dataset | None:
    """The data set that a draft describes; None where there is too little to describe one."""
    _check_ids(draft, findings)
    _check_presence(draft, description, findings)
    _check_own_labels(draft, description, findings)
    if not draft.train:
        findings.error(
            "no cases",
            "No training case was found.",
            file=root,
            remedy="Put images into imagesTr (<case>_0000.nii.gz …) or name them in the data set's list.",
        )
    elif not draft.labels:
        findings.error(
            "no labels", "No training case has a label.", file=root, remedy="Put labels into labelsTr (<case>.nii.gz)."
        )
    if labels is None or not description.channels:
        return None
    subjects = _subjects(root, draft, description, findings)
    missing = {k for images in draft.train.values() for k, image in enumerate(images) if image is None}
    dataset = Dataset(
        name=root.name or "dataset",
        root=str(root),
        layout=draft.layout,
        modalities=description.modalities(missing),
        labels=labels,
        cases=_cases(draft, draft.train, draft.labels, draft.truths, subjects.of),
        test_cases=_cases(draft, draft.test, {}, draft.test_truths, subjects.of),
        file_ending=draft.file_ending,
        subject_rule=subjects.rule,
        subjects_guessed=subjects.guessed,
        reference=_reference(description, findings),
        labels_per_modality=draft.labels_per_modality,
    )
    folds = read_fixed_splits(dataset, description.extensions, findings)
    return dataset.model_copy(update={"fixed_splits": folds})


def _reference(description: Description, findings: Findings) -> int | None:
    """The channel that ``reference_modality`` names."""
    name = description.extensions.reference_modality
    if name is None:
        return None
    channels = [k for k, channel in enumerate(description.channels) if channel == name]
    if len(channels) == 1:
        return channels[0]
    findings.error(
        "autofuse key",
        "reference_modality names no modality of this data set."
        if not channels
        else "reference_modality names several channels of this data set.",
        file=FILE,
        found=name,
        expected="one of " + ", ".join(description.channels),
        remedy="Spell it as in channel_names (in a table: as the column), and give each modality a name of its own.",
    )
    return None


def _subjects(root: Path, draft: Draft, description: Description, findings: Findings) -> Subjects:
    ids = (*draft.train, *draft.test)
    if not draft.subjects:
        return find_subjects(root, ids, description.extensions, findings)
    count = len(set(draft.subjects.values()))
    return Subjects({case: draft.subjects.get(case, case) for case in ids}, f"the table names {count} subjects")


def _cases(
    draft: Draft,
    images: Mapping[str, Images],
    labels: Mapping[str, str],
    truths: Mapping[str, str],
    subjects: Mapping[str, str],
) -> tuple[Case, ...]:
    cases = []
    for name, files in sorted(images.items()):
        case = Case(id=name, subject=subjects[name], images=files)
        found: dict[str, object] = {"label": labels.get(name), "evaluation_label": truths.get(name)}
        if draft.labels_per_modality:
            names = [case.mask_name(channel) for channel in range(len(files))]
            found = {"labels": _those(labels, names), "evaluation_labels": _those(truths, names)}
        cases.append(case.model_copy(update=found))
    return tuple(cases)


def _those(files: Mapping[str, str], names: Iterable[str]) -> tuple[str | None, ...]:
    """The files of these names, None where one is missing; () where all are."""
    found = tuple(files.get(name) for name in names)
    return found if any(found) else ()


def _check_own_labels(draft: Draft, description: Description, findings: Findings) -> None:
    """A mask for each modality asks for several modalities, and for a layout that can say which is whose."""
    wanted = description.extensions.labels_per_modality or draft.labels_per_modality
    if wanted and len(description.channels) < 2:
        findings.error(
            "autofuse key",
            "Each modality shall have labels of its own, and there is one modality only.",
            file=FILE,
            found=", ".join(description.channels),
            remedy="Take labels_per_modality out of dataset.json and name labels <case> without a channel's number.",
        )
    if wanted and not draft.labels_per_modality:
        findings.error(
            "autofuse key",
            f"A data set of the layout {draft.layout} cannot have labels for each modality.",
            file=FILE,
            expected="labelsTr/<case>_0000 … in nnU-Net's layout, or columns such as label_T1 in cases.csv",
            remedy="Bring it into one of these layouts, or take labels_per_modality out of dataset.json.",
        )


def bad_id(case: str) -> str | None:
    """Why a case id cannot name a file, or None where it can."""
    if not case.strip() or case in (".", ".."):
        return "it is empty or means a folder"
    if "/" in case or "\\" in case or any(ord(letter) < 32 for letter in case):
        return "it has a slash, a backslash or a control character"
    if case.startswith(".") or len(case.encode("utf-8", "replace")) > 200:
        return "it begins with a dot or is longer than 200 bytes"
    return None


def _check_ids(draft: Draft, findings: Findings) -> None:
    alike: dict[str, set[str]] = defaultdict(set)
    for case in {**draft.train, **draft.test}:
        alike[unicodedata.normalize("NFC", case).casefold()].add(case)
        why = bad_id(case)
        if why is not None:
            findings.error(
                "case id",
                f"A case's id cannot be used as a file name: {why}.",
                case=case,
                remedy="Rename the case.",
            )
    for names in alike.values():
        if len(names) > 1:
            findings.warn(
                "similar ids",
                "Ids of cases differ only in upper and lower case or in how letters are encoded.",
                case=sorted(names)[0],
                found=", ".join(sorted(names)),
                remedy="Rename one of them; some file systems hold them for the same.",
            )
    for case in sorted(set(draft.train) & set(draft.test)):
        findings.warn(
            "similar ids",
            "A training case and a test case have the same id.",
            case=case,
            remedy="Rename one of them if they are different images; remove the test case if they are the same.",
        )


def _check_presence(draft: Draft, description: Description, findings: Findings) -> None:
    """Missing modalities: an error where one is missing everywhere or is not optional, else a warning."""
    optional = description.extensions.optional_modalities
    nowhere = {k for k in range(len(description.channels)) if all(images[k] is None for images in draft.train.values())}
    for k in sorted(nowhere) if draft.train else ():
        findings.error(
            "missing modality",
            f"No training case has an image of channel {k}, {description.channels[k]}.",
            found=f"no file ending in _{k:04d}{draft.file_ending}",
            remedy="Add the images, or take the channel out of dataset.json.",
        )
    for case, images in {**draft.train, **draft.test}.items():
        for k, image in enumerate(images):
            if image is not None or k in nowhere:
                continue
            name = description.channels[k]
            told = {"case": case, "found": f"no image of channel {k}, {name}"}
            if optional is None:
                findings.warn(
                    "missing modality",
                    "A case lacks a modality; it is used without it.",
                    **told,
                    remedy="Add the image if it exists; "
                    'else write "autofuse": {"optional_modalities": [names]} in dataset.json.',
                )
            elif name not in optional:
                findings.error(
                    "missing modality",
                    "A case lacks a modality that the data set does not declare optional.",
                    **told,
                    remedy=f"Add the image, or add {name!r} to autofuse.optional_modalities in dataset.json.",
                )
