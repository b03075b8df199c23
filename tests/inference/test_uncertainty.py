"""Entropy, mutual information and volumes on values that can be computed by hand; members that crop otherwise."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from inference_fakes import REGIONS, Voxelwise, class_labels, make_case, make_model, make_task

from autofuse.inference.case import load_for, predict_case, predict_loaded
from autofuse.inference.prediction import PredictOptions, grid_key
from autofuse.inference.recipe import StructureSteps
from autofuse.inference.uncertainty import FULL, calibrated, entropy

LABELS = class_labels(2)


def steps(shape: tuple[int, int, int] = (8, 12, 10)) -> np.ndarray:
    """Intensities 0, 1 and 2 side by side; each voxel's class is its intensity."""
    volume = np.zeros(shape, dtype=np.float32)
    volume[1:-1, 2:6, 1:-1], volume[1:-1, 6:-1, 1:-1] = 1, 2
    volume[0, 0, 0] = volume[-1, -1, -1] = 1  # nothing is cropped
    return volume


def test_entropy_is_a_share_of_the_largest_possible() -> None:
    p = torch.tensor([[1.0, 1 / 3, 0.5], [0.0, 1 / 3, 0.5], [0.0, 1 / 3, 0.0]])
    torch.testing.assert_close(entropy(p, LABELS), torch.tensor([0.0, 1.0, math.log(2) / math.log(3)]))
    regions = torch.tensor([[0.5, 1.0], [0.5, 0.0], [0.5, 0.5]])
    torch.testing.assert_close(entropy(regions, REGIONS), torch.tensor([1.0, 1 / 3]))


def test_a_temperature_divides_log_odds() -> None:
    p = torch.tensor([[0.8], [0.2]])
    hot = calibrated(p, class_labels(1), 2.0)
    assert hot[0, 0] / hot[1, 0] == pytest.approx(2.0)  # odds of 4, their square root
    region = calibrated(torch.tensor([[0.8], [0.5], [0.1]]), REGIONS, 2.0)
    np.testing.assert_allclose(region[:, 0], [2 / 3, 0.5, 0.25], atol=1e-5)
    assert calibrated(p, LABELS, 1.0) is p


def test_members_that_agree_share_no_information() -> None:
    task = make_task(LABELS)
    twins = [make_model(task, Voxelwise()), make_model(task, Voxelwise())]
    found = predict_case(twins, make_case(steps()), PredictOptions(uncertainty=True))
    assert found.uncertainty is not None and found.uncertainty.mutual_information is not None
    assert found.uncertainty.mutual_information.max() <= 1
    apart = [twins[0], make_model(task, Voxelwise(), bias=1.0)]
    found = predict_case(apart, make_case(steps()), PredictOptions(uncertainty=True))
    assert found.uncertainty is not None and found.uncertainty.mutual_information is not None
    assert found.uncertainty.mutual_information[4, 3, 5] > 5
    assert (found.uncertainty.entropy >= found.uncertainty.mutual_information).all()


def test_maps_are_those_of_the_mean_and_volumes_count_voxels() -> None:
    task, volume = make_task(LABELS), steps()
    models = [make_model(task, Voxelwise()), make_model(task, Voxelwise(), bias=0.3)]
    options = PredictOptions(uncertainty=True, probabilities=True)
    found = predict_case(models, make_case(volume, spacing_mm=(1.0, 1.0, 1.0)), options)
    assert found.uncertainty is not None and found.probabilities is not None
    p = torch.from_numpy(found.probabilities.whole().astype(np.float32))
    np.testing.assert_allclose(found.uncertainty.entropy / FULL, entropy(p, LABELS), atol=3 / FULL)
    one = found.uncertainty.volumes[0]
    assert one.structure == "class 1"
    assert one.volume_ml == pytest.approx((found.indices == 1).sum() / 1000)
    assert one.expected_ml == pytest.approx(float(p[1].sum()) / 1000, rel=1e-3)
    assert one.low_ml == pytest.approx(int((p[1] > 0.95).sum()) / 1000)
    assert one.high_ml == pytest.approx(int((p[1] > 0.05).sum()) / 1000)
    assert one.low_ml <= one.volume_ml <= one.high_ml
    alone = [int((predict_case([model], make_case(volume)).indices == 1).sum()) / 1000 for model in models]
    assert (one.members_low_ml, one.members_high_ml) == (min(alone), max(alone))


def test_one_member_has_no_mutual_information() -> None:
    (model,) = [make_model(make_task(LABELS), Voxelwise())]
    found = predict_case([model], make_case(steps()), PredictOptions(uncertainty=True)).uncertainty
    assert found is not None and found.mutual_information is None
    assert found.volumes[0].members_low_ml is None


def test_uncertainty_changes_no_mask() -> None:
    task = make_task(LABELS)
    models = [make_model(task, Voxelwise(), bias=bias) for bias in (0.0, 0.2, 0.4)]
    plain = predict_case(models, make_case(steps()))
    sure = predict_case(models, make_case(steps()), PredictOptions(uncertainty=True, temperature=0.5))
    np.testing.assert_array_equal(plain.indices, sure.indices)


def test_steps_are_carried_out_on_the_native_grid() -> None:
    volume = steps()
    rule = StructureSteps(structure="class 1", largest_only=True)
    found = predict_case([make_model(make_task(LABELS), Voxelwise())], make_case(volume), PredictOptions(steps=(rule,)))
    expected = volume.astype(np.int16)
    expected[0, 0, 0] = expected[-1, -1, -1] = 0
    np.testing.assert_array_equal(found.indices, expected)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_members_that_crop_otherwise_are_averaged_where_they_lie(order: tuple[int, int]) -> None:
    """As plans that register otherwise do: what a member does not see is background to it."""
    whole, part = steps((10, 12, 11)), steps((10, 12, 11))
    part[:3], part[:, -2:], part[:, :, 0] = 0, 0, 0
    fine, coarse = (make_model(make_task(LABELS, spacing_mm=(s, 1.0, 1.0)), Voxelwise()) for s in (1.0, 2.0))
    first, second = load_for([fine], make_case(whole)), load_for([coarse], make_case(part))
    assert first.prepared[grid_key(fine.task)].placement.crop != second.prepared[grid_key(coarse.task)].placement.crop
    options = PredictOptions(probabilities=True)
    apart = [predict_loaded([model], case, options) for model, case in ((fine, first), (coarse, second))]
    both = replace(first, prepared={**first.prepared, **second.prepared})
    together = predict_loaded([(fine, coarse)[place] for place in order], both, options, weights=[0.5, 0.5])
    expected = sum(one.probabilities.whole().astype(np.float32) for one in apart if one.probabilities) / 2
    assert together.probabilities is not None
    np.testing.assert_allclose(together.probabilities.whole(), expected, atol=3e-3)
