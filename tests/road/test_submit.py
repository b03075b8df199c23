"""Submissions along the road: masks as challenges name them, and a container that is rehearsed before it is sent."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest
from tiny_road import MEMORY_GIB, Travelled, draw

from autofuse import road
from autofuse.cli.main import main
from autofuse.foundation.errors import DataError, UsageError
from autofuse.images import read_image, read_label_image, write_labels
from autofuse.road.container import segment_case
from autofuse.sharing.submissions.interface import ContainerInterface

INTERFACE = ("--interface", "T1=/input/images/t1-mri", "--interface", "FLAIR=/input/images/flair-mri")


@pytest.fixture(scope="session")
def container(travelled: Travelled, tmp_path_factory: pytest.TempPathFactory) -> road.Submitted:
    """The tiny road's model as a build context, rehearsed."""
    return road.submit(
        travelled.raw,
        "grand-challenge",
        workspace=travelled.workspace.root,
        out=tmp_path_factory.mktemp("container") / "context",
        name="phantom",
        settings={"interface": [INTERFACE[1], INTERFACE[3]], "volumes": "/output/volumes.json"},
    )


def masks_of(travelled: Travelled) -> Path:
    return travelled.workspace.predictions(travelled.report.run)


def arguments(travelled: Travelled, *more: str) -> list[str]:
    return ["submit", str(travelled.raw), "--workspace", str(travelled.workspace.root), *more]


def test_a_folder_holds_a_mask_of_each_test_case(travelled: Travelled, tmp_path: Path) -> None:
    made = road.submit(travelled.raw, "folder", workspace=travelled.workspace.root, out=tmp_path / "s", workers=0)
    names = sorted(path.name for path in (tmp_path / "s").iterdir())
    assert names == sorted(f"{case}.nii.gz" for case in made.cases) == sorted(made.files) and len(names) == 2
    for name in names:
        assert (tmp_path / "s" / name).read_bytes() == (masks_of(travelled) / name).read_bytes()
    again = road.submit(travelled.raw, "folder", workspace=travelled.workspace.root, out=tmp_path / "s", workers=0)
    assert again == made


def test_stopped_while_writing_it_goes_on(travelled: Travelled, tmp_path: Path) -> None:
    made = road.submit(travelled.raw, "folder", workspace=travelled.workspace.root, out=tmp_path / "s", workers=0)
    record = tmp_path / "s.submission.json"
    made.model_copy(update={"files": {}, "finished": False}).save(record)
    (tmp_path / "s" / "test_001.nii.gz").unlink()
    again = road.submit(travelled.raw, "folder", workspace=travelled.workspace.root, out=tmp_path / "s", workers=0)
    assert again == made == road.Submitted.load(record) and len(list((tmp_path / "s").iterdir())) == 2


def test_the_same_zip_each_time(travelled: Travelled, tmp_path: Path) -> None:
    bytes_of = []
    for name in ("one.zip", "two.zip"):
        road.submit(travelled.raw, "flare", workspace=travelled.workspace.root, out=tmp_path / name, workers=0)
        bytes_of.append((tmp_path / name).read_bytes())
    assert bytes_of[0] == bytes_of[1]
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == ["test_001.nii.gz", "test_002.nii.gz"]


def test_given_masks_are_submitted_only_if_all_is_well(travelled: Travelled, tmp_path: Path) -> None:
    folder, out = tmp_path / "masks", tmp_path / "s.zip"
    shutil.copytree(masks_of(travelled), folder)
    mask = read_label_image(folder / "test_001.nii.gz")
    write_labels(folder / "test_001.nii.gz", mask.voxels * 0 + 7, mask.geometry)
    (folder / "test_002.nii.gz").unlink()
    choice = {"workspace": travelled.workspace.root, "masks": folder, "out": out}
    with pytest.raises(DataError, match="values 7") as caught:
        road.submit(travelled.raw, "folder", **choice)
    assert "test_002: there is no mask" in str(caught.value)
    (folder / "test_003.nii.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"test_003\.nii\.gz: of no test case"):
        road.submit(travelled.raw, "folder", **choice)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["masks"]


def test_what_would_be_lost_is_not_written_over(travelled: Travelled, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="would be lost"):
        road.submit(travelled.raw, "folder", workspace=travelled.workspace.root, out=out)
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def test_brats_turns_the_phantom_away(travelled: Travelled, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(travelled, "--target", "brats", "--json")) == 3
    error = json.loads(capsys.readouterr().out)["error"]
    assert "20 x 20 x 16 voxels" in error["found"]
    assert main(arguments(travelled, "--target", "nowhere")) == 2
    assert main(arguments(travelled, "--target", "flare", "--rehearse")) == 2
    assert main(arguments(travelled, "--target", "grand-challenge", "--masks", ".")) == 2
    assert main(arguments(travelled, "--target", "grand-challenge", "--interface", "T9=/input/images/a")) == 2


def test_the_container_holds_what_it_needs(container: road.Submitted) -> None:
    context = Path(container.place)
    files = {path.relative_to(context).as_posix() for path in context.rglob("*") if path.is_file()}
    (wheel,) = (context / "wheels").glob("autofuse-*.whl")
    assert files == {
        "Dockerfile",
        ".dockerignore",
        "README.md",
        "entry_point.py",
        "interface.json",
        "requirements.txt",
        "model/phantom.autofuse.zip",
        f"wheels/{wheel.name}",
    }
    docker = (context / "Dockerfile").read_text()
    assert "USER user" in docker and docker.index("pip install") < docker.index("USER user")
    assert "autofuse import /opt/model/phantom.autofuse.zip" in docker


def test_the_container_passes_its_rehearsal(container: road.Submitted) -> None:
    assert container.rehearsal is not None and container.rehearsal.passed
    (start,) = container.rehearsal.starts
    assert start.case == "test_001" and start.exit_code == 0 and start.seconds > 0 and start.peak_memory_gib > 0.1
    place = Path(container.place)
    assert road.Submitted.load(place.with_name("context.submission.json")) == container


def test_the_same_container_each_time(travelled: Travelled, container: road.Submitted, tmp_path: Path) -> None:
    again = road.submit(
        travelled.raw,
        "grand-challenge",
        workspace=travelled.workspace.root,
        out=tmp_path / "c",
        name="phantom",
        settings={"interface": [INTERFACE[1], INTERFACE[3]], "volumes": "/output/volumes.json"},
        rehearse="never",
    )
    assert again.files == container.files and again.rehearsal is None


def test_a_case_without_a_needed_modality_fails_the_rehearsal(
    travelled: Travelled, container: road.Submitted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    shutil.copy(travelled.raw / "imagesTs" / "test_001_0000.nii.gz", scans)
    more = ("--target", "grand-challenge", "-i", str(scans), "-o", container.place, "--rehearse", "--json")
    assert main(arguments(travelled, *more)) == 6
    (start,) = json.loads(capsys.readouterr().out)["result"]["rehearsal"]["starts"]
    assert start["exit_code"] == 3
    assert "The case lacks FLAIR, which this container needs" in start["faults"][0]


def test_a_changed_container_is_tried_as_it_is_and_not_written_over(
    travelled: Travelled, container: road.Submitted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context = tmp_path / "context"
    shutil.copytree(container.place, context)
    shutil.copy(f"{container.place}.submission.json", tmp_path)
    (context / "entry_point.py").write_text("open('/opt/app/cache', 'w')")
    more = ("--target", "grand-challenge", "--name", "phantom", *INTERFACE, "-o", str(context))
    assert main(arguments(travelled, *more)) == 2
    assert "entry_point.py" in capsys.readouterr().err
    assert main(arguments(travelled, *more, "--rehearse")) == 6
    told = capsys.readouterr().out
    assert "writes outside /output" in told and "FAILED" in told
    assert main(arguments(travelled, *more)) == 2


def test_a_container_is_there_before_it_is_rehearsed(travelled: Travelled, tmp_path: Path) -> None:
    workspace = travelled.workspace.root
    with pytest.raises(UsageError, match="no container"):
        road.submit(travelled.raw, "grand-challenge", workspace=workspace, out=tmp_path / "c", rehearse="only")
    (tmp_path / "c").mkdir()
    with pytest.raises(UsageError, match="no build context"):
        road.submit(travelled.raw, "grand-challenge", workspace=workspace, out=tmp_path / "c", rehearse="only")


def test_a_case_in_a_container(travelled: Travelled, container: road.Submitted, tmp_path: Path) -> None:
    interface = ContainerInterface.load(Path(container.place) / "interface.json")
    road.import_model(Path(container.place) / "model" / "phantom.autofuse.zip", workspace=tmp_path / "workspace")
    for channel, item in enumerate(interface.inputs):
        place = tmp_path / "root" / item.path.lstrip("/")
        place.mkdir(parents=True)
        shutil.copy(travelled.raw / "imagesTs" / f"test_001_{channel:04d}.nii.gz", place / "scan.nii.gz")
    written = segment_case(interface, tmp_path / "workspace", tmp_path / "root")
    assert written == tmp_path / "root/output/images/phantom-segmentation/scan.mha"
    mask, expected = read_label_image(written), read_label_image(masks_of(travelled) / "test_001.nii.gz")
    assert (mask.voxels == expected.voxels).all()
    assert mask.geometry.same_grid(read_image(place / "scan.nii.gz").geometry, 1e-6)
    volumes = json.loads((tmp_path / "root/output/volumes.json").read_text())
    voxel_ml = mask.geometry.spacing_mm[0] * mask.geometry.spacing_mm[1] * mask.geometry.spacing_mm[2] / 1000
    assert sum(volumes.values()) == pytest.approx((mask.voxels > 0).sum() * voxel_ml, abs=1e-4)
    shutil.copy(place / "scan.nii.gz", place / "second.nii.gz")
    with pytest.raises(DataError, match="several images of FLAIR"):
        segment_case(interface, tmp_path / "workspace", tmp_path / "root")


@pytest.mark.slow
def test_a_model_that_copes_passes_without_an_optional_modality(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, place = draw(tmp_path, test_cases=1), ("--workspace", str(tmp_path / "ws"))
    road.plan(raw, workspace=tmp_path / "ws", memory_gib=MEMORY_GIB, expect_missing=True, device="cpu", workers=0)
    road.train(raw, workspace=tmp_path / "ws", steps=1, workers=0)
    interface = ("--interface", "T1=/input/images/t1-mri", "--interface", "FLAIR?=/input/images/flair-mri")
    assert main(["submit", str(raw), *place, "--target", "grand-challenge", *interface, "--json"]) == 0
    starts = json.loads(capsys.readouterr().out)["result"]["rehearsal"]["starts"]
    assert [start["without"] for start in starts] == [[], ["FLAIR"]] and not any(start["faults"] for start in starts)


@pytest.mark.slow
def test_a_run_ends_with_a_submission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = draw(tmp_path)
    command = ["run", str(raw), "--workspace", str(tmp_path / "ws"), "--memory", "0.5GiB", "--workers", "0"]
    assert main([*command, "--submit", "nowhere"]) == 2
    assert main([*command, "--submit", "brats"]) == 3
    assert not list(tmp_path.glob("ws/*/*.json"))
    capsys.readouterr()
    assert main([*command, "--steps", "1", "--submit", "flare", "--json"]) == 0
    submission = json.loads(capsys.readouterr().out)["result"]["submission"]
    assert submission["cases"] == ["test_001", "test_002"] and Path(submission["place"]).is_file()
