"""Time autofuse beside nnU-Net 2.8.1, stage by stage, on the same data and machine, and print the ratios.

    python benchmarks/against_nnunet.py                    # phantom set, 12 cases of 96 x 96 x 64, two modalities
    python benchmarks/against_nnunet.py --dataset DIR      # any data set in nnU-Net's raw layout
    python benchmarks/against_nnunet.py --preparing --name against_nnunet_preparing    # what comes before training

nnU-Net is installed once into an environment of its own (``benchmarks/.venv-nnunet``), or taken from
``--nnunet-env``. Each stage is a whole command, started cold, on both sides; training steps use nnU-Net's planned
patch, batch and network on both sides, and each is set beside its own bare network's step. The results are kept as
JSON in ``benchmarks/results/``. ``--preparing`` takes larger phantoms, half of them in coarser voxels, so that they are
resampled.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bare_limits import measure_limits
from measure import Usage, measure
from nnunet_environment import nnunet_environment
from results_file import keep

HERE = Path(__file__).resolve().parent
_PHANTOM_ID = 801

HELP_COMMANDS = {
    "check": "nnUNetv2_plan_and_preprocess",
    "fingerprint": "nnUNetv2_extract_fingerprint",
    "plan": "nnUNetv2_plan_experiment",
    "preprocess": "nnUNetv2_preprocess",
    "train": "nnUNetv2_train",
    "predict": "nnUNetv2_predict",
    "evaluate": "nnUNetv2_evaluate_folder",
}
"""Each verb of autofuse beside the command of nnU-Net that does the same."""


@dataclass(frozen=True)
class Row:
    """One line of the table: the same work on both sides."""

    stage: str
    autofuse: Usage
    nnunet: Usage

    def as_dict(self) -> dict[str, Any]:
        """Figures of both and their ratios, nnU-Net / autofuse (above 1: autofuse needs less)."""
        return {
            "stage": self.stage,
            "autofuse": self.autofuse.as_dict(),
            "nnunet": self.nnunet.as_dict(),
            "wall_ratio": self.nnunet.wall_s / self.autofuse.wall_s,
            "memory_ratio": self.nnunet.peak_mib / max(self.autofuse.peak_mib, 1.0),
        }


class Bench:
    """Both tools on one data set, in a scratch folder."""

    def __init__(self, raw: Path, nnunet_env: Path, scratch: Path, repeats: int) -> None:
        self.repeats = repeats
        self.log = scratch / "log.txt"
        self.nnunet_env = nnunet_env
        folders = {name: scratch / name for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
        for folder in folders.values():
            folder.mkdir()
        self.environment = {name: str(folder) for name, folder in folders.items()}
        self.raw = folders["nnUNet_raw"] / f"Dataset{_PHANTOM_ID}_bench"
        shutil.copytree(raw, self.raw)
        self.workspace = scratch / "workspace"
        self.scratch = scratch
        self.asked = scratch / "nnunet.json"

    def ours(self, *arguments: str) -> Usage:
        """Usage of one autofuse command."""
        return measure([sys.executable, "-m", "autofuse", *arguments], self.log)

    def theirs(self, command: str, *arguments: str) -> Usage:
        """Usage of one nnU-Net command."""
        return measure([str(self.nnunet_env / "bin" / command), *arguments], self.log, self.environment)

    def start_up(self) -> list[Row]:
        """``--help`` of every command, the fastest of the repeats."""
        rows = []
        for ours, theirs in HELP_COMMANDS.items():
            fast = min((self.ours(ours, "--help") for _ in range(self.repeats)), key=lambda usage: usage.wall_s)
            slow = min((self.theirs(theirs, "-h") for _ in range(self.repeats)), key=lambda usage: usage.wall_s)
            rows.append(Row(f"{ours} --help", fast, slow))
        return rows

    def before_training(self) -> list[Row]:
        """Fingerprint, plan and preprocessing of the 3D configuration, two processes each."""
        place = [str(self.raw), "--workspace", str(self.workspace), "--quiet"]
        number = str(_PHANTOM_ID)
        return [
            Row(
                "fingerprint",
                self.ours("fingerprint", *place),
                self.theirs("nnUNetv2_extract_fingerprint", "-d", number, "-np", "2"),
            ),
            Row("plan", self.ours("plan", *place), self.theirs("nnUNetv2_plan_experiment", "-d", number)),
            Row(
                "preprocess",
                self.ours("preprocess", *place, "-c", "3d"),
                self.theirs("nnUNetv2_preprocess", "-d", number, "-c", "3d_fullres", "-np", "2"),
            ),
        ]

    def training(self, steps: int) -> tuple[dict[str, Any], Row]:
        """Seconds per step of both at nnU-Net's patch and network, each beside its bare network's."""
        theirs, facts = self.their_peer("steps", str(_PHANTOM_ID), str(steps))
        self.asked.write_text(json.dumps(facts))
        ours, answer = self.our_peer("autofuse_peer", str(self.raw), str(self.workspace), str(self.asked), str(steps))
        return {"nnunet": facts, "autofuse": answer}, Row("training run", ours, theirs)

    def our_peer(self, script: str, *words: str) -> tuple[Usage, dict[str, Any]]:
        """Usage of one of the scripts beside this one, and the JSON that it printed."""
        usage = measure([sys.executable, str(HERE / f"{script}.py"), *words], self.log)
        return usage, _last_json(self.log)

    def their_peer(self, *words: str) -> tuple[Usage, dict[str, Any]]:
        """The same of nnU-Net's side, in its environment."""
        command = [str(self.nnunet_env / "bin" / "python"), str(HERE / "nnunet_peer.py"), *words]
        usage = measure(command, self.log, self.environment)
        return usage, _last_json(self.log)

    def prepared(self) -> dict[str, Any]:
        """How far both tools' prepared cases lie from each other, for the same spacing and normalisation."""
        return self.our_peer("autofuse_same", "prepared", str(self.raw), str(self.workspace), str(self.asked))[1]

    def around(self, facts: Mapping[str, Any], cases: int) -> dict[str, Any]:
        """Seconds a case that prediction spends beside the network: read, prepare, tile, export, write."""
        inputs = self.some_cases("several_cases", cases)
        run = facts["autofuse"]["run"]
        ours = ("predict", str(self.raw), str(self.workspace), run, str(self.scratch / "around_ours"), str(inputs))
        theirs = ("predict", facts["nnunet"]["model_folder"], str(self.scratch / "around_theirs"), str(inputs))
        found = {"autofuse": self.our_peer("autofuse_same", *ours)[1], "nnunet": self.their_peer(*theirs)[1]}
        beside = {side: (item["whole_s"] - item["network_s"]) / cases for side, item in found.items()}
        return {**found, "cases": cases, "beside_s": beside, "ratio": beside["nnunet"] / beside["autofuse"]}

    def taught(self, steps: int) -> dict[str, Any]:
        """Held-out Dice of both after the same number of steps with the same patch, batch and network."""
        folders = {side: self.scratch / f"taught_{side}" for side in ("nnunet", "autofuse")}
        _, theirs = self.their_peer("teach", str(_PHANTOM_ID), str(steps), str(folders["nnunet"]))
        # nnU-Net trains whole epochs: as many steps as it really took.
        length = str(theirs["steps"])
        place = (str(self.raw), str(self.workspace), str(self.asked))
        _, ours = self.our_peer("autofuse_same", "teach", *place, length, str(folders["autofuse"]))
        if ours["held_out"] != theirs["held_out"]:
            raise RuntimeError("The two tools hold out other cases, so their Dice says nothing.")
        scores = {side: self.dice(folder) for side, folder in folders.items()}
        return {"autofuse": {**ours, "dice": scores["autofuse"]}, "nnunet": {**theirs, "dice": scores["nnunet"]}}

    def dice(self, masks: Path) -> float:
        """Mean over classes of the mean Dice of these masks, judged by the data set's labels."""
        from autofuse import road

        scores, _ = road.evaluate(self.raw, workspace=self.workspace, predictions=masks, out=masks / "scores")
        assert scores.mean_dice is not None
        return scores.mean_dice

    def sizes(self) -> dict[str, int]:
        """Bytes that preparing reads and writes, for the bare disk to be set beside it."""
        raw = [file for name in ("imagesTr", "labelsTr") for file in (self.raw / name).iterdir()]
        made = [file for file in self.workspace.rglob("prepared/**/*") if file.is_file()]
        return {"read": sum(file.stat().st_size for file in raw), "written": sum(file.stat().st_size for file in made)}

    def some_cases(self, name: str, count: int) -> Path:
        """A folder with the images of the first cases."""
        inputs = self.scratch / name
        inputs.mkdir()
        for first in sorted((self.raw / "imagesTr").glob("*_0000.nii.gz"))[:count]:
            case = first.name.removesuffix("_0000.nii.gz")
            for image in (self.raw / "imagesTr").glob(f"{case}_*.nii.gz"):
                shutil.copy(image, inputs)
        return inputs

    def prediction(self, facts: Mapping[str, Any]) -> list[Row]:
        """One case, cold start to written mask, with and without mirroring."""
        inputs = self.some_cases("one_case", 1)
        rows = []
        for stage, our_flag, their_flag in (
            ("predict, no mirroring", ["--no-mirror"], ["--disable_tta"]),
            ("predict, mirroring", [], []),
        ):
            slug = stage.replace(" ", "_").replace(",", "")
            ours = self.ours(
                *("predict", str(self.raw), "--workspace", str(self.workspace), "--quiet"),
                *("-i", str(inputs), "-o", str(self.scratch / f"ours_{slug}"), *our_flag),
                *("--run", facts["autofuse"]["run"]),
            )
            theirs = self.theirs(
                "nnUNetv2_predict_from_modelfolder",
                *("-i", str(inputs), "-o", str(self.scratch / f"theirs_{slug}"), "-device", "cpu", "-f", "0"),
                *("-m", facts["nnunet"]["model_folder"], "-npp", "1", "-nps", "1", *their_flag),
            )
            rows.append(Row(stage, ours, theirs))
        return rows


def _last_json(log: Path) -> dict[str, Any]:
    for line in reversed(log.read_text(errors="replace").splitlines()):
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            return found
    raise RuntimeError(f"no result in {log}")


def phantom(folder: Path) -> Path:
    """The default data set of the comparison."""
    from autofuse.phantom import PhantomOptions, write_phantom

    return write_phantom(folder, PhantomOptions(cases=12, test_cases=0, shape=(64, 96, 96), modalities=2, seed=1))


def phantom_of_two_spacings(folder: Path) -> Path:
    """Cases of 3.3 million voxels, every second one in voxels that are longer by a third."""
    from autofuse.images import read_image, write_image
    from autofuse.phantom import PhantomOptions, write_phantom

    raw = write_phantom(folder, PhantomOptions(cases=8, test_cases=0, shape=(128, 160, 160), modalities=2, seed=1))
    labels = sorted((raw / "labelsTr").glob("*.nii.gz"))
    for label in labels[1::2]:
        for path in (label, *(raw / "imagesTr").glob(label.name.replace(".nii.gz", "_*.nii.gz"))):
            image = read_image(path)
            was = image.geometry
            z, y, x = (4 / 3 * mm for mm in was.spacing_mm)
            write_image(path, image.voxels, replace(was, spacing_mm=(z, y, x)))
    return raw


def show_rows(rows: list[Row]) -> None:
    """The table, on stdout."""
    write = sys.stdout.write
    write(f"{'stage':28} {'autofuse':>20} {'nnU-Net 2.8.1':>20} {'faster':>8} {'memory':>8}\n")
    for row in rows:
        ours, theirs, ratio = row.autofuse, row.nnunet, row.as_dict()
        write(
            f"{row.stage:28} {ours.wall_s:9.2f} s {ours.peak_mib:5.0f} MiB {theirs.wall_s:9.2f} s "
            f"{theirs.peak_mib:5.0f} MiB {ratio['wall_ratio']:7.1f}x {ratio['memory_ratio']:7.1f}x\n"
        )


def show_steps(steps: Mapping[str, Any]) -> None:
    """How long training steps take, on stdout."""
    write = sys.stdout.write
    for side in ("autofuse", "nnunet"):
        step, bare = (statistics.median(steps[side][key]) for key in ("step_s", "bare_step_s"))
        overhead = 100 * (step / bare - 1)
        write(f"{side}: training step {step:.3f} s, bare network {bare:.3f} s, overhead {overhead:.1f} %\n")


def main() -> None:
    """Run the comparison and keep its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, help="raw data set; default: a phantom")
    parser.add_argument("--nnunet-env", help="virtual environment that holds nnunetv2")
    parser.add_argument("--steps", type=int, default=5, help="training steps to time")
    parser.add_argument("--repeats", type=int, default=3, help="repeats of the start-up times; 0 leaves them out")
    parser.add_argument("--around-cases", type=int, default=3, help="cases to time prediction beside the network with")
    parser.add_argument("--train-steps", type=int, default=0, help="train both for so long and compare Dice; 0: do not")
    parser.add_argument("--preparing", action="store_true", help="only what comes before training, on larger cases")
    parser.add_argument("--name", default="against_nnunet", help="name of the results file")
    options = parser.parse_args()
    environment = nnunet_environment(options.nnunet_env)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        scratch = Path(folder)
        raw = options.dataset or (phantom_of_two_spacings if options.preparing else phantom)(scratch / "phantom")
        bench = Bench(raw, environment, scratch, options.repeats)
        more: dict[str, Any] = {"limits": measure_limits(scratch).as_dict()}
        try:
            rows = (bench.start_up() if options.repeats else []) + bench.before_training()
            if options.preparing:
                bench.asked.write_text(json.dumps(bench.their_peer("planned", str(_PHANTOM_ID))[1]))
                more |= {"prepared": bench.prepared(), "preprocess_bytes": bench.sizes()}
                show_rows(rows)
                keep(options.name, {"rows": [row.as_dict() for row in rows], **more})
                return
            steps, training = bench.training(options.steps)
            more["prepared"] = bench.prepared()
            rows += [training, *bench.prediction(steps)]
            more["around"] = bench.around(steps, options.around_cases)
            more["preprocess_bytes"] = bench.sizes()
            if options.train_steps:
                more["taught"] = bench.taught(options.train_steps)
        except RuntimeError:
            sys.stderr.write(bench.log.read_text(errors="replace")[-4000:])
            raise
    show_rows(rows)
    show_steps(steps)
    show_more(more)
    keep_rows(options.name, rows, steps, more)


def show_more(more: Mapping[str, Any]) -> None:
    """What is no row of the table, on stdout."""
    write, around, same = sys.stdout.write, more["around"], more["prepared"]
    write(f"prediction beside the network, a case: {around['beside_s']['autofuse']:.3f} s against ")
    write(f"{around['beside_s']['nnunet']:.3f} s, {around['ratio']:.1f}x\n")
    write(f"prepared images differ by at most {same['largest_difference']:.2g}; ")
    write(f"{same['equal_labels']:.4%} of the labels are equal\n")
    for side in ("autofuse", "nnunet") if "taught" in more else ():
        item = more["taught"][side]
        write(f"{side}: Dice {item['dice']:.3f} after {item['steps']} steps, {item['trained_s']:.0f} s\n")


def keep_rows(name: str, rows: list[Row], steps: Mapping[str, Any], more: Mapping[str, Any]) -> None:
    """Write the figures to the results."""
    kept = ("step_s", "bare_step_s", "patch", "batch", "features", "precision")
    timing = {side: {key: facts[key] for key in kept if key in facts} for side, facts in steps.items()}
    keep(name, {"rows": [row.as_dict() for row in rows], "training_steps": timing, **more})


if __name__ == "__main__":
    main()
