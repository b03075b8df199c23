"""One arm of a comparison: a data set, the plan that it is trained under, and the Dice of the cases that judge it.

Arms of one comparison are planned for the same, fixed figures of speed, so that their plans do not depend on how busy
the machine is, and trained for the same number of steps with the same seeds. All goes through ``autofuse.road``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from autofuse import road
from autofuse.dataset.opening import open_dataset
from autofuse.evaluation.paired import PairedInterval, paired_bootstrap, paired_differences
from autofuse.evaluation.types import Scores
from autofuse.foundation.machine import default_precision
from autofuse.foundation.workspace import Workspace
from autofuse.images import read_image, write_image
from autofuse.phantom import PhantomOptions, write_phantom
from autofuse.plan.types import Budget, Plan
from autofuse.road.dials import DIALS_FILE, Dials

MEMORY_GIB, MINUTES = 4.0, 2.0
SPEED = {"flops_per_s": 2.4e11, "elements_per_s": 2.0e8, "threads": 2}
"""About what two busy cores do."""
SHORT_TRAINING = {"momentum": 0.9, "learning_rate": 0.1, "weight_decay": 3e-3}
"""What plans for few steps ask for; set here so that every arm has it, whatever its plan is for."""

TEST_CASES = 12
SHAPE, SPACING_MM = (48, 48, 48), (1.5, 1.5, 1.5)

Dice = dict[str, float | None]
Change = Callable[[Plan], Plan]


@dataclass(frozen=True)
class Arm:
    """One way to train on a data set.

    Attributes:
        name: also its workspace's.
        wishes: fields of the budget that differ (``topology``, ``expect_missing``).
        change: what is altered in the plan; None for nothing.
        trainer: None for the plan's; settings: its fields that differ.
    """

    name: str
    wishes: Mapping[str, Any]
    change: Change | None = None
    trainer: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """An arm that was trained on one data set with one seed."""

    arm: Arm
    raw: Path
    root: Path
    plan: Plan
    folds: tuple[road.TrainedFold, ...]

    def described(self) -> dict[str, Any]:
        """What was trained, for the record."""
        chosen = self.plan.named(self.plan.configuration)
        return {
            "topology": chosen.network.topology,
            "modality_dropout": chosen.network.modality_dropout,
            "registration": self.plan.registration is not None,
            "trainer": self.arm.trainer or self.plan.trainer.name,
            "settings": dict(self.arm.settings),
            "patch": list(chosen.patch),
            "features": list(chosen.network.features),
            "batch": chosen.batch,
        }


def train(arm: Arm, raw: Path, root: Path, *, steps: int, seed: int, folds: Sequence[int] = (0,)) -> Trained:
    """The arm, trained for ``steps`` steps a fold; what is trained already is found."""
    place = Workspace(root, raw.name)
    plan = _planned(arm, raw, place)
    done = tuple(
        road.train(
            raw,
            workspace=root,
            fold=fold,
            trainer=arm.trainer,
            steps=steps,
            seed=seed,
            settings={**SHORT_TRAINING, **arm.settings},
            device="cpu",
        )
        for fold in folds
    )
    return Trained(arm, raw, root, plan, done)


def _planned(arm: Arm, raw: Path, place: Workspace) -> Plan:
    """The plan of the arm, kept in its workspace: made for SPEED, then changed."""
    budget = Budget(memory_gib=MEMORY_GIB, minutes=MINUTES, precision=default_precision("cpu"), **SPEED, **arm.wishes)
    if not place.budget.exists():
        budget.save(place.budget)
        Dials(device="cpu", expect_missing=budget.expect_missing).save(place.folder / DIALS_FILE)
    plan = road.plan(raw, workspace=place.root, device="cpu")
    changed = plan if arm.change is None else arm.change(plan)
    if changed != plan:
        changed.save(place.plan)
    return changed


def test_dice(trained: Trained, images: Path | None = None, name: str = "all") -> Dice:
    """Mean Dice of each test case, its images from another folder if one is given."""
    out = trained.root / "masks" / name
    predicted = road.predict(trained.raw, workspace=trained.root, images=images, out=out, mirror=False, device="cpu")
    if predicted.failed:
        raise RuntimeError(f"{predicted.failed[0].case}: {predicted.failed[0].problem}")
    scores, _ = road.evaluate(trained.raw, workspace=trained.root, predictions=out, references=trained.raw / "labelsTs")
    return dice_of(scores)


def held_out_dice(trained: Trained) -> Dice:
    """Mean Dice of each case that a trained fold held out."""
    scores, _ = road.evaluate(trained.raw, workspace=trained.root)
    return dice_of(scores)


def dice_of(scores: Scores) -> Dice:
    """Mean Dice over classes, by case.

    Raises:
        RuntimeError: if a case could not be scored: an arm must not win by leaving out what is hard.
    """
    if scores.failed:
        raise RuntimeError(f"{scores.failed[0].case}: {scores.failed[0].problem}")
    return {case.case: case.mean_dice for case in scores.cases}


def subsets(modalities: int) -> Iterator[tuple[int, ...]]:
    """All 2^M - 1 sets of modalities that leave one, the complete one first."""
    for count in range(modalities, 0, -1):
        yield from itertools.combinations(range(modalities), count)


def only(images: Path, kept: Sequence[int], folder: Path, *, zero_filled: bool = False) -> Path:
    """A copy of a folder of images in which the modalities that are not ``kept`` are absent, or nothing but zeros."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(images.iterdir()):
        to = folder / path.name
        if to.exists():
            continue
        if int(path.name.removesuffix(".nii.gz")[-4:]) in kept:
            shutil.copyfile(path, to)
        elif zero_filled:
            image = read_image(path)
            write_image(to, np.zeros_like(image.voxels), image.geometry)
    return folder


def rewritten(raw: Path, copy: Path, rewrite: Callable[[Path, Path, Path], None]) -> Path:
    """A copy of a data set in which every second image is made by ``rewrite(first, second, to)``; made once."""
    if copy.exists():
        return copy
    temp = copy.with_name(f"{copy.name}.part")
    shutil.rmtree(temp, ignore_errors=True)
    shutil.copytree(raw, temp)
    for folder in ("imagesTr", "imagesTs"):
        for second in sorted((raw / folder).glob("*_0001.nii.gz")):
            first = second.with_name(second.name.replace("_0001", "_0000"))
            rewrite(first, second, temp / folder / second.name)
    temp.rename(copy)
    return copy


def on(topology: str, decoders: int = 1) -> Change:
    """The same plan, another network: patch, width and batch stay."""

    def changed(plan: Plan) -> Plan:
        network = {"topology": topology, "decoders": decoders}
        configurations = tuple(
            item.model_copy(update={"network": item.network.model_copy(update=network)}) for item in plan.configurations
        )
        return plan.model_copy(update={"configurations": configurations})

    return changed


def one_modality(raw: Path, channel: int, folder: Path) -> Path:
    """A copy of a data set in ``folder`` that has one of its modalities only; made once."""
    copy = folder / f"{raw.name}_only{channel}"
    if copy.exists():
        return copy
    part = copy.with_name(f"{copy.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    description = json.loads((raw / "dataset.json").read_text())
    others = [f"*_{int(number):04d}.nii.gz" for number in description["channel_names"] if int(number) != channel]
    shutil.copytree(raw, part, ignore=shutil.ignore_patterns(*others))
    for path in sorted(part.glob(f"images*/*_{channel:04d}.nii.gz")):
        path.rename(path.with_name(path.name.replace(f"_{channel:04d}.", "_0000.")))
    description["channel_names"] = {"0": description["channel_names"][str(channel)]}
    (part / "dataset.json").write_text(json.dumps(description))
    part.rename(copy)
    return copy


def kept_aside(
    source: Path, folder: Path, judges: int, split: int, regions: Mapping[str, Sequence[int]] | None = None
) -> Path:
    """A copy of a labelled data set (nnU-Net's layout, images linked) with ``judges`` cases as test cases; made once.

    Split after split, others judge. Test cases are predicted without mirroring, in an eighth of the time that a fold's
    held-out cases take; all others are trained on.

    Args:
        regions: what is segmented instead of the data set's classes, as label values, the largest region first.
    """
    copy = folder / f"aside{split}" / source.name
    cases = sorted(case.id for case in open_dataset(source).cases)
    aside = {cases[(split * judges + k) % len(cases)] for k in range(judges)}
    changes: dict[str, Any] = {}
    if regions is not None:
        changes["labels"] = {"background": 0} | {name: list(values) for name, values in regions.items()}
        changes["regions_class_order"] = [max(values) for values in _rims(list(regions.values()))]
    return linked_copy(source, copy, [case for case in cases if case not in aside], aside, **changes)


def linked_copy(
    source: Path,
    copy: Path,
    training: Sequence[str],
    aside: Collection[str],
    labelled: Collection[str] | None = None,
    **changes: Any,
) -> Path:
    """A copy of a densely labelled data set (nnU-Net's layout, images linked), all of it trained on in one fold; made
    once.

    Args:
        training, aside: ids of training and of test cases; others are left out.
        labelled: training cases that keep their labels; None for all.
        changes: of ``dataset.json``.
    """
    if copy.exists():
        return copy
    part = copy.with_name(f"{copy.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    for where in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
        (part / where).mkdir(parents=True)
    dataset = open_dataset(source)
    taught = set(training if labelled is None else labelled)
    for case in dataset.cases:
        if case.id not in aside and case.id not in training:
            continue
        to = "Ts" if case.id in aside else "Tr"
        for image in case.images:
            assert image is not None
            (part / f"images{to}" / Path(image.path).name).symlink_to(dataset.path(image.path))
        assert case.label is not None
        if case.id in aside or case.id in taught:
            (part / f"labels{to}" / Path(case.label).name).symlink_to(dataset.path(case.label))
    description = json.loads((source / "dataset.json").read_text()) | {"numTraining": len(training)} | changes
    (part / "dataset.json").write_text(json.dumps(description))
    (part / "splits_final.json").write_text(json.dumps([{"train": list(training), "val": []}]))
    part.rename(copy)
    return copy


def _rims(regions: Sequence[Sequence[int]]) -> list[set[int]]:
    """What each of nested regions holds beyond the next."""
    inner = [*(set(values) for values in regions[1:]), set[int]()]
    return [set(values) - less for values, less in zip(regions, inner, strict=True)]


def tagged(dice: Dice, seed: int) -> Dice:
    """The same with the seed in the names, so that several seeds can be put together."""
    return {f"seed{seed}/{case}": value for case, value in dice.items()}


def mean(dice: Dice) -> float:
    """Mean over the cases where Dice is defined."""
    defined = [value for value in dice.values() if value is not None]
    return sum(defined) / len(defined)


def as_json(value: Any) -> Any:
    """Plain JSON content."""
    return json.loads(json.dumps(value, default=lambda item: item.model_dump(mode="json")))


def add_arguments(command: argparse.ArgumentParser, work: str, shape: tuple[int, int, int] = SHAPE) -> None:
    """Give ``command`` the options of every comparison; phantoms have ``shape``, and all lies in a folder ``work``."""
    command.add_argument("--seeds", type=int, default=3, help="of phantom and training (default: 3)")
    command.add_argument("--steps", type=int, default=500, help="of training an arm (default: 500)")
    command.add_argument("--cases", type=int, default=20, help="training cases of a phantom (default: 20)")
    command.add_argument("--work", type=Path, default=Path("autofuse_workspace") / work, help="what is made")
    command.set_defaults(shape=shape, data=None)


def phantom(options: argparse.Namespace, seed: int, **changes: Any) -> Path:
    """A phantom data set of this seed, drawn where it is not there yet."""
    recipe = PhantomOptions(
        cases=options.cases, test_cases=TEST_CASES, shape=options.shape, spacing_mm=SPACING_MM, seed=seed, **changes
    )
    name = "_".join([f"Phantom{seed}", *(f"{key}{value:g}" for key, value in changes.items())])
    return write_phantom(options.work / "data" / name, recipe)


def trained_on(arm: Arm, raw: Path, options: argparse.Namespace, seed: int) -> tuple[Trained, bool]:
    """The arm, trained; and whether it is judged by test cases (else by what its folds hold out)."""
    tests = (raw / "labelsTs").is_dir()
    folds = (0,) if tests else tuple(range(options.folds))
    # Data sets of one name lie in folders of their own: each combination has its own workspace.
    root = options.work / "workspaces" / f"{arm.name}_{raw.parent.name}_{raw.name}_seed{seed}_{options.steps}"
    return train(arm, raw, root, steps=options.steps, seed=seed, folds=folds), tests


def judge(arm: Arm, raw: Path, options: argparse.Namespace, seed: int) -> tuple[Trained, Dice]:
    """The arm, trained, and the Dice of the cases that judge it."""
    trained, tests = trained_on(arm, raw, options, seed)
    return trained, test_dice(trained) if tests else held_out_dice(trained)


def compare(first: Dice, second: Dice, people: Mapping[str, str] | None = None) -> PairedInterval:
    """Second less first, over cases and seeds; a case that is not in ``people`` is a person of its own."""
    return paired_bootstrap(paired_differences(first, second), people or {})


def show(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """The rows as a table, on stdout."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column.replace("_", " "))
    for row in rows:
        table.add_row(*(_told(row.get(column)) for column in columns))
    Console().print(table)


def _told(value: Any) -> str:
    if isinstance(value, PairedInterval):
        return f"{value.difference:+.3f} ({value.lower:+.3f} to {value.upper:+.3f})"
    if isinstance(value, bool):
        return "yes" if value else ""
    return f"{value:.3f}" if isinstance(value, float) else str(value or "")
