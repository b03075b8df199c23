"""The layers that ``autofuse.networks.specs`` describes, in 2D and 3D.

Shape legend: B batch, C channel, S spatial axes (slowest first).
"""

from __future__ import annotations

from math import prod, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autofuse.networks.specs import ConvolutionSpec, HeadSpec, ResidualSpec, UpsamplingSpec

NEGATIVE_SLOPE = 0.01
"""Slope of the leaky ReLU below zero."""
EPSILON = 1e-5
"""Added to the variance by the instance norm."""
FEWEST_VOXELS_IN_BF16 = 2
"""Maps with an axis this short are convolved in full precision on a CPU. oneDNN's bf16 weight gradient there sums over
memory that nobody wrote (torch 2.13, AVX-512 BF16: depth 2 with a kernel of 3; a strided axis of one voxel): NaN or any
number, never the same twice. Such maps are so small that the time does not show."""

CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED_CONVOLUTIONS = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
AVERAGES = {2: F.avg_pool2d, 3: F.avg_pool3d}


class InstanceNorm(nn.Module):
    """Instance norm with scale and shift, then (where ``activated``) leaky ReLU, (B, C, *S) to the same shape.

    A map of a single voxel has no variance; it is scaled and shifted only, in training and prediction alike.
    """

    def __init__(self, channels: int, activated: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.activated = activated

    def forward(self, features: Tensor) -> Tensor:
        """Each channel of each sample at mean ``bias`` and standard deviation ``weight``, then rectified."""
        shape = features.shape
        weight, bias = self.scales(shape[0])
        if prod(shape[2:]) == 1:
            ones = (1,) * (features.ndim - 2)
            normal = features * weight.view(*weight.shape, *ones) + bias.view(*bias.shape, *ones)
        else:
            # The samples' channels stand side by side as channels of one sample. The result is then a tensor of its
            # own, not a view as from F.instance_norm, and rectifying it in place costs no copy on the way back.
            flat = features.reshape(1, shape[0] * shape[1], *shape[2:])
            scale, shift = weight.reshape(-1), bias.reshape(-1)
            normal = F.batch_norm(flat, None, None, scale, shift, training=True, momentum=0.0, eps=EPSILON)
        if self.activated:
            normal = F.leaky_relu(normal, NEGATIVE_SLOPE, inplace=True)
        return normal.view(shape)

    def scales(self, samples: int) -> tuple[Tensor, Tensor]:
        """Scale and shift of each channel of each sample, (samples, C) both."""
        return self.weight.expand(samples, -1), self.bias.expand(samples, -1)


class ConvolutionBlock(nn.Module):
    """Convolution, instance norm, leaky ReLU. No bias where the norm would take it out again."""

    def __init__(self, spec: ConvolutionSpec) -> None:
        super().__init__()
        layer = CONVOLUTIONS[len(spec.kernel)]
        padding = tuple(width // 2 for width in spec.kernel)
        bias = not spec.normal
        self.convolution = layer(spec.inputs, spec.outputs, spec.kernel, spec.stride, padding, bias=bias)  # type: ignore[arg-type]
        nn.init.kaiming_normal_(self.convolution.weight, a=NEGATIVE_SLOPE)
        if self.convolution.bias is not None:
            nn.init.zeros_(self.convolution.bias)
        self.norm = InstanceNorm(spec.outputs, spec.activated) if spec.normal else None
        self.activated = spec.activated

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, *S) to (B, outputs, *S / stride)."""
        if features.device.type == "cpu" and min(features.shape[2:]) <= FEWEST_VOXELS_IN_BF16:
            with torch.autocast("cpu", enabled=False):
                features = self.convolution(features.to(self.convolution.weight.dtype))
        else:
            features = self.convolution(features)
        if self.norm is not None:
            return self.norm(features)  # type: ignore[no-any-return]
        return F.leaky_relu(features, NEGATIVE_SLOPE, inplace=True) if self.activated else features


class ResidualBlock(nn.Module):
    """Two convolutions added to the input (He et al., arXiv 1512.03385; averaged down as in ResNet-D, 1812.01187).

    The second norm starts at scale 0, so that a fresh network is as shallow as its projections.
    """

    def __init__(self, spec: ResidualSpec) -> None:
        super().__init__()
        self.stride = spec.stride
        self.first = ConvolutionBlock(spec.first)
        self.second = ConvolutionBlock(spec.second)
        assert self.second.norm is not None, "residual blocks are normalised"
        nn.init.zeros_(self.second.norm.weight)
        self.projection = None if spec.projection is None else ConvolutionBlock(spec.projection)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, *S) to (B, outputs, *S / stride)."""
        changed = self.second(self.first(features))
        if max(self.stride) > 1:
            features = AVERAGES[len(self.stride)](features, self.stride, self.stride)
        if self.projection is not None:
            features = self.projection(features)
        return F.leaky_relu(changed + features, NEGATIVE_SLOPE, inplace=True)


class Upsampling(nn.Module):
    """Transposed convolution with kernel = stride, and the encoder's features beside it."""

    def __init__(self, spec: UpsamplingSpec) -> None:
        super().__init__()
        layer = TRANSPOSED_CONVOLUTIONS[len(spec.stride)]
        self.convolution = layer(spec.inputs, spec.outputs, spec.stride, spec.stride, bias=False)  # type: ignore[arg-type]
        # With kernel = stride each output voxel reads one input voxel; torch's own fan would count the kernel too.
        nn.init.normal_(
            self.convolution.weight, std=nn.init.calculate_gain("leaky_relu", NEGATIVE_SLOPE) / sqrt(spec.inputs)
        )

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        """(B, inputs, *S) and (B, outputs, *S x stride) to (B, 2 outputs, *S x stride)."""
        return torch.cat([self.convolution(below), skip], dim=1)


def head(spec: HeadSpec) -> nn.Module:
    """The 1x1 convolution from features to logits, with a bias of zero."""
    layer = CONVOLUTIONS[spec.dimensions](spec.inputs, spec.outputs, 1)
    nn.init.kaiming_normal_(layer.weight, a=NEGATIVE_SLOPE)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
