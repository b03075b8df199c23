"""What merging the heads of several modalities costs. No torch here."""

from __future__ import annotations

from autofuse.networks.specs import Sizes, kept, total
from autofuse.networks.unet_spec import DecoderSpec
from autofuse.plan.cost import Cost


def merging_cost(decoder: DecoderSpec, modalities: int, sizes: tuple[Sizes, ...], *, regions: bool) -> Cost:
    """Cost of merging the logits of ``modalities`` decoders, on top of those logits themselves.

    The backward pass keeps logarithms of probabilities, with and without weights, and their sums.
    """
    if modalities == 1:
        return Cost()
    shares = (3 * modalities + 4, modalities) if regions else (2 * modalities + 1, modalities)
    found = [
        kept((shares[0] - shares[1]) * head.outputs, size)
        for head, size in zip(decoder.heads, sizes, strict=False)
        if head is not None
    ]
    return total(found)
