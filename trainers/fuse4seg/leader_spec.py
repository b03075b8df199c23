"""The network that fuses: modalities in, one image in [0, 1] out: the description, and how wide it may be. No torch.

After Fuse4Seg (arXiv 2409.10328), which states a frequency-decoupled architecture and no layers; these are ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from autofuse.networks.image_level_spec import gathering_fuser
from autofuse.networks.inlet import Inlet, inlet
from autofuse.networks.specs import ConvolutionSpec, HeadSpec, Sizes, StackSpec, kept, total
from autofuse.plan.cost import Cost
from autofuse.plan.task import Task

if TYPE_CHECKING:
    from autofuse_trainers.fuse4seg.leader import Leader

Aggregate = Literal["max", "mean", "saliency", "pyramid"]

COUPLINGS = 2
"""Each changes one half of the channels by the other."""

NARROWEST = 2
LOW = 3
"""The leader's low-pass filter reaches so far to each side, in the shortest spacing."""


@dataclass(frozen=True)
class LeaderSpec:
    """A shared encoder, a base path of low frequencies, an invertible detail path, a decoder to one channel.

    There is no norm in it: what a voxel of the fused image shows depends on its surroundings alone, so that patches
    fit together without seams.

    Attributes:
        width: channels of features, even.
        kernel: of its convolutions.
        steps: per axis, the spacing as a multiple of the shortest.
        aggregate: of the modalities' shown intensities, from which the fused image departs.
        windows: per modality, prepared intensities shown as 0 and 1.
    """

    inlet: Inlet
    width: int
    kernel: Sizes
    steps: tuple[float, ...]
    aggregate: Aggregate
    windows: tuple[tuple[float, float], ...]

    @property
    def blur(self) -> Sizes:
        """Per axis, voxels to each side that the low-pass filter averages over."""
        return tuple(round(LOW / step) for step in self.steps)

    @property
    def ones(self) -> Sizes:
        """The kernel of 1x1 convolutions, and the stride of all."""
        return (1,) * len(self.kernel)

    @property
    def encoder(self) -> StackSpec:
        """Features of one modality; the same weights for each."""
        return StackSpec((self._convolution(1, self.width), self._convolution(self.width, self.width)))

    @property
    def base(self) -> ConvolutionSpec:
        """What is read from low frequencies."""
        return ConvolutionSpec(self.width, self.width, self.ones, self.ones, normal=False)

    @property
    def coupling(self) -> ConvolutionSpec:
        """What one half of the details reads from the other."""
        return self._convolution(self.width // 2, self.width // 2)

    @property
    def decoder(self) -> ConvolutionSpec:
        """Bases and details, fused, to the features of the image."""
        return self._convolution(2 * self.width, self.width)

    @property
    def head(self) -> HeadSpec:
        """The departure from the aggregate, before the sigmoid."""
        return HeadSpec(self.width, 1, len(self.kernel))

    def _convolution(self, inputs: int, outputs: int) -> ConvolutionSpec:
        return ConvolutionSpec(inputs, outputs, self.kernel, self.ones, normal=False)

    def cost(self, size: Sizes) -> Cost:
        """Cost of one sample while training, what its losses keep included; a test compares it with the real one."""
        width, modalities = self.width, self.inlet.modalities
        pairs = modalities * (modalities - 1) // 2
        halves = HeadSpec(width // 2, width, len(self.kernel)).cost(size)
        layers = total((self.encoder.cost(size), self.base.cost(size), *(self.coupling.cost(size), halves) * COUPLINGS))
        # Low frequencies, a coupling's factors and products; of each pair, bases and details less their means.
        each, pair, image = kept(4 * width, size), kept(4 * width + 2, size), kept(3 * modalities + 5, size)
        several = Cost(modalities * layers.flops, modalities * layers.activations, layers.parameters)
        decoded = total((kept(2 * width, size), self.decoder.cost(size), self.head.cost(size)))
        return total((several, *(each,) * modalities, *(pair,) * pairs, image, decoded))

    def build(self) -> Leader:
        """The leader, freshly initialised."""
        from autofuse_trainers.fuse4seg.leader import Leader

        return Leader(self)


def leader_spec(
    task: Task, aggregate: Aggregate, width: int | None, windows: tuple[tuple[float, float], ...]
) -> LeaderSpec:
    """The leader of the planned network; without ``width`` the widest that keeps no more than memory is planned for."""
    configuration = task.configuration
    network = configuration.network
    kernel = network.kernels[0]
    spacing_mm = configuration.spacing_mm[-len(kernel) :]
    steps = tuple(spacing / min(spacing_mm) for spacing in spacing_mm)
    narrow = LeaderSpec(
        inlet(network, task.modalities, task.prior_channels), NARROWEST, kernel, steps, aggregate, windows
    )
    if width is not None:
        return replace(narrow, width=width)
    planned = gathering_fuser(network, task.modalities).cost(configuration.patch).activations
    fitting = [narrow]
    for more in range(2 * NARROWEST, network.features[0] + 1, 2):
        wider = replace(narrow, width=more)
        if wider.cost(configuration.patch).activations <= planned:
            fitting.append(wider)
    return fitting[-1]
