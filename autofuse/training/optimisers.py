"""One objective's descent: which parameters move, their momentum, clipping, loss scaling, and a step without syncs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from autofuse.foundation.errors import ModelError
from autofuse.training.averaging import average_gradients
from autofuse.training.state import LossScale
from autofuse.training.trainer import Objective, Trainer

FP16_SCALE = 65536.0
SCALE_GROWS_AFTER = 2000.0
SMALLEST_SCALE = 1.0


class Descent:
    """SGD with Nesterov momentum for the networks that ``objective`` moves; every other parameter stays as it is.

    Whether a step is finite is decided on the device: torch's fused SGD leaves weights and momentum untouched where
    ``found_inf`` is one, and divides gradients by ``grad_scale``, which holds the loss scale and the clipping. So no
    value is read back, and a GPU never waits.
    """

    def __init__(self, objective: Objective, nets: nn.ModuleDict, trainer: Trainer, *, fp16: bool) -> None:
        unknown = [name for name in objective.moves if name not in nets]
        if unknown or not objective.moves:
            raise ModelError(
                f"The objective {objective.name!r} moves networks that its trainer does not build.",
                found=", ".join(unknown) or "none",
                expected="some of " + ", ".join(nets),
            )
        self.objective = objective
        self.named = _moved_parameters(objective, nets)
        self.parameters = list(self.named.values())
        self._clip = trainer.gradient_clip
        self._sgd = torch.optim.SGD(
            self.parameters,
            lr=trainer.learning_rate,
            momentum=trainer.momentum,
            nesterov=trainer.momentum > 0,
            weight_decay=trainer.weight_decay,
            fused=True,
        )
        if trainer.momentum > 0:
            for parameter in self.parameters:  # a first step that is skipped would leave an unset buffer behind
                self._sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        device = self.parameters[0].device
        self._fp16 = fp16
        self.loss_scale = torch.tensor(FP16_SCALE if fp16 else 1.0, device=device)
        self._calm = torch.tensor(0.0, device=device)
        self._others = [buffer for name, net in nets.items() if name not in objective.moves for buffer in net.buffers()]

    def remember_others(self) -> list[Tensor]:
        """Copies of the buffers (running statistics) of networks that must not change."""
        return [buffer.clone() for buffer in self._others]

    def restore_others(self, copies: list[Tensor]) -> None:
        """Undo what a forward pass did to those buffers."""
        for buffer, copy in zip(self._others, copies, strict=True):
            buffer.copy_(copy)

    def step(self, loss: Tensor, learning_rate: float) -> tuple[Tensor, Tensor]:
        """Descend ``loss``; returns the gradient norm before clipping and 1 if the step was skipped, else 0.

        Where several ranks train, both are those of the mean over ranks, and the same on each.
        """
        if loss.requires_grad:  # else a batch that holds nothing to learn from
            (loss * self.loss_scale).backward() if self._fp16 else loss.backward()  # type: ignore[no-untyped-call]
        loss = average_gradients(self.parameters, loss)
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        with torch.no_grad():
            if not gradients:
                return torch.zeros_like(loss), (~torch.isfinite(loss)).float()
            norm = torch.nn.utils.get_total_norm(gradients) / self.loss_scale
            failed = (~(torch.isfinite(norm) & torch.isfinite(loss))).float()
            clipping = (norm / self._clip).clamp(min=1.0) if self._clip > 0 else torch.ones_like(norm)
            self._descend(self.loss_scale * clipping, failed, learning_rate)
            if self._fp16:
                self._rescale(failed)
        return norm, failed

    def _descend(self, divisor: Tensor, failed: Tensor, learning_rate: float) -> None:
        on_cpu = divisor.device.type == "cpu"
        # Dividing by one costs a pass over all gradients; on a CPU reading the number costs nothing.
        needless = on_cpu and (float(divisor) == 1.0 or bool(failed))
        self._sgd.grad_scale = None if needless else divisor  # type: ignore[attr-defined]
        self._sgd.found_inf = failed  # type: ignore[attr-defined]
        for group in self._sgd.param_groups:
            group["lr"] = learning_rate
        self._sgd.step()

    def _rescale(self, failed: Tensor) -> None:
        """Halve the loss scale after an overflow, double it after ``SCALE_GROWS_AFTER`` calm steps."""
        calm = (self._calm + 1.0) * (1.0 - failed)
        grow = (calm >= SCALE_GROWS_AFTER).float()
        self.loss_scale.mul_((1.0 - 0.5 * failed) * (1.0 + grow)).clamp_(min=SMALLEST_SCALE)
        self._calm.copy_(calm * (1.0 - grow))

    @property
    def scale(self) -> LossScale:
        """The loss scale now; reads it back from the device."""
        return LossScale(scale=float(self.loss_scale), calm=float(self._calm))

    @scale.setter
    def scale(self, value: LossScale) -> None:
        self.loss_scale.fill_(value.scale)
        self._calm.fill_(value.calm)

    def momentum(self) -> dict[str, Tensor]:
        """Momentum buffers by parameter name."""
        buffers = {name: self._sgd.state[parameter].get("momentum_buffer") for name, parameter in self.named.items()}
        return {name: buffer for name, buffer in buffers.items() if buffer is not None}

    def restore_momentum(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up momentum that was saved.

        Raises:
            ModelError: if the names or shapes are not those of the moved parameters.
        """
        mine = self.momentum()
        if {name: tensor.shape for name, tensor in tensors.items()} != {name: t.shape for name, t in mine.items()}:
            raise ModelError(f"The saved momentum of objective {self.objective.name!r} does not fit its networks.")
        for name, buffer in mine.items():
            buffer.copy_(tensors[name])


def _moved_parameters(objective: Objective, nets: nn.ModuleDict) -> dict[str, nn.Parameter]:
    moved = {
        f"{name}.{key}": parameter
        for name in objective.moves
        for key, parameter in nets[name].named_parameters()
        if parameter.requires_grad
    }
    if not moved:
        raise ModelError(f"The networks of objective {objective.name!r} have nothing that can be trained.")
    return moved
