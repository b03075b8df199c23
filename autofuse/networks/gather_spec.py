"""Features of any number of modalities brought together, whatever their order: the description. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from autofuse.networks.specs import ConvolutionSpec, Sizes, kept, total
from autofuse.plan.cost import Cost

if TYPE_CHECKING:
    from autofuse.networks.gather import Gather

MASK_BYTES_PER_FLOAT = 4


@dataclass(frozen=True)
class GatherSpec:
    """conv[Σ_m g_m F_m ; max_m F_m ; previous] with gates g_m = sigmoid(conv[F_m ; mean_k F_k]), symmetric in m.

    Attributes:
        modalities: M; width: channels of each F_m; previous: channels of what else is read.
        outputs, kernel: of the convolution.
    """

    modalities: int
    width: int
    previous: int
    outputs: int
    kernel: Sizes

    @property
    def convolution(self) -> ConvolutionSpec:
        """The convolution of what was gathered."""
        return ConvolutionSpec(2 * self.width + self.previous, self.outputs, self.kernel, (1,) * len(self.kernel))

    def cost(self, size: Sizes) -> Cost:
        """Cost of one sample: the mean, gates, the masks of the maximum, what is gathered, and the convolution."""
        modalities, width = self.modalities, self.width
        gates = Cost(2.0 * (modalities + 1) * width * prod(size), 0.0, 2 * width + 1)
        masks = (modalities - 1) * width / MASK_BYTES_PER_FLOAT
        here = kept(width + 2 * modalities + masks + self.convolution.inputs, size)
        return total((gates, here, self.convolution.cost(size)))

    def build(self) -> Gather:
        """The layers, freshly initialised."""
        from autofuse.networks.gather import Gather

        return Gather(self)
