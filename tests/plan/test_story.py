"""What the story of a plan says is what was measured, and nothing else."""

from __future__ import annotations

from dataclasses import replace

from plan_examples import fingerprint_of, in_minutes, labels_of, same_cases

from autofuse.fingerprint.types import Fingerprint, GridFacts, PairFacts, RegistrationFacts
from autofuse.plan.explain import to_json, to_text
from autofuse.plan.story import tell
from autofuse.plan.types import Challenger, Plan, RegistrationPlan, TrainerChoice
from autofuse.testing.fingerprints import MADE_UP_DATASETS, example_fingerprint
from autofuse_planners.default import DefaultPlanner

BUDGET = in_minutes(15)


def planned(name: str, **changes: object) -> tuple[Plan, Fingerprint]:
    """The plan of a made-up data set, and its fingerprint."""
    made_up = next(item for item in MADE_UP_DATASETS if item.name == name)
    fingerprint, labels = example_fingerprint(replace(made_up, **changes))  # type: ignore[arg-type]
    return DefaultPlanner().plan(fingerprint, labels, BUDGET), fingerprint


def with_cases(fingerprint: Fingerprint, **changes: object) -> Fingerprint:
    """The same fingerprint with every case changed alike."""
    return fingerprint.model_copy(
        update={"cases": tuple(case.model_copy(update=changes) for case in fingerprint.cases)}
    )


def test_plain_data_are_called_so() -> None:
    data, unusual, fusion, supervision, length = tell(*planned("isotropic"))
    assert "12 cases of 12 patients, with up to 2 images each: T1 and T2" in data
    assert unusual.startswith("Nothing about them is unusual: every case has every image, on one grid and every case")
    assert "voxel on voxel" in fusion
    assert "outlines teach" in supervision
    plan, _ = planned("isotropic")
    assert f"{plan.steps:,} steps, about " in length


def test_missing_images_and_sparse_labels_are_counted() -> None:
    assert "T2 in 4 of 12 cases" in tell(*planned("missing modality"))[1]
    told = tell(*planned("few labels"))[1]
    assert "8 of 12 cases have no outline" in told
    assert "With 4 cases outlined, scores will be uncertain" in told
    thick = tell(*planned("thick stack"))[1]
    assert "12 of 12 cases are labelled in part only: 5.0% of the voxels" in thick
    assert "7.1 times further apart" in thick


def test_displacement_names_the_worst_case_and_what_registration_did() -> None:
    plan, fingerprint = planned("isotropic")
    moved = []
    for number, case in enumerate(fingerprint.cases):
        pair = PairFacts(
            fixed=0,
            moving=1,
            displacement_mm=(0.0, 0.0, 4.0 + number),
            distance_mm=4.0 + number,
            agreement=1.3,
            agreement_unmoved=1.1,
            resolution_mm=2.0,
            reliable=number != 0,
        )
        moved.append(case.model_copy(update={"pairs": (pair,)}))
    trial = RegistrationFacts(
        case="case 11", fixed=0, moving=1, before_mm=15.0, after_mm=0.5, rotation_degrees=1.0, shift_mm=15.0
    )
    fingerprint = fingerprint.model_copy(update={"cases": tuple(moved), "registrations": (trial,)})
    plan = plan.model_copy(update={"registration": RegistrationPlan()})
    _, unusual, fusion, _, _ = tell(plan, fingerprint)
    assert "T2 lies 10.0 mm from T1 at the median, and 15.0 mm in the worst case (case 11)" in unusual
    assert "could not be told in one case" in unusual
    assert "moved and rotated, not bent, onto T1" in fusion
    assert "from 15.0 to 0.5 mm" in fusion


def test_own_grids_are_described() -> None:
    plan, fingerprint = planned("isotropic")
    own = GridFacts(shape=(30, 40, 40), spacing_mm=(4.0, 4.0, 4.0), same=False, overlap=0.7)
    same = GridFacts(shape=(128, 160, 160), spacing_mm=(1.0, 1.0, 1.0), same=True, overlap=1.0)
    told = tell(plan, with_cases(fingerprint, grids=(same, own)))
    assert "T2 lies on a grid of its own in 12 cases (voxels of 4 x 4 x 4 mm" in told[1]
    assert "shows 70% of the reference image's field of view." in told[1]
    assert "resampled onto that of T1" in told[2]


def test_absent_classes_and_challengers_are_named() -> None:
    plan, fingerprint = planned("isotropic")
    rare = fingerprint.classes[1].model_copy(update={"cases": 5})
    fingerprint = fingerprint.model_copy(update={"classes": (fingerprint.classes[0], rare)})
    other = Challenger(trainer=TrainerChoice(name="cmfnet"), topology="stems", because="strokes leave much unsaid.")
    told = tell(plan.model_copy(update={"challengers": (other,)}), fingerprint)
    assert f"of 12 cases there is no {rare.name} in 7." in told[1]
    assert "cmfnet with stems could do better: strokes leave much unsaid." in told[3]


def test_one_image_a_case_is_not_fused() -> None:
    plan, fingerprint = planned("small cubes")
    assert tell(plan, fingerprint)[2] == "There is one image a case, so nothing has to be fused."


def test_explanations_begin_with_the_story() -> None:
    brains = fingerprint_of(same_cases((14, 17, 14), (1.0, 1.0, 1.0), modalities=2), modalities=("T1", "[b]T2"))
    plan = DefaultPlanner().plan(brains, labels_of("tumour"), BUDGET)
    text = to_text(plan, brains)
    assert "up to 2 images each: T1 and [b]T2" in " ".join(text.split())
    assert text.index("images each") < text.index("because")
    assert to_json(plan, brains)["story"] == list(tell(plan, brains))
    assert "story" not in to_json(plan)
