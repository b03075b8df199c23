"""An ensemble shared along the road: the same masks from another place, by all members, weights and steps."""

from __future__ import annotations

import re
import shutil
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from contract_by_hand import segment
from tiny_road import Travelled, copy_of

from autofuse import road
from autofuse.cli.main import main
from autofuse.dataset.opening import open_dataset
from autofuse.dataset.raw import load_case
from autofuse.evaluation.ensemble import Ensemble
from autofuse.foundation.errors import ModelError
from autofuse.foundation.workspace import Workspace
from autofuse.inference.case import predict_case
from autofuse.inference.prediction import PredictOptions
from autofuse.inference.recipe import Recipe, StructureSteps
from autofuse.road.competing import find_competition
from autofuse.road.models import choose_model
from autofuse.road.selecting import member_of
from autofuse.sharing.contract import Contract
from autofuse.sharing.layout import is_weights
from autofuse.sharing.types import SharedModel
from autofuse.training.model import load_model


@dataclass(frozen=True)
class Shared:
    """A workspace with an ensemble of two runs, its bundle, and another user's workspace with the model in it."""

    raw: Path
    place: Workspace
    ensemble: Ensemble
    bundle: Path
    theirs: Path

    @property
    def folder(self) -> Path:
        return self.theirs / "models" / "phantom"


@pytest.fixture(scope="module")
def shared(travelled: Travelled, tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """An ensemble that is written by hand, since five cases are too few for one to be chosen, and shared."""
    folder = tmp_path_factory.mktemp("shared")
    raw, place = copy_of(travelled, folder)
    road.train(raw, workspace=place.root, steps=1, trainer="partial", workers=0)
    chosen = road.select(raw, workspace=place.root, workers=0)
    opened, _ = road.steps.open_both(raw, place.root)
    members = tuple(member_of(item, n) for n, item in enumerate(find_competition(opened, place).candidates, start=1))
    step = StructureSteps(structure=opened.labels.classes[0].name, largest_only=True)
    ensemble = chosen.model_copy(update={"members": members, "recipe": Recipe(temperature=1.5, steps=(step,))})
    ensemble.save(place.ensemble)
    bundle, theirs = folder / "phantom.zip", folder / "theirs"
    exported = road.export_model(raw, workspace=place.root, out=bundle, name="phantom")
    imported = road.import_model(bundle, workspace=theirs)
    assert (imported.run, imported.folds, imported.members) == (exported.run, exported.folds, exported.members)
    return Shared(raw, place, ensemble, bundle, theirs)


def masks(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.nii.gz"))}


def test_an_ensemble_gives_the_same_masks_elsewhere(shared: Shared, tmp_path: Path) -> None:
    images, here, there = shared.raw / "imagesTs", tmp_path / "here", tmp_path / "there"
    road.predict(shared.raw, workspace=shared.place.root, images=images, out=here, workers=0, device="cpu")
    made = road.predict("phantom", workspace=shared.theirs, images=images, out=there, workers=0, device="cpu")
    assert not made.failed and "2 x 3d" in made.members and "largest component only" in made.members
    assert masks(here) == masks(there) and len(masks(here)) == 2
    alone = tmp_path / "alone"
    first = shared.ensemble.members[0].run
    road.predict("phantom", workspace=shared.theirs, images=images, out=alone, run=first, workers=0, device="cpu")
    assert masks(alone) != masks(here)


def test_the_copy_names_no_case_and_no_data_set(shared: Shared) -> None:
    held = {}
    with zipfile.ZipFile(shared.bundle) as archive:
        held = {name: archive.read(name).decode() for name in archive.namelist() if not is_weights(name)}
    opened = open_dataset(shared.raw)
    words = {word for case in (*opened.cases, *opened.test_cases) for word in (case.id, case.subject)}
    words |= {shared.raw.name, str(shared.raw), str(shared.place.root)}
    text = "\n".join(held.values())
    assert [word for word in words if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.I)] == []
    ensemble = Ensemble.parse(held["ensemble.json"].encode(), shared.bundle)
    assert (ensemble.dataset, ensemble.evidence, ensemble.sources_digest) == ("phantom", None, "")
    assert [member.weight for member in ensemble.members] == [1, 2]
    assert ensemble.recipe == shared.ensemble.recipe


def test_the_card_says_who_decides_and_what_is_done(shared: Shared) -> None:
    card = (shared.folder / "README.md").read_text()
    structure = shared.ensemble.recipe.steps[0].structure
    for member in shared.ensemble.members:
        assert f"| {member.run} | {member.weight} of 3 | 0 |" in card
    for words in (f"{structure}: largest component only", "divided by 1.5", "1 held-out cases", "Too few subjects"):
        assert words in card


def test_it_can_be_shared_onward_with_the_same_bytes(shared: Shared, tmp_path: Path) -> None:
    again, onward = tmp_path / "again.zip", tmp_path / "onward.zip"
    road.export_model(shared.raw, workspace=shared.place.root, out=again, name="phantom")
    road.export_model("phantom", workspace=shared.theirs, out=onward)
    assert again.read_bytes() == onward.read_bytes() == shared.bundle.read_bytes()
    one = tmp_path / "one.zip"
    first = shared.ensemble.members[0].run
    made = road.export_model("phantom", workspace=shared.theirs, out=one, run=first)
    assert (made.run, made.members) == (first, "")
    single = SharedModel.load(Path(road.import_model(one, workspace=tmp_path).folder) / "model.json")
    assert (single.ensemble, single.choice, len(single.members)) == (None, None, 1)


@pytest.mark.parametrize("name", ["ensemble.json", "last.safetensors", "finished.json", "run.json"])
def test_without_a_part_of_it_nothing_predicts_until_it_is_mended(name: str, shared: Shared, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    shutil.copytree(shared.theirs, theirs)
    (path, *_) = sorted((theirs / "models" / "phantom").rglob(name), reverse=True)
    path.unlink()
    images = str(shared.raw / "imagesTs")
    command = ["predict", "phantom", "-i", images, "-o", str(tmp_path / "out"), "--workspace", str(theirs)]
    assert main([*command, "--workers", "0", "--quiet"]) == 4
    assert not masks(tmp_path / "out")
    assert road.import_model(shared.bundle, workspace=theirs).fresh
    assert len(choose_model("phantom", theirs).folds) == 2


def test_another_ensemble_under_its_name_is_refused(shared: Shared, tmp_path: Path) -> None:
    shutil.copytree(shared.theirs, tmp_path / "theirs")
    file = tmp_path / "theirs" / "models" / "phantom" / "ensemble.json"
    other = Ensemble.load(file)
    other.model_copy(update={"recipe": Recipe()}).save(file)
    with pytest.raises(ModelError, match="not the one that came with it") as caught:
        choose_model("phantom", tmp_path / "theirs")
    assert "Import the bundle again" in str(caught.value)


def test_a_missing_member_is_not_left_out_of_a_bundle(shared: Shared, tmp_path: Path) -> None:
    shutil.copytree(shared.place.root, tmp_path / "ws")
    shutil.rmtree(tmp_path / "ws" / shared.raw.name / "runs" / shared.ensemble.members[1].run)
    with pytest.raises(ModelError, match="member of the ensemble is missing"):
        road.export_model(shared.raw, workspace=tmp_path / "ws", out=tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


def test_one_run_without_mirroring_stays_so(shared: Shared, tmp_path: Path) -> None:
    shutil.copytree(shared.place.root, tmp_path / "ws")
    place = Workspace(tmp_path / "ws", shared.raw.name)
    (first, _) = shared.ensemble.members
    plain = shared.ensemble.model_copy(update={"members": (first,), "recipe": Recipe()})
    plain.save(place.ensemble)
    with_mirrors = road.export_model(shared.raw, workspace=place.root, out=tmp_path / "a.zip", name="a")
    plain.model_copy(update={"mirror": False}).save(place.ensemble)
    without = road.export_model(shared.raw, workspace=place.root, out=tmp_path / "b.zip", name="b")
    assert (with_mirrors.run, without.run) == (first.run, first.run)
    assert without.entries == with_mirrors.entries + 1
    for file in ("a.zip", "b.zip"):
        road.import_model(tmp_path / file, workspace=tmp_path / "theirs")
    assert [choose_model(name, tmp_path / "theirs").crew.mirror for name in ("a", "b")] == [True, False]


def test_networks_come_with_weights_and_post_processing(shared: Shared, tmp_path: Path) -> None:
    made = road.export_onnx(shared.raw, workspace=shared.place.root, out=tmp_path / "onnx", name="phantom")
    contract = Contract.load(Path(made.folder) / "contract.json")
    assert [member.weight for member in contract.members] == pytest.approx([1 / 3, 2 / 3])
    assert contract.postprocessing == shared.ensemble.recipe.steps and contract.temperature == 1.5
    assert "largest component only" in (Path(made.folder) / "README.md").read_text()
    crew = choose_model(shared.raw, shared.place.root).crew
    models = [load_model(fold.folder) for fold in crew.folds]
    options = PredictOptions(precision="fp32", probabilities=True, steps=shared.ensemble.recipe.steps)
    opened = open_dataset(shared.raw)
    for case in opened.test_cases:
        raw = load_case(opened, case, with_label=False)
        here = predict_case(models, raw, options, weights=crew.weights)
        arrays = [None if image is None else np.asarray(image.voxels) for image in raw.images]
        found, mask = segment(Path(made.folder), arrays, raw.geometry.spacing_mm)
        assert here.probabilities is not None
        assert np.abs(here.probabilities.whole().astype(np.float32) - found).max() < 1e-3
        assert (here.raw_labels() != mask).mean() < 1e-3
        untouched = predict_case(models, raw, replace(options, steps=()), weights=crew.weights)
        assert (untouched.indices != here.indices).mean() > 1e-3, "the step does something here"
