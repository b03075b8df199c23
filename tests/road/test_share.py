"""A model shared along the road: out of one workspace, into another's, and the same masks from there."""

from __future__ import annotations

import getpass
import json
import platform
import re
import zipfile
from pathlib import Path

import pytest
from tiny_road import MEMORY_GIB, Travelled, draw

from autofuse import road
from autofuse.cli.main import main
from autofuse.dataset.opening import open_dataset
from autofuse.foundation.errors import DataError, ModelError, UsageError
from autofuse.plan.types import Decision, Plan
from autofuse.road.places import workspace_of
from autofuse.road.runs import choose_run
from autofuse.road.shared_parts import take_apart
from autofuse.sharing.gate import open_bundle
from autofuse.sharing.layout import is_weights
from autofuse.sharing.reduce import reduce_plan
from autofuse.training.model import load_model
from autofuse.training.run import RunPlan


@pytest.fixture(scope="session")
def bundle(travelled: Travelled, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny road's model as a bundle."""
    file = tmp_path_factory.mktemp("bundle") / "phantom.autofuse.zip"
    road.export_model(travelled.raw, workspace=travelled.workspace.root, out=file, name="phantom", licence="CC0")
    return file


@pytest.fixture(scope="session")
def elsewhere(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another user's workspace, with the model in it."""
    workspace = tmp_path_factory.mktemp("another user") / "their workspace"
    assert road.import_model(bundle, workspace=workspace).fresh
    return workspace


def masks(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.nii.gz"))}


def test_the_same_masks_come_from_another_place(travelled: Travelled, elsewhere: Path, tmp_path: Path) -> None:
    images = tmp_path / "scans"
    images.symlink_to(travelled.raw / "imagesTs")
    here, there = tmp_path / "here", tmp_path / "there"
    road.predict(travelled.raw, workspace=travelled.workspace.root, images=images, out=here, workers=0, device="cpu")
    made = road.predict("phantom", workspace=elsewhere, images=images, out=there, workers=0, device="cpu")
    assert not made.failed and len(made.cases) == 2
    assert masks(here) == masks(there) and len(masks(here)) == 2
    assert masks(travelled.workspace.predictions(made.run)) == masks(here)


def test_without_a_folder_the_masks_go_beside_the_model(travelled: Travelled, elsewhere: Path) -> None:
    made = road.predict("phantom", workspace=elsewhere, images=travelled.raw / "imagesTs", workers=0, device="cpu")
    assert Path(made.folder) == elsewhere / "models/phantom/predictions" / made.run / "imagesTs"


def test_a_bundle_tells_nothing_of_the_patients(travelled: Travelled, bundle: Path, tmp_path: Path) -> None:
    opened = open_dataset(travelled.raw)
    cases = (*opened.cases, *opened.test_cases)
    words = {word for case in cases for word in (case.id, case.subject)}
    words |= {str(travelled.raw), str(travelled.workspace.root), travelled.raw.name, str(Path.cwd())}
    words |= {platform.node(), str(Path.home()), getpass.getuser()}
    with zipfile.ZipFile(bundle) as archive:
        held = {info.filename: archive.read(info) for info in archive.infolist()}
    texts = "\n".join(name + content.decode() for name, content in held.items() if not is_weights(name))
    everything = b"\n".join((*held.values(), bundle.read_bytes()))
    assert len(words) > 10 and "FLAIR" in texts
    assert [word for word in words if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", texts, re.I)] == []
    # Four bytes can stand among five million of weights by chance.
    assert [word for word in words if len(word) > 4 and word.encode() in everything] == []


def test_the_same_model_gives_the_same_bytes(
    travelled: Travelled, bundle: Path, elsewhere: Path, tmp_path: Path
) -> None:
    again, onward = tmp_path / "again.zip", tmp_path / "onward.zip"
    road.export_model(travelled.raw, workspace=travelled.workspace.root, out=again, name="phantom", licence="CC0")
    assert again.read_bytes() == bundle.read_bytes()
    road.export_model("phantom", workspace=elsewhere, out=onward)
    assert onward.read_bytes() == bundle.read_bytes()


def test_only_what_predicts_is_in_it(travelled: Travelled, bundle: Path) -> None:
    with open_bundle(bundle) as opened:
        names = {entry.path for entry in opened.manifest.entries}
    (fold,) = choose_run(travelled.workspace)
    home = f"runs/{fold.run}/fold_0"
    inside = {f"{home}/{name}" for name in ("run.json", "plan.json", "finished.json", "last.safetensors")}
    assert names == inside | {"model.json", "README.md", "data_summary.json"}
    with zipfile.ZipFile(bundle) as archive:
        card = archive.read("README.md").decode()
        run = RunPlan.parse(archive.read(f"{home}/run.json"), bundle)
        weights = archive.getinfo(f"{home}/last.safetensors").file_size
    assert (run.labelled, run.unlabelled, run.held_out, run.subjects) == ((), (), (), {})
    assert weights <= (fold.folder / "last.safetensors").stat().st_size
    for words in ("Licence: CC0", "T1 + FLAIR", "5 cases of 5 subjects", "On 1 cases of 1 subjects", "lesion"):
        assert words in card


def test_importing_twice_does_nothing(bundle: Path, elsewhere: Path) -> None:
    folder = elsewhere / "models/phantom"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}
    assert not road.import_model(bundle, workspace=elsewhere).fresh
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_damaged_model_is_mended_and_masks_beside_it_stay(bundle: Path, tmp_path: Path) -> None:
    folder = Path(road.import_model(bundle, workspace=tmp_path).folder)
    (folder / "predictions").mkdir()
    (folder / "README.md").write_text("changed")
    (weights,) = folder.rglob("last.safetensors")
    weights.unlink()
    assert road.import_model(bundle, workspace=tmp_path).fresh
    load_model(weights.parent)
    assert (folder / "predictions").is_dir() and "changed" not in (folder / "README.md").read_text()
    assert not list(tmp_path.rglob(".tmp-*"))


def test_another_model_needs_another_name(travelled: Travelled, bundle: Path, elsewhere: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.zip"
    road.export_model(travelled.raw, workspace=travelled.workspace.root, out=other, name="phantom", licence="MIT")
    with pytest.raises(UsageError, match="Another model of this name"):
        road.import_model(other, workspace=elsewhere)
    made = road.import_model(other, workspace=elsewhere, name="second")
    assert (made.name, made.licence, made.fresh) == ("second", "MIT", True)
    (elsewhere / "models" / "occupied").mkdir()
    with pytest.raises(UsageError, match="Something else"):
        road.import_model(other, workspace=elsewhere, name="occupied")


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "", "a b", "x" * 200])
def test_a_name_must_be_one(name: str, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be called"):
        road.import_model(bundle, workspace=tmp_path / "w", name=name or "..")
    assert not (tmp_path / "w").exists()


def test_a_model_has_no_images_of_its_own(elsewhere: Path) -> None:
    with pytest.raises(UsageError, match="no images of its own"):
        road.predict("phantom", workspace=elsewhere)
    with pytest.raises(DataError, match="does not exist"):
        road.predict("nothing", workspace=elsewhere)
    with pytest.raises(DataError, match="does not exist"):
        road.predict("../models/phantom", workspace=elsewhere)


def test_info_knows_an_imported_model(elsewhere: Path, bundle: Path) -> None:
    state = road.info("phantom", workspace=elsewhere).workspace
    assert state is not None and [run.fold for run in state.runs] == [0]


def test_a_plan_that_names_a_case_does_not_leave(travelled: Travelled, tmp_path: Path) -> None:
    (fold,) = choose_run(travelled.workspace)
    plan = Plan.load(fold.folder / "plan.json")
    told = Decision(what="x", chosen="y", rule="z", evidence={"worst": ["phantom_001"]})
    secrets = take_apart(travelled.raw, travelled.workspace.root, None, None, "m", None).secrets
    changed = plan.model_copy(update={"decisions": (*plan.decisions, told)})
    assert reduce_plan(changed, "m", secrets).decisions == plan.decisions
    with pytest.raises(ModelError, match="give away"):
        secrets.require_absent("README.md", f"as in {travelled.raw}/imagesTr".encode())
    with pytest.raises(ModelError, match="give away"):
        secrets.require_absent("plan.json", json.dumps({"PHANTOM_003": 1}).encode())
    secrets.require_absent("plan.json", json.dumps({"phantom": 1, "x": "phantom_0010, 1 x 1 mm"}).encode())


@pytest.mark.slow
def test_a_cascade_brings_its_first_stage_along(tmp_path: Path) -> None:
    raw, workspace = draw(tmp_path), tmp_path / "ws"
    plan = road.plan(raw, workspace=workspace, memory_gib=MEMORY_GIB, device="cpu", workers=0)
    full = plan.named(plan.configuration)
    first = full.model_copy(update={"name": "3d_low", "spacing_mm": (2.0, 2.0, 2.0), "median_shape": (8, 9, 9)})
    second = full.model_copy(update={"name": "3d_cascade", "previous": "3d_low"})
    both = plan.model_copy(update={"configurations": (first, second), "configuration": "3d_cascade"})
    both.save(workspace_of(raw, workspace).plan)
    road.train(raw, workspace=workspace, steps=1, workers=0)
    exported = road.export_model(raw, workspace=workspace, name="cascade")
    imported = road.import_model(exported.file, workspace=tmp_path / "theirs")
    assert imported.run == exported.run and imported.run.startswith("3d_cascade")
    here, there = tmp_path / "here", tmp_path / "there"
    road.predict(raw, workspace=workspace, images=raw / "imagesTs", out=here, workers=0)
    made = road.predict("cascade", workspace=tmp_path / "theirs", images=raw / "imagesTs", out=there, workers=0)
    assert not made.failed
    assert masks(here) == masks(there) and len(masks(there)) == 2
    assert len(masks(there / "first_stage")) == 2
    assert "first stage" in (Path(imported.folder) / "README.md").read_text()


def test_commands_answer_programs(travelled: Travelled, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace, file = str(travelled.workspace.root), str(tmp_path / "m.zip")
    assert main(["export", str(travelled.raw), "--workspace", workspace, "-o", file, "--name", "m", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["result"]
    assert made["file"] == file and made["bytes"] == Path(file).stat().st_size and made["scored_cases"] == 1
    assert main(["import", file, "--workspace", str(tmp_path / "w"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"]["modalities"] == ["T1", "FLAIR"]
    assert main(["import", file, "--workspace", str(tmp_path / "w")]) == 0
    told = capsys.readouterr()
    assert "nothing was done" in told.err and "autofuse predict m -i" in told.out
    assert main(["export", str(travelled.raw), "--workspace", workspace, "-o", str(tmp_path / "m.txt")]) == 2
    assert main(["export", str(travelled.raw), "--workspace", str(tmp_path / "empty")]) == 4
