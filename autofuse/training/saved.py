"""The files of one run: everything that it takes to go on, and the weights that predict."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from autofuse.foundation.console import say
from autofuse.foundation.errors import ModelError
from autofuse.sampling import ranks
from autofuse.training import checkpoint as files
from autofuse.training.ema import Average
from autofuse.training.model import Which, checkpoint_path
from autofuse.training.run import RunPlan
from autofuse.training.state import TrainingState
from autofuse.training.steps import Stepper


class SavedRun:
    """Checkpoints of the networks, their average and their momentum in ``folder``; rank 0 writes, every rank reads."""

    def __init__(self, folder: Path, run: RunPlan, nets: nn.ModuleDict, average: Average | None, stepper: Stepper):
        self._folder, self._run, self._digest = folder, run, run.digest()
        self._nets, self._average, self._stepper = nets, average, stepper

    def require_disk(self) -> None:
        """Refuse to begin where the checkpoints will not fit; see ``checkpoint.require_disk``."""
        if ranks.is_first():
            files.require_disk(self._folder, self._tensors())

    def save(self, state: TrainingState) -> None:
        """Write last.safetensors: all that it takes to go on."""
        if not ranks.is_first():
            return
        about = files.About(run_digest=self._digest, step=state.step, dice=state.dice, state=state)
        files.save_checkpoint(checkpoint_path(self._folder, "last"), self._tensors(), about)

    def save_weights(self, which: Which, step: int, dice: float | None) -> None:
        """Write weights alone; nothing in the file depends on the clock, so it is the same in every repetition."""
        if not ranks.is_first():
            return
        about = files.About(run_digest=self._digest, step=step, dice=dice)
        files.save_checkpoint(checkpoint_path(self._folder, which), self.weights(), about)

    def weights(self) -> dict[str, Tensor]:
        """The weights that predict, on the CPU, as they are named in a file."""
        nets = self._nets if self._average is None else self._average.nets
        return files.prefixed(files.NET, {name: tensor.cpu() for name, tensor in nets.state_dict().items()})

    def require_same(self, step: int) -> None:
        """Nothing, if all ranks stand at the same step with the same weights.

        Raises:
            ModelError: if they do not.
        """
        if ranks.count() > 1 and not ranks.all_agree([step, files.tensors_crc32(self.weights())]):
            raise ModelError(
                f"The processes of this training no longer have the same weights after step {step}.",
                file=self._folder,
                remedy="Run the same command again to go on from the last checkpoint. If it happens again, a trainer "
                "draws random numbers or reads data of its own in after_step, or a GPU computes wrongly.",
            )

    def best_crc32(self) -> int:
        """CRC-32 of the best weights, which are verified by it."""
        tensors, _ = files.load_checkpoint(checkpoint_path(self._folder, "best"), self._digest)
        return files.tensors_crc32(tensors)

    def resume(self) -> TrainingState | None:
        """Fill networks, average and momentum from last.safetensors; the state to go on from, None without one.

        Raises:
            ModelError: if the checkpoint is damaged, of another run, or does not fit the networks.
        """
        path = checkpoint_path(self._folder, "last")
        if not path.exists():
            return None
        tensors, about = files.load_checkpoint(path, self._digest)
        if about.state is None:
            return None
        files.fill_networks(self._nets, files.part(tensors, files.NET), path)
        if self._average is not None:
            files.fill_networks(self._average.nets, files.part(tensors, files.AVERAGE), path)
        for descent in self._stepper.descents:
            descent.restore_momentum(files.part(tensors, f"{files.MOMENTUM}{descent.objective.name}/"))
            descent.scale = about.state.scales[descent.objective.name]
        say(f"Going on from step {about.state.step}, epoch {about.state.epoch}.")
        return about.state if self._run.minutes is None else self._with_best(about.state)

    def _with_best(self, state: TrainingState) -> TrainingState:
        """A timed run does not repeat itself exactly: best weights newer than the checkpoint stay what they are."""
        path = checkpoint_path(self._folder, "best")
        if not path.exists():
            return state
        _, about = files.load_checkpoint(path, self._digest)
        newer = about.step > state.step
        return state.model_copy(update={"best_dice": about.dice, "best_step": about.step}) if newer else state

    def _tensors(self) -> dict[str, Tensor]:
        tensors = files.prefixed(files.NET, self._nets.state_dict())
        if self._average is not None:
            tensors |= files.prefixed(files.AVERAGE, self._average.nets.state_dict())
        for descent in self._stepper.descents:
            tensors |= files.prefixed(f"{files.MOMENTUM}{descent.objective.name}/", descent.momentum())
        return tensors
