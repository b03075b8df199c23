"""How much memory training takes at its peak, from what a network costs.

Calibrated on 23 networks trained for two or three steps each on a CPU (plain and residual, 2D and 3D, isotropic and
not, 8 to 32 channels, 3 to 20 outputs; torch 2.13, SGD with momentum, allocator as ``tune_allocator`` sets it), by the
largest resident size of a process that did nothing else: the prediction was 0.97 to 1.38 times what was measured. For
each topology of ``autofuse.networks`` (two modalities, all heads trained) it was 1.12 to 1.37 times. A CPU
needs more than twice what autograd keeps, since convolutions work on reordered copies. The figures for a GPU follow
FakeTensor traces (8.8 GiB in fp32, 4.6 in bf16, for two samples of 128 cubed in a network of 32 channels).
"""

from __future__ import annotations

from dataclasses import dataclass

from autofuse.foundation.machine import GIB
from autofuse.plan.cost import Cost

_FP32_BYTES = 4


@dataclass(frozen=True)
class Footprint:
    """What one precision on one kind of device takes.

    Attributes:
        base_gib: the process (a GPU's context and workspace) before any sample.
        element_bytes: of an activation; overhead: copies and gradients on top of what is kept, as a factor.
        parameter_copies: weights, gradients, momentum and reordered copies, each in fp32.
        logit_copies: what the loss keeps, in fp32, for every logit.
    """

    base_gib: float
    element_bytes: int
    overhead: float
    parameter_copies: float
    logit_copies: float


FOOTPRINTS = {
    ("cpu", "fp32"): Footprint(0.45, 4, 2.1, 3.0, 7.0),
    ("cpu", "bf16"): Footprint(0.45, 2, 2.3, 5.0, 7.0),
    ("cpu", "fp16"): Footprint(0.45, 2, 2.3, 5.0, 7.0),
    ("cuda", "fp32"): Footprint(0.8, 4, 1.35, 4.0, 7.0),
    ("cuda", "bf16"): Footprint(0.8, 2, 1.4, 5.0, 7.0),
    ("cuda", "fp16"): Footprint(0.8, 2, 1.4, 5.0, 7.0),
}


def training_memory_gib(cost: Cost, batch: int, precision: str, device: str = "cpu", *, logits: float = 0.0) -> float:
    """Peak memory of training with ``batch`` samples, in GiB: resident memory on a CPU, device memory on a GPU.

    base + activations · B · bytes · overhead + parameters · 4 · copies + logits · B · 4 · copies.

    Args:
        cost: of one sample.
        logits: elements of the full-resolution logits of one sample (outputs times voxels of the patch).
    """
    foot = FOOTPRINTS[device, precision]
    activations = cost.activations * batch * foot.element_bytes * foot.overhead
    parameters = cost.parameters * _FP32_BYTES * foot.parameter_copies
    loss = logits * batch * _FP32_BYTES * foot.logit_copies
    return foot.base_gib + (activations + parameters + loss) / GIB
