"""Normalisation, mirroring and schedule: what the fingerprint and the length say decides."""

from __future__ import annotations

from typing import Any

import pytest
from plan_examples import case_of, fingerprint_of, labels_of, same_cases

from autofuse.fingerprint.types import Fingerprint, IntensityFacts
from autofuse_planners.mirroring import choose_mirroring, sided_names
from autofuse_planners.normalisation import choose_normalisation
from autofuse_planners.schedule import choose_schedule
from autofuse_planners.thresholds import Thresholds

RULES = Thresholds()
SHAPE, SPACING = (40, 50, 60), (1.0, 1.0, 1.0)
HOUNSFIELD = IntensityFacts(
    voxels=1000, mean=60.0, std=30.0, minimum=-200.0, percentile_00_5=-50.0, median=60.0, percentile_99_5=150.0,
    maximum=900.0, integral=True,
)  # fmt: skip


def of_one_modality(name: str, intensities: IntensityFacts | None = None, **facts: Any) -> Fingerprint:
    extra = {} if intensities is None else {"intensities": (intensities,)}
    return fingerprint_of(same_cases(SHAPE, SPACING, **facts), modalities=(name,), **extra)


@pytest.mark.parametrize(
    ("name", "scheme"),
    [("CT", "ct"), ("ct venous", "ct"), ("MR", "zscore"), ("PET/CT", "zscore"), ("noNorm", "none"), ("PET", "zscore"),
     ("rescale_0_1", "rescale_0_1"), ("contrast", "zscore")],
)  # fmt: skip
def test_normalisation_by_name(name: str, scheme: str) -> None:
    (found,), (why,) = choose_normalisation(of_one_modality(name, HOUNSFIELD), RULES)
    assert found.scheme == scheme == why.chosen
    if scheme == "ct":
        assert (found.lower, found.upper, found.mean, found.std) == (-50.0, 150.0, 60.0, 30.0)


@pytest.mark.parametrize("air", [-1000.0, -1024.0, -2048.0, -3024.0])
def test_hounsfield_units_are_recognised_whatever_the_name(air: float) -> None:
    (found,), (why,) = choose_normalisation(of_one_modality("scan", HOUNSFIELD, minmax=((air, 1900.0),)), RULES)
    assert found.scheme == "ct"
    assert why.evidence["share_of_cases_with_air"] == 1.0


def test_negative_or_fractional_intensities_alone_are_not_hounsfield_units() -> None:
    shifted = of_one_modality("scan", HOUNSFIELD, minmax=((-500.0, 1900.0),))
    fractional = of_one_modality("scan", HOUNSFIELD.model_copy(update={"integral": False}), minmax=((-1000.0, 1900.0),))
    for fingerprint in (shifted, fractional):
        assert choose_normalisation(fingerprint, RULES)[0][0].scheme == "zscore"


def test_crops_that_keep_little_are_normalised_inside_their_mask() -> None:
    (found,), (why,) = choose_normalisation(of_one_modality("MR", crop_fraction=0.5), RULES)
    assert found.scheme == "zscore_nonzero"
    assert why.evidence["median_share_kept_by_crop"] == 0.5


def test_photographs_are_rescaled() -> None:
    cases = same_cases((1, 100, 100), SPACING, modalities=3, minmax=((0.0, 255.0),) * 3)
    whole = (HOUNSFIELD.model_copy(update={"minimum": 0.0, "maximum": 255.0}),) * 3
    for names in (("R", "G", "B"), ("0", "1", "2")):
        found, _ = choose_normalisation(fingerprint_of(cases, modalities=names, intensities=whole), RULES)
        assert {item.scheme for item in found} == {"rescale_0_1"}


def test_names_with_sides() -> None:
    assert sided_names(["left kidney", "right kidney", "liver"]) == ["left kidney", "right kidney"]
    assert sided_names(["kidneyLeft"]) == ["kidneyLeft"]
    assert sided_names(["lung_l", "lung_r"]) == ["lung_l", "lung_r"]
    assert sided_names(["RV", "MYO", "LV", "cleft", "bright spot", "layer l"]) == []


def test_sided_classes_are_not_mirrored() -> None:
    fingerprint = of_one_modality("CT")
    axes, why = choose_mirroring(fingerprint, labels_of("left kidney"), (0, 1, 2), 100_000, RULES)
    assert (axes, why.chosen) == ((), "none")
    axes, _ = choose_mirroring(fingerprint, labels_of("kidney"), (0, 1, 2), 100_000, RULES)
    assert axes == (0, 1, 2)


def test_classes_in_constant_order_are_not_swapped_in_a_short_training() -> None:
    """Front and back of something: 15 mm apart along raw axis 1, within 2 mm."""
    cases = [
        case_of(i, SHAPE, SPACING, classes=2, class_centroids_mm=((20.0, 20.0, 30.0), (20.0, 35.0 + i % 3, 30.0)))
        for i in range(12)
    ]
    fingerprint, labels = fingerprint_of(cases, classes=("front", "back")), labels_of("front", "back")
    axes, why = choose_mirroring(fingerprint, labels, (1, 0, 2), 2_000, RULES)
    assert axes == (1, 2)  # raw axis 1 comes first after transposition
    assert any("front to back along axis 0" in name for name in why.evidence)
    axes, _ = choose_mirroring(fingerprint, labels, (1, 0, 2), 200_000, RULES)
    assert axes == (0, 1, 2)


@pytest.mark.parametrize(
    ("steps", "fields"),
    [
        (800, {"momentum": 0.9, "learning_rate": 0.1, "weight_decay": 3e-3}),
        (5_000, {"momentum": 0.9, "learning_rate": 0.1, "weight_decay": 1.5e-3}),
        (20_000, {}),
    ],
)
def test_short_trainings_have_less_inertia(steps: int, fields: dict[str, float]) -> None:
    found, why = choose_schedule(steps, RULES)
    assert found == fields
    assert why.evidence["steps"] == steps
    assert choose_schedule(steps, Thresholds(short_training_steps=1))[0] == {}
