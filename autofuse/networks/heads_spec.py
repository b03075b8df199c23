"""What merging the heads of several modalities costs. No torch here."""

from __future__ import annotations

from autofuse.networks.specs import Sizes, kept, total
from autofuse.networks.unet_spec import DecoderSpec
from autofuse.plan.cost import Cost


def merging_cost(decoder: DecoderSpec, modalities: int, sizes: tuple[Sizes, ...], *, regions: bool) -> Cost:
    """Cost of merging the logits of ``modalities`` decoders, on top of those logits themselves.

    The backward pass keeps logarithms of probabilities, with and without weights, and their sums; of regions those of
    being inside and outside.
    """
    if modalities == 1:
        return Cost()
    copies = 3 * modalities + 3 if regions else 2 * modalities + 1
    return total(
        kept(copies * head.outputs, size) for head, size in zip(decoder.heads, sizes, strict=False) if head is not None
    )
