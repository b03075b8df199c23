"""Normalisation, fusion, supervision and mirroring: what the fingerprint says decides."""

from __future__ import annotations

from typing import Any

import pytest
from plan_examples import case_of, fingerprint_of, labels_of, same_cases

from autofuse.fingerprint.types import Fingerprint, IntensityFacts
from autofuse_planners.fusion import TABLE, choose_fusion
from autofuse_planners.mirroring import choose_mirroring, sided_names
from autofuse_planners.normalisation import choose_normalisation
from autofuse_planners.supervision import choose_trainer
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


def test_one_modality_is_not_fused() -> None:
    found = choose_fusion(of_one_modality("MR"), RULES)
    assert (found.topology, found.modality_dropout) == ("early", 0.0)
    assert "one modality" in found.decisions[0].rule
    assert found.decisions[0].alternatives == ()


def test_two_modalities_are_concatenated_and_the_other_topologies_passed_over_with_reasons() -> None:
    found = choose_fusion(fingerprint_of(same_cases(SHAPE, SPACING, modalities=2), modalities=("T1", "T2")), RULES)
    assert (found.topology, found.modality_dropout) == ("early", 0.0)
    passed = found.decisions[0].alternatives
    assert len(passed) == len(TABLE) - 2
    assert all(any(text.startswith(row.topology) for text in passed) for row in TABLE[1:-1])


@pytest.mark.parametrize(("missing", "dropout"), [(0, 0.0), (1, 0.35), (8, 0.4), (15, 0.5)])
def test_a_modality_that_can_be_missing_is_dropped_while_training(missing: int, dropout: float) -> None:
    cases = [
        case_of(i, SHAPE, SPACING, modalities=2, present=(True, i >= missing), minmax=((0.0, 9.0),) * 2)
        for i in range(20)
    ]
    assert choose_fusion(fingerprint_of(cases, modalities=("T1", "T2")), RULES).modality_dropout == dropout


def test_an_optional_modality_is_dropped_even_where_it_is_always_there() -> None:
    cases = same_cases(SHAPE, SPACING, modalities=2)
    fingerprint = fingerprint_of(cases, modalities=("T1", "T2"), optional=(False, True))
    assert choose_fusion(fingerprint, RULES).modality_dropout == RULES.dropout_low


@pytest.mark.parametrize(
    ("dense", "sparse", "unlabelled", "trainer"),
    [(5, 0, 0, "supervised"), (0, 5, 0, "partial"), (4, 1, 0, "partial"), (4, 0, 3, "partial")],
)
def test_annotation_decides_the_trainer(dense: int, sparse: int, unlabelled: int, trainer: str) -> None:
    kinds = [("dense", 1.0)] * dense + [("sparse", 0.01)] * sparse + [("none", 0.0)] * unlabelled
    cases = [
        case_of(i, SHAPE, SPACING, annotation=kind, labelled_fraction=share) for i, (kind, share) in enumerate(kinds)
    ]
    choice, why = choose_trainer(fingerprint_of(cases), RULES)
    assert choice.name == trainer
    assert why.evidence["unlabelled_cases"] == unlabelled
    assert bool(why.alternatives) == bool(unlabelled)


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
