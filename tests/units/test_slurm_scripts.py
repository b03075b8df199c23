"""A graph becomes arrays, arrays become scripts that bash understands, and what SLURM is asked for is checked."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from autofuse.foundation.errors import ResourceError, UsageError
from autofuse.foundation.workspace import Workspace
from autofuse.units.executor import Job
from autofuse.units.shape import Graph, Needs, Unit
from autofuse.units.slurm.arrays import arrays_of
from autofuse.units.slurm.executor import Slurm, waiting_units, write_scripts
from autofuse.units.slurm.queue import parse_queue
from autofuse.units.slurm.settings import Settings, read_settings
from autofuse.units.slurm.submission import Submission, elements, write_submission

FOLDS = range(3)


def unit(name: str, kind: str, *after: str, **needs: float) -> Unit:
    return Unit(name=name, kind=kind, work="w", after=after, needs=Needs(**needs))  # type: ignore[arg-type]


def folds(kind: str, *after: str, **needs: float) -> list[Unit]:
    """A unit for each fold; a name in ``after`` that ends in - is the same fold's."""
    return [
        unit(f"{kind}-{fold}", kind, *(f"{name}{fold}" if name.endswith("-") else name for name in after), **needs)
        for fold in FOLDS
    ]


ROAD = (
    unit("ground", "ground"),
    *folds("prepare", "ground"),
    *folds("train", *(f"prepare-{share}" for share in FOLDS), gpus=1, memory_gib=1.5, processors=2),
    *folds("judge", "train-"),
    unit("select", "select", *(f"judge-{fold}" for fold in FOLDS)),
)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path / "Dataset001 With Blank", Workspace(tmp_path / "ws", "Dataset001_X"), Graph(units=ROAD))


def everything(graph: Graph) -> set[str]:
    return {item.name for item in graph.units}


def test_units_of_a_kind_become_one_array_after_what_they_stand_on() -> None:
    made = arrays_of(Graph(units=ROAD), everything(Graph(units=ROAD)), {})
    assert [(array.name, sorted(array.units), array.after, array.after_same) for array in made] == [
        ("ground", [0], (), None),
        ("prepare", [0, 1, 2], ("ground",), None),
        ("train", [0, 1, 2], ("prepare",), None),
        ("judge", [0, 1, 2], (), "train"),
        ("select", [0], ("judge",), None),
    ]
    assert [array.units[1].name for array in made[1:4]] == ["prepare-1", "train-1", "judge-1"]


def test_what_is_done_or_queued_is_not_submitted_again() -> None:
    graph = Graph(units=ROAD)
    waiting = {"train-2", "judge-1", "judge-2", "select"}
    made = arrays_of(graph, waiting, {"train-1": "7_1", "judge-0": "8_0"})
    by_name = {array.name: array for array in made}
    assert [(array.name, [item.name for item in array.units.values()]) for array in made] == [
        ("train", ["train-2"]),
        ("judge", ["judge-1"]),
        ("judge-2", ["judge-2"]),
        ("select", ["select"]),
    ]
    assert by_name["judge"].after_jobs == ("7_1",)
    assert by_name["judge-2"].after == ("train",)  # all there is of it
    assert (by_name["select"].after, by_name["select"].after_jobs) == (("judge", "judge-2"), ("8_0",))


def test_what_is_looked_at_again_comes_before_the_rest() -> None:
    made = arrays_of(Graph(units=ROAD), {"ground", "train-1", "judge-1", "select"}, {})
    assert [(array.name, array.after, array.after_same) for array in made] == [
        ("ground", (), None),
        ("train", ("ground",), None),  # by way of units that are done
        ("judge", ("train",), None),
        ("select", ("ground", "judge"), None),
    ]


def test_a_unit_that_is_done_can_be_done_again(job: Job) -> None:
    ground = job.graph.units[0]
    job.ledger.finish(ground, {}, [], 1.0)
    assert waiting_units(job, {"prepare-0": "1_0"}, ("ground",))[:2] == ["ground", "prepare-1"]
    assert "ground" not in waiting_units(job, {})
    assert "ground" not in waiting_units(job, {"ground": "1_0"}, ("ground",))
    (array,) = arrays_of(job.graph, {"ground"}, {})
    made = write_submission(job, [array], Settings(), ("ground",))
    assert "--again" in (made.folder / "ground.sbatch").read_text()


def test_units_that_stand_on_parts_of_arrays_wait_for_these_alone() -> None:
    units = (*folds("train"), unit("pair", "join", "train-0", "train-2"), *folds("judge", "train-"))
    made = {array.name: array for array in arrays_of(Graph(units=units), {item.name for item in units}, {})}
    assert made["join"].after_some == (("train", 0), ("train", 2))
    assert made["join"].after == ()
    assert made["judge"].after_same == "train"


def test_shares_of_one_fold_become_one_array_after_that_fold() -> None:
    shares = [unit(f"held_out-{fold}-{share}", "held_out", f"train-{fold}") for fold in FOLDS for share in range(4)]
    units = (*folds("train"), *shares)
    made = arrays_of(Graph(units=units), {item.name for item in units}, {})
    assert [(array.name, len(array.units), array.after_some) for array in made] == [
        ("train", 3, ()),
        ("held_out", 4, (("train", 0),)),
        ("held_out-2", 4, (("train", 1),)),
        ("held_out-3", 4, (("train", 2),)),
    ]
    assert all(array.after_same is None for array in made)


def test_units_with_other_needs_and_too_many_units_go_apart() -> None:
    units = (unit("a", "train", gpus=1), unit("b", "train", gpus=2), *(unit(f"p{i}", "prepare") for i in range(5)))
    made = arrays_of(Graph(units=units), {item.name for item in units}, {}, most=2)
    assert {array.name: [item.name for item in array.units.values()] for array in made} == {
        "train": ["a"],
        "train-2": ["b"],
        "prepare": ["p0", "p1"],
        "prepare-2": ["p2", "p3"],
        "prepare-3": ["p4"],
    }
    assert all(max(array.units) < 2 for array in made)


def test_scripts_say_what_is_asked_for_and_bash_understands_them(job: Job) -> None:
    settings = Settings({"partition": "gpu", "at-once": "2"}, {"train": {"time": "12:00:00"}}, "module load cuda")
    made = write_scripts(job, settings)
    for path in (*made.folder.glob("*.sbatch"), made.submit_file):
        subprocess.run(["bash", "-n", str(path)], check=True)
    train = (made.folder / "train.sbatch").read_text()
    options = re.findall(r"^#SBATCH --(.*)$", train, re.MULTILINE)
    assert {
        *("array=0-2%2", "requeue", "signal=B:USR1@120", "partition=gpu", "time=12:00:00"),
        *("cpus-per-task=2", "mem=1536M", "gres=gpu:1"),
    } <= set(options)
    assert "module load cuda" in train
    assert "  2) unit=train-2 ;;" in train
    assert "'" + str(job.dataset) + '\' "$unit"' in train
    assert "time=" not in (made.folder / "judge.sbatch").read_text().replace("time=12", "")
    lines = [line for line in made.submit_file.read_text().splitlines() if line.startswith("submit ")]
    assert lines == [
        "submit ground",
        'submit prepare --dependency="afterok:${job_ground}"',
        'submit train --dependency="afterok:${job_prepare}"',
        'submit judge --dependency="aftercorr:${job_train}"',
        'submit select --dependency="afterok:${job_judge}"',
    ]
    assert made.jobs == {}


def test_a_kind_from_a_file_cannot_become_a_command(tmp_path: Path) -> None:
    graph = Graph(units=(unit("a", "x; touch harm\ntouch harm"),))
    job = Job(tmp_path / "D", Workspace(tmp_path / "ws", "D\ntouch harm"), graph)
    with pytest.raises(UsageError, match="control characters"):
        write_scripts(job, Settings())
    made = write_scripts(Job(tmp_path / "D", Workspace(tmp_path / "ws", "D"), graph), Settings())
    assert [path.name for path in made.folder.glob("*.sbatch")] == ["x__touch_harm_touch_harm.sbatch"]
    assert "\ntouch harm" not in "".join(path.read_text() for path in made.folder.glob("*.s*"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("partition", "no setting for SLURM"),
        ("partition=", "no setting for SLURM"),
        ("partitoin=gpu", "There is no setting 'partitoin'"),
        ("wrap=rm", "There is no setting 'wrap'"),
        ("trian.time=1", "no units of kind 'trian'"),
        ("comment=two words", "blanks, quotes"),
        ("partition=a\nrm", "blanks, quotes"),
        ("at-once=0", "whole number"),
        ("setup=/no/such/file", "cannot be read"),
        ("train.setup=x", "same lines"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read_settings([text], {"train", "prepare"})


def test_settings_of_a_kind_come_before_common_ones(tmp_path: Path) -> None:
    (tmp_path / "setup").write_text("module load cuda\n")
    texts = ["--partition=gpu", "time=1:00:00", "prepare.partition=cpu", f"setup={tmp_path}/setup", "time=2:00:00"]
    settings = read_settings(texts, {"train", "prepare"})
    assert settings.of_kind("train") == {"partition": "gpu", "time": "2:00:00"}
    assert settings.of_kind("prepare") == {"partition": "cpu", "time": "2:00:00"}
    assert settings.setup == "module load cuda"


def test_without_slurm_the_remedy_is_told(job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="not to be found") as caught:
        Slurm().run(job)
    assert "--dry-run" in str(caught.value.remedy)


def _stand_in(folder: Path, refuse: str = "") -> None:
    """Commands that answer as SLURM's do: sbatch counts jobs from 1 and refuses the script called ``refuse``."""
    told = f"""#!/bin/bash
echo "$@" >>{folder}/asked
[ "${{@: -1}}" != "{refuse}.sbatch" ] || {{ echo "sbatch: error: invalid partition specified: x" >&2; exit 1; }}
wc -l <{folder}/asked
"""
    for name, text in {"sbatch": told, "scancel": f'#!/bin/bash\necho "$@" >>{folder}/cancelled\n'}.items():
        (folder / name).write_text(text)
        (folder / name).chmod((folder / name).stat().st_mode | stat.S_IXUSR)


def test_what_cannot_be_submitted_whole_is_not_submitted(
    job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The script that submits, against commands that only write down what they were asked."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    made = write_scripts(job, Settings())
    _stand_in(tmp_path, refuse="train")
    with pytest.raises(ResourceError, match="did not accept") as caught:
        made.submit()
    assert "invalid partition" in str(caught.value.found)
    assert (tmp_path / "cancelled").read_text().split() == ["1", "2"]
    assert made.jobs == {}
    (tmp_path / "asked").unlink()
    _stand_in(tmp_path)
    assert made.submit() == {"ground": "1", "prepare": "2", "train": "3", "judge": "4", "select": "5"}
    assert "--dependency=aftercorr:3 judge.sbatch" in (tmp_path / "asked").read_text()
    with pytest.raises(ResourceError, match="did not accept") as caught:
        made.submit()
    assert "submitted already" in str(caught.value.found)


def test_answers_of_squeue_belong_to_units(job: Job) -> None:
    made = write_scripts(job, Settings())
    (made.folder / "jobs.txt").write_text("ground 11\nprepare 12\n")
    own, foreign = made.folder, "/home/other"
    queue = parse_queue(
        f"11|0|COMPLETED|n1|None|{own}/ground.sbatch\n"
        f"12|0|RUNNING|n2|None|{own}/prepare.sbatch\n"
        f"12|1|PENDING||Priority|{own}/prepare.sbatch\n"
        f"12|2|RUNNING|n3|None|{foreign}/prepare.sbatch\n"
        "13|N/A|RUNNING|n3|None|wrap\n\n"
    )
    found = elements(job.ledger, queue)
    assert {name: item.in_words() for name, item in found.items()} == {
        "ground": "job 11_0 completed",
        "prepare-0": "job 12_0 running on n2",
        "prepare-1": "job 12_1 pending (Priority)",
    }
    assert [name for name, item in found.items() if item.lives] == ["prepare-0", "prepare-1"]


def test_a_submission_with_a_damaged_record_is_as_none(job: Job) -> None:
    made = write_scripts(job, Settings())
    (made.folder / "jobs.txt").write_text("ground 11\n")
    (made.folder / "arrays.json").write_text("{")
    assert Submission(made.folder).elements(parse_queue(f"11|0|RUNNING|n1|None|{made.folder}/ground.sbatch")) == {}
