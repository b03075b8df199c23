"""Trains tiny networks in several processes that share each batch, and prints how every process ended, as JSON.

    python ranks_trained.py FOLDER SCENARIOS

SCENARIOS is a JSON list of ``Scenario``. This process imports torch once and never computes; each rank is a fork of it.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autofuse.dataset.types import IGNORE
from autofuse.foundation.errors import AutofuseError
from autofuse.foundation.seat import Seat
from autofuse.plan.task import Task
from autofuse.sampling import ranks
from autofuse.sampling.batch import Batch
from autofuse.sampling.source import stream_batch
from autofuse.testing.examples import example_batch, example_task
from autofuse.training.checkpoint import tensors_crc32
from autofuse.training.journal import Journal
from autofuse.training.loop import fit
from autofuse.training.run import make_trainer, plan_run
from autofuse.training.seeds import mix
from autofuse.training.state import ValidationResult
from autofuse.training.trainer import Stream, Trainer

BATCH = 4
MOST_RANKS = 2
"""A stream's samples are as many as these share evenly, in one process too, so that all see the same batches."""
CASES = tuple(f"case {index}" for index in range(BATCH))
RANK_LOST = 70


@dataclass(frozen=True)
class Scenario:
    """One training.

    Attributes:
        name: of its folder; trainer, fields, topology, dimensions: what is trained.
        ranks: processes; steps, steps_per_epoch, minutes: how long.
        poisoned: step whose last sample is NaN.
        stops: for each attempt but the last, which rank gets which signal after how many steps.
    """

    name: str
    ranks: int
    trainer: str = "supervised"
    fields: dict[str, Any] = field(default_factory=dict)
    topology: str = "early"
    dimensions: int = 2
    steps: int | None = 6
    minutes: float | None = None
    steps_per_epoch: int = 3
    poisoned: int | None = None
    stops: list[tuple[int, str, int]] = field(default_factory=list)


def task_of(scenario: Scenario) -> Task:
    """Two modalities that are dropped from the start, batches of four."""
    made = example_task(2, scenario.dimensions, topology=scenario.topology)  # type: ignore[arg-type]
    network = made.configuration.network.model_copy(update={"modality_dropout": 0.3})
    configuration = made.configuration.model_copy(update={"network": network, "batch": BATCH})
    return Task(made.plan.model_copy(update={"configurations": (configuration,)}), configuration)


class Batches:
    """This rank's share of batches that depend on stream and step alone; a signal comes when it is due."""

    def __init__(self, task: Task, streams: tuple[Stream, ...], first_step: int, due: tuple[int, str, int] | None):
        self.task, self.streams, self.step, self.due = task, streams, first_step, due
        self.poisoned: int | None = None

    def __iter__(self) -> Iterator[Mapping[str, Batch]]:
        while True:
            if self.due is not None and self.due[0] == ranks.rank() and self.due[2] == self.step:
                os.kill(os.getpid(), getattr(signal, self.due[1]))
            yield {stream.name: self.shared(stream) for stream in self.streams}
            self.step += 1

    def shared(self, stream: Stream) -> Batch:
        whole = uneven(self.task, stream, mix(7, stream.name, self.step), stream_batch(stream.share, BATCH, MOST_RANKS))
        if self.poisoned == self.step:
            whole.image[-1] = float("nan")
        return rows(whole, ranks.rank(), ranks.count())


def uneven(task: Task, stream: Stream, seed: int, samples: int) -> Batch:
    """A batch whose samples have few labels and many, one of them none; the second lacks a modality."""
    batch = example_batch(task, labelled="dense", samples=samples, seed=seed % 2**31)
    assert batch.target is not None
    luck = torch.rand(batch.target.shape, generator=torch.Generator().manual_seed(seed))
    for index in range(samples):
        share = 0.0 if stream.cases == "unlabelled" and not stream.taught else (1.0, 0.4, 0.0, 0.1)[index % 4]
        batch.target[index][luck[index] >= share] = IGNORE
    if samples > 1:
        batch.present[1, 0] = False
        batch.image[1, 0] = 0
    return replace(batch, cases=CASES[:samples])


def rows(batch: Batch, rank: int, count: int) -> Batch:
    """The samples that one rank sees."""
    assert batch.target is not None
    mine = slice(rank, None, count)
    parts = {"image": batch.image[mine], "present": batch.present[mine], "target": batch.target[mine]}
    return replace(batch, **parts, cases=batch.cases[mine], step_cases=batch.cases)  # type: ignore[arg-type]


class Held:
    """A validation of four cases that ranks share; it keeps the networks, to be looked at in the end."""

    patches = 0

    def __init__(self, task: Task) -> None:
        self.task = task
        self.nets: nn.ModuleDict | None = None

    def __call__(self, nets: nn.ModuleDict, trainer: Trainer) -> ValidationResult:
        return self.result(self.part(nets, trainer, 0, 1))

    def part(self, nets: nn.ModuleDict, trainer: Trainer, rank: int, count: int) -> Tensor:
        self.nets = nets
        found = torch.zeros(BATCH, 1, dtype=torch.float64)
        for case in range(rank, BATCH, count):
            batch = example_batch(self.task, samples=1, seed=100 + case)
            assert batch.target is not None
            found[case] = (trainer.segment(nets, batch).argmax(1) == batch.target).double().mean()
        return found

    def result(self, scores: Tensor) -> ValidationResult:
        return ValidationResult(float(scores.mean()))


def train(scenario: Scenario, folder: Path, due: tuple[int, str, int] | None) -> None:
    """One rank's try at it."""
    task, trainer = task_of(scenario), make_trainer(scenario.trainer, scenario.fields)
    run = plan_run(
        task,
        scenario.trainer,
        trainer,
        fold=0,
        labelled=CASES,
        unlabelled=("case 4",),
        steps=scenario.steps,
        minutes=scenario.minutes,
        threads=1,
        precision="fp32",
        ranks=scenario.ranks,
    ).model_copy(update={"steps_per_epoch": scenario.steps_per_epoch})
    validate = Held(task)

    def loader(first_step: int) -> Batches:
        made = Batches(task, trainer.streams(), first_step, due)
        made.poisoned = scenario.poisoned
        return made

    fit(task, trainer, None, run, folder, device="cpu", validate=validate, loader_factory=loader)
    if validate.nets is not None:
        (folder / f"weights_{ranks.rank()}").write_text(str(tensors_crc32(validate.nets.state_dict())))


def talk(folder: Path) -> None:
    """What one of two ranks hears, into a file; the first gives 1 and the second 3."""
    mine = torch.tensor(1.0 + 2 * ranks.rank(), requires_grad=True)
    mean = ranks.mean_over_ranks(mine)
    # L = mean of m² and 2 m² = 1.5 m²; what reaches either rank is dL/dm = 3 m, and d²L/dm² = 3.
    (slope,) = torch.autograd.grad((1 + ranks.rank()) * mean**2, mine, create_graph=True)
    (bend,) = torch.autograd.grad(slope, mine)
    torch.manual_seed(3)
    heard = {
        "mean": float(mean),
        "sum": float(ranks.sum_over_ranks(mine)),
        "slope": float(slope),
        "bend": float(bend),
        "largest": ranks.largest([ranks.rank(), -ranks.rank()]),
        "first": ranks.first_says(float(mine)),
        "agree": [ranks.all_agree([5, 6]), ranks.all_agree([5, ranks.rank()])],
        "drawn": ranks.rand(2, 3, device=torch.device("cpu")).tolist(),
        "counts": float(ranks.mean_count(torch.tensor(ranks.rank()))),
    }
    (folder / f"heard_{ranks.rank()}.json").write_text(json.dumps(heard))


def together(place: Path, name: str, count: int, work: Callable[[], None]) -> list[int]:
    """How each rank ended."""
    meeting = place / f"{name}.meeting"
    meeting.unlink(missing_ok=True)
    children = [forked(Seat(rank, count, rank, meeting), place / f"{name}_{rank}.txt", work) for rank in range(count)]
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def forked(seat: Seat, told: Path, work: Callable[[], None]) -> int:
    """The id of a child that is at work."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        with told.open("a") as stream:
            os.dup2(stream.fileno(), 2)
        torch.set_num_threads(1)
        if seat.count == 1:
            work()
        else:
            with ranks.seated(seat, "cpu"):
                work()
        status = 0
    except ranks.RankLost:
        status = RANK_LOST
    except AutofuseError as error:
        traceback.print_exc()
        status = error.exit_code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    """By name of a scenario, for each attempt how each rank ended."""
    importlib.import_module("torch._inductor")  # what each training would import, here once
    importlib.import_module("autofuse_trainers.collaboration")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    Journal._add_events = lambda *_: None  # type: ignore[method-assign] # importing TensorBoard takes longer than training
    Journal.draw = lambda *_: None  # type: ignore[method-assign]
    place = Path(sys.argv[1])
    ended = {}
    for content in json.loads(sys.argv[2]):
        scenario = Scenario(**content)
        works = [partial(train, scenario, place / scenario.name, due) for due in (*scenario.stops, None)]
        ended[scenario.name] = [together(place, scenario.name, scenario.ranks, work) for work in works]
    ended["talk"] = [together(place, "talk", 2, partial(talk, place))]
    sys.stdout.write(json.dumps(ended))


if __name__ == "__main__":
    main()
