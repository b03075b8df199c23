"""What a data set may say beyond nnU-Net's layout: the key ``autofuse`` in dataset.json."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import Field, ValidationError, field_validator

from autofuse.dataset.problems import Findings
from autofuse.foundation.values import Value


class FixedFold(Value):
    """One fold, by case ids, as nnU-Net's splits_final.json writes it."""

    train: tuple[str, ...]
    val: tuple[str, ...]


class Extensions(Value):
    """The schema of the key ``autofuse``; unknown keys are refused.

    Attributes:
        optional_modalities: names of modalities that a case may lack. Where it is given, a case that lacks any other
            is an error; where it is not, a missing image is a warning and the modality becomes optional.
        subject_pattern: regular expression searched in each case id; its group ``subject`` (or its first group) is the
            subject.
        subject_table: CSV file with the columns ``case`` and ``subject``; excludes ``subject_pattern``.
        splits: fixed folds; they win over a splits_final.json in the folder.
        evaluation_labels: folder of dense labels that training cases are judged by (default labelsTr_dense).
        reference_modality: name of the modality on whose grid masks are made, where modalities lie on several grids and
            no mask says it.
        labels_per_modality: whether each modality has a label map of its own, called like its image.
        outside_files: allow lists of files to name files outside the data set's folder.
    """

    optional_modalities: tuple[str, ...] | None = None
    subject_pattern: str | None = None
    subject_table: str | None = None
    splits: tuple[FixedFold, ...] | None = Field(default=None, min_length=1)
    evaluation_labels: str | None = None
    reference_modality: str | None = None
    labels_per_modality: bool = False
    outside_files: bool = False

    @field_validator("subject_pattern")
    @classmethod
    def _compiles_with_a_group(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        if not compiled.groups:
            raise ValueError("the pattern needs a group in parentheses that matches the subject")
        return pattern


def read_extensions(content: dict[str, Any], findings: Findings) -> Extensions:
    """The validated key ``autofuse`` of a dataset.json; every field that is not valid is noted."""
    if "autofuse" not in content:
        return Extensions()
    try:
        extensions = Extensions.model_validate_json(json.dumps(content["autofuse"]))
    except ValidationError as error:
        for problem in error.errors():
            findings.error(
                "autofuse key",
                f"The key autofuse in dataset.json is not valid: {problem['msg']}.",
                file="dataset.json",
                found=".".join(("autofuse", *map(str, problem["loc"]))),
                expected="fields: " + ", ".join(Extensions.model_fields),
                remedy="Correct the field; documentation/reference/dataset_format.md describes each.",
            )
        return Extensions()
    if extensions.subject_pattern is not None and extensions.subject_table is not None:
        findings.error(
            "autofuse key",
            "Both subject_pattern and subject_table say which cases belong together.",
            file="dataset.json",
            remedy="Keep one of them.",
        )
    return extensions
