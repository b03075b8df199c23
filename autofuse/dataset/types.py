"""What a data set is: modalities, labels, cases, and which files belong to them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from autofuse.foundation.values import StoredValue, Value, is_empty

IGNORE = -1
"""Value of a voxel that nobody labelled, in every prepared or in-memory label map."""


class Modality(Value):
    """One kind of image of a patient; its position in the data set is its channel."""

    name: str
    optional: bool = False


class LabelClass(Value):
    """One thing to segment: a class (one raw value) or a region (several raw values)."""

    name: str
    raw_values: tuple[int, ...] = Field(min_length=1)


class Labels(Value):
    """What a raw label map's values mean.

    Classes exclude each other and are predicted by a softmax over background + classes. Regions may overlap: each is
    a sigmoid of its own, and masks are written back by painting ``region_values`` in order, later ones on top.

    Attributes:
        classes: foreground only, in order; output channel k + 1 (classes) or k (regions) belongs to classes[k].
        ignore: raw value of voxels that nobody labelled, or None.
        region_values: for regions, the raw value painted for each of ``classes``, in painting order; else empty.
    """

    classes: tuple[LabelClass, ...] = Field(min_length=1)
    ignore: int | None = None
    region_values: tuple[int, ...] = ()

    @property
    def has_regions(self) -> bool:
        """Whether outputs are overlapping regions (sigmoid) instead of exclusive classes (softmax)."""
        return bool(self.region_values)

    @property
    def outputs(self) -> int:
        """Channels that a network predicts: regions, or classes with background."""
        return len(self.classes) if self.has_regions else len(self.classes) + 1

    @property
    def raw_values(self) -> tuple[int, ...]:
        """Every raw foreground value, ascending, without background and ignore."""
        return tuple(sorted({value for item in self.classes for value in item.raw_values if value != 0}))


class ImageFile(Value):
    """Where one modality of one case is stored: a file (relative to the data set's root) and, for a file that holds
    several modalities, which component."""

    path: str
    component: int | None = None


class Case(Value):
    """One set of images taken together.

    Attributes:
        id: unique name; masks are written under it.
        subject: the person; splits never separate the cases of one subject.
        images: per modality (in the data set's order) its file, or None where this case lacks it.
        label: the label map's path relative to the root, or None for an unlabelled case.
        evaluation_label: dense truth kept for judging only, never for training; None to judge by ``label``.
        labels: where modalities carry masks of their own, per modality its label map, on the grid of that modality, or
            None where nobody labelled it; () where one label is for all (``label``).
        evaluation_labels: the same of dense truth.
    """

    id: str
    subject: str
    images: tuple[ImageFile | None, ...]
    label: str | None = None
    evaluation_label: str | None = None
    labels: tuple[str | None, ...] = Field(default=(), exclude_if=is_empty)
    evaluation_labels: tuple[str | None, ...] = Field(default=(), exclude_if=is_empty)

    @property
    def label_files(self) -> tuple[str, ...]:
        """The label maps that it is taught by: one for all modalities, or those that modalities have."""
        return tuple(path for path in (self.label, *self.labels) if path is not None)

    @property
    def labelled(self) -> bool:
        """Whether anybody labelled any of it."""
        return bool(self.label_files)

    @property
    def taught(self) -> dict[str, str]:
        """By name of a mask of this case, the label that teaches it."""
        return self._named(self.label, self.labels)

    @property
    def truths(self) -> dict[str, str]:
        """By name of a mask of this case, the file that judges it: dense truth where there is one, else the label."""
        return self.taught | self._named(self.evaluation_label, self.evaluation_labels)

    def _named(self, shared: str | None, own: tuple[str | None, ...]) -> dict[str, str]:
        files = {self.id: shared} | {self.mask_name(channel): path for channel, path in enumerate(own)}
        return {name: path for name, path in files.items() if path is not None}

    def mask_name(self, channel: int) -> str:
        """Under which name the mask of one modality stands where each has its own: that of its image."""
        return mask_name(self.id, channel)

    def without_labels(self) -> Case:
        """The same, with nothing to be taught or judged by."""
        none = {"label": None, "evaluation_label": None, "labels": (), "evaluation_labels": ()}
        return self.model_copy(update=none)


def mask_name(case_id: str, channel: int) -> str:
    """``Case.mask_name`` of a case that is known by its id alone."""
    return f"{case_id}_{channel:04d}"


class Dataset(StoredValue):
    """A data set as its folder describes it. Raw files are read only, never written.

    Attributes:
        root: absolute folder of the raw data.
        layout: which importer understood it ("nnunet", "decathlon", "table").
        cases: training cases, by id.
        test_cases: cases to predict, by id.
        file_ending: how masks are written (".nii.gz", ".mha", ".png" ...).
        subject_rule: how subjects were told apart, for people; subjects_guessed: whether that is a guess.
        fixed_splits: per fold (training ids, held-out ids), where the data set gives them; else empty.
        reference: channel whose grid masks of unlabelled cases lie on; None where the data set names none.
        labels_per_modality: whether each modality carries a mask of its own, on its own grid (``Case.labels``).
    """

    kind: ClassVar[str] = "dataset"

    name: str
    root: str
    layout: str
    modalities: tuple[Modality, ...] = Field(min_length=1)
    labels: Labels
    cases: tuple[Case, ...]
    test_cases: tuple[Case, ...] = ()
    file_ending: str = ".nii.gz"
    subject_rule: str = "each case is a subject of its own"
    subjects_guessed: bool = False
    fixed_splits: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
    reference: int | None = Field(default=None, ge=0)
    labels_per_modality: bool = Field(default=False, exclude_if=is_empty)

    def path(self, relative: str) -> Path:
        """Absolute path of a file of this data set."""
        return Path(self.root) / relative

    def case(self, case_id: str) -> Case:
        """The training or test case called ``case_id``.

        Raises:
            KeyError: if there is none.
        """
        for case in (*self.cases, *self.test_cases):
            if case.id == case_id:
                return case
        raise KeyError(case_id)


class Splits(StoredValue):
    """Which labelled cases train and which are held out, fold by fold; unlabelled cases always may train.

    Attributes:
        folds: per fold (training ids, held-out ids), each sorted.
        rule: how they were made, for people.
    """

    kind: ClassVar[str] = "splits"

    folds: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = Field(min_length=1)
    rule: str
