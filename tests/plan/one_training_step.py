"""Training steps of a planned network; says what it costs, how long the fastest took, and the peak memory.

Run as a process of its own, so that the peak is its own: FLOPs, activations, parameters, logits, seconds, GiB.
Arguments: topology, modalities, steps. Every head that the network has is trained.
"""

from __future__ import annotations

import sys
import time

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from autofuse.foundation.machine import cpu_threads, peak_memory_gib, tune_allocator
from autofuse.networks.topologies import topology
from autofuse_planners.pyramid import network_for, pyramid_for
from autofuse_planners.thresholds import Thresholds

BATCH, OUTPUTS, WIDTH, PATCH = 2, 3, 16, (40, 40, 40)


def heads(net: nn.Module, image: Tensor) -> list[tuple[Tensor, ...]]:
    """The logits of every head, level by level."""
    if not hasattr(net, "branches"):
        return [net(image)]
    found = net.branches(image)
    return [found.logits, *found.specific]


def main() -> None:
    name, modalities, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    tune_allocator()
    torch.set_num_threads(cpu_threads())
    pyramid = pyramid_for(PATCH, (1.0, 1.0, 1.0), Thresholds())
    spec = topology(name)(network_for(pyramid, WIDTH, "plain", Thresholds()), modalities, 0, OUTPUTS)
    net, cost = spec.build().train(), spec.cost(pyramid.patch)
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.99, nesterov=True)
    image, target = torch.randn(BATCH, modalities, *pyramid.patch), torch.randint(0, OUTPUTS, (BATCH, *pyramid.patch))
    seconds = []
    for _ in range(steps):
        started = time.perf_counter()
        loss = sum(
            cross_entropy(item, target[:, :: 2**i, :: 2**i, :: 2**i])
            for levels in heads(net, image)
            for i, item in enumerate(levels)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seconds.append(time.perf_counter() - started)
    figures = (cost.flops, cost.activations, cost.parameters, OUTPUTS * pyramid.voxels, min(seconds), peak_memory_gib())
    sys.stdout.write(" ".join(str(figure) for figure in figures) + "\n")


if __name__ == "__main__":
    main()
