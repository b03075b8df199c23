"""Time autofuse beside nnU-Net 2.8.1, stage by stage, on the same data and machine, and print the ratios.

    python benchmarks/against_nnunet.py                    # phantom set, 12 cases of 96 x 96 x 64, two modalities
    python benchmarks/against_nnunet.py --dataset DIR      # any data set in nnU-Net's raw layout

nnU-Net is installed once into an environment of its own (``benchmarks/.venv-nnunet``), or taken from
``--nnunet-env``. Each stage is a whole command, started cold, on both sides; training steps use nnU-Net's planned
patch, batch and network on both sides, and each is set beside its own bare network's step. The results are kept as
JSON in ``benchmarks/results/``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import Usage, measure
from results_file import keep

HERE = Path(__file__).resolve().parent
NNUNET = "nnunetv2==2.8.1"
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
        peer = [str(self.nnunet_env / "bin" / "python"), str(HERE / "nnunet_peer.py"), str(_PHANTOM_ID), str(steps)]
        theirs = measure(peer, self.log, self.environment)
        facts = _last_json(self.log)
        ask = self.scratch / "nnunet.json"
        ask.write_text(json.dumps(facts))
        mine = [str(HERE / "autofuse_peer.py"), str(self.raw), str(self.workspace), str(ask), str(steps)]
        ours = measure([sys.executable, *mine], self.log)
        answer = _last_json(self.log)
        return {"nnunet": facts, "autofuse": answer}, Row("training run", ours, theirs)

    def prediction(self, facts: Mapping[str, Any]) -> list[Row]:
        """One case, cold start to written mask, with and without mirroring."""
        inputs = self.scratch / "one_case"
        inputs.mkdir()
        first = sorted((self.raw / "imagesTr").glob("*_0000.nii.gz"))[0].name.removesuffix("_0000.nii.gz")
        for image in (self.raw / "imagesTr").glob(f"{first}_*.nii.gz"):
            shutil.copy(image, inputs)
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


def nnunet_environment(option: str | None) -> Path:
    """An environment that holds nnU-Net; made once, with the same torch as ours."""
    if option:
        return Path(option)
    folder = HERE / ".venv-nnunet"
    if not (folder / "bin" / "nnUNetv2_train").exists():
        import torch

        sys.stderr.write("Installing nnU-Net into an environment of its own (some minutes) ...\n")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        constraint = folder / "constraints.txt"
        constraint.write_text(f"torch=={torch.__version__.split('+')[0]}\n")
        install = [str(folder / "bin" / "pip"), "install", "--quiet", "-c", str(constraint)]
        subprocess.run([*install, constraint.read_text().strip()], check=True)
        subprocess.run([*install, NNUNET], check=True)
    return folder


def phantom(folder: Path) -> Path:
    """The default data set of the comparison."""
    from autofuse.phantom import PhantomOptions, write_phantom

    return write_phantom(folder, PhantomOptions(cases=12, test_cases=0, shape=(64, 96, 96), modalities=2, seed=1))


def show(rows: list[Row], steps: Mapping[str, Any]) -> None:
    """The table, on stdout."""
    write = sys.stdout.write
    write(f"{'stage':28} {'autofuse':>20} {'nnU-Net 2.8.1':>20} {'faster':>8} {'memory':>8}\n")
    for row in rows:
        ours, theirs, ratio = row.autofuse, row.nnunet, row.as_dict()
        write(
            f"{row.stage:28} {ours.wall_s:9.2f} s {ours.peak_mib:5.0f} MiB {theirs.wall_s:9.2f} s "
            f"{theirs.peak_mib:5.0f} MiB {ratio['wall_ratio']:7.1f}x {ratio['memory_ratio']:7.1f}x\n"
        )
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
    parser.add_argument("--repeats", type=int, default=3, help="repeats of the start-up times")
    parser.add_argument("--name", default="against_nnunet", help="name of the results file")
    options = parser.parse_args()
    environment = nnunet_environment(options.nnunet_env)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        scratch = Path(folder)
        raw = options.dataset or phantom(scratch / "phantom")
        bench = Bench(raw, environment, scratch, options.repeats)
        try:
            rows = bench.start_up() + bench.before_training()
            steps, training = bench.training(options.steps)
            rows += [training, *bench.prediction(steps)]
        except RuntimeError:
            sys.stderr.write(bench.log.read_text(errors="replace")[-4000:])
            raise
    show(rows, steps)
    keep_rows(options.name, rows, steps)


def keep_rows(name: str, rows: list[Row], steps: Mapping[str, Any]) -> None:
    """Write the figures to the results."""
    kept = ("step_s", "bare_step_s", "patch", "batch", "features", "precision")
    timing = {side: {key: facts[key] for key in kept if key in facts} for side, facts in steps.items()}
    keep(name, {"rows": [row.as_dict() for row in rows], "training_steps": timing})


if __name__ == "__main__":
    main()
