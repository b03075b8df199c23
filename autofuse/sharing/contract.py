"""What must be done before and after an ONNX network so that masks come out as they do here: ``contract.json``.

A network alone is no model: the same weights on other spacings, another order of modalities or other intensities give
nonsense without a word. So everything that prediction does is written down, in numbers and in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from autofuse.dataset.types import Labels
from autofuse.foundation.values import StoredValue, Value
from autofuse.inference.case import HALF_LIMIT
from autofuse.inference.coding import SUREST
from autofuse.inference.export import THRESHOLD
from autofuse.inference.reading import EACH_ALONE
from autofuse.inference.recipe import Recipe, StructureSteps
from autofuse.inference.tiles import SIGMA_SHARE, STEP
from autofuse.plan.task import Task
from autofuse.plan.types import NormalisationPlan, Plan, RegistrationPlan
from autofuse.sharing.types import Hash, Member, Name

CONTRACT = "contract.json"
IMAGE, SEEN, PRIOR, LOGITS = "image", "seen", "prior", "logits"
"""Names of the tensors of a network."""


class TensorSpec(Value):
    """One input or output: name, type and shape; batch first, then channels, then the patch's axes, slowest first."""

    name: str
    dtype: Literal["float32", "bool"]
    shape: tuple[int, ...]


class OnnxMember(Value):
    """One network.

    Attributes:
        file: its name beside the contract.
        weight: its share of the members' mean; 0 for what only makes masks that are another one's input.
        inputs, output: its tensors.
        normalisation: per channel, how intensities are made comparable.
        registration: how other modalities are brought onto the reference first; None where they are taken to lie as
            they should.
        dimensions: of the patch; 2 sees single slices of the first (transposed) axis.
        spacing_mm: of the prepared grid, transposed order; a 2D network leaves the first axis as it is.
        anisotropic_axis: transposed axis that is resampled apart, or None.
        mirror_axes: axes of the patch along which it is flipped, in every combination.
        first_stage: files of the networks whose equal mean makes the masks that are ``prior``; empty without.
        largest_difference: of any probability between onnxruntime and torch, over ``compared`` tiles.
    """

    file: str
    sha256: Hash
    member: Member
    weight: float = Field(ge=0, le=1)
    inputs: tuple[TensorSpec, ...]
    output: TensorSpec
    normalisation: tuple[NormalisationPlan, ...]
    registration: RegistrationPlan | None
    dimensions: Literal[2, 3]
    patch: tuple[int, ...]
    spacing_mm: tuple[float, float, float]
    anisotropic_axis: int | None
    mirror_axes: tuple[int, ...]
    first_stage: tuple[str, ...] = ()
    largest_difference: float
    compared: int


class Contract(StoredValue):
    """How the networks beside it are used.

    Attributes:
        modalities: names of the channels of ``image``.
        transpose: which raw axis (z, y, x = 0, 1, 2) comes first, second, third.
        reference: channel whose grid masks are made on.
        may_be_absent: whether all networks were made to do without a modality.
        half_limit: prepared intensities are rounded to half floats unless one exceeds this.
        tile_step: largest distance of tiles, in patches; tile_sigma: of the Gaussian that weighs them, in patches.
        activation: of the logits, before members are averaged.
        thresholds: per region, the probability above which a voxel belongs to it; None for classes.
        temperature: log-odds of the mean are divided by it where probabilities are wanted, not for masks.
        postprocessing: of masks, in order; structures that are not named stay as they are.
        steps: all of it in words, in order.
    """

    kind: ClassVar[str] = "onnx_contract"

    name: Name
    licence: str | None
    modalities: tuple[str, ...]
    transpose: tuple[int, int, int]
    reference: int
    may_be_absent: bool
    half_limit: float
    tile_step: float
    tile_sigma: float
    activation: Literal["softmax", "sigmoid"]
    thresholds: tuple[float, ...] | None
    temperature: float
    postprocessing: tuple[StructureSteps, ...]
    labels: Labels
    members: tuple[OnnxMember, ...]
    steps: tuple[str, ...]
    opset: int
    autofuse_version: str
    torch_version: str


def make_contract(
    name: str,
    licence: str | None,
    plans: Mapping[str, Plan],
    members: tuple[OnnxMember, ...],
    recipe: Recipe,
    *,
    opset: int,
    torch_version: str,
) -> Contract:
    """The contract of ``members``.

    Args:
        plans: that trained them, by run, that of a predicting member first.
        recipe: what is done to their mean.
    """
    from autofuse import __version__

    plan = next(iter(plans.values()))
    regions = plan.labels.has_regions
    trained = {(item.member.run, item.member.configuration) for item in members}
    networks = [plans[run].named(configuration).network for run, configuration in sorted(trained)]
    usual = (THRESHOLD,) * len(plan.labels.classes)
    return Contract(
        name=name,
        licence=licence,
        modalities=plan.modalities,
        transpose=plan.transpose,
        reference=plan.reference,
        may_be_absent=all(item.modality_dropout > 0 or item.topology in EACH_ALONE for item in networks),
        half_limit=HALF_LIMIT,
        tile_step=STEP,
        tile_sigma=SIGMA_SHARE,
        activation="sigmoid" if regions else "softmax",
        thresholds=(recipe.thresholds or usual) if regions else None,
        temperature=recipe.temperature,
        postprocessing=tuple(step for step in recipe.steps if step.acts),
        labels=plan.labels,
        members=members,
        steps=_steps(plan),
        opset=opset,
        autofuse_version=__version__,
        torch_version=torch_version,
    )


def tensor_specs(task: Task) -> tuple[tuple[TensorSpec, ...], TensorSpec]:
    """Inputs and output of the network for ``task``."""
    patch = tuple(task.configuration.patch)
    inputs = [
        TensorSpec(name=IMAGE, dtype="float32", shape=(1, task.modalities, *patch)),
        TensorSpec(name=SEEN, dtype="bool", shape=(1, task.modalities, *patch)),
    ]
    if task.prior_channels:
        inputs.append(TensorSpec(name=PRIOR, dtype="float32", shape=(1, task.prior_channels, *patch)))
    return tuple(inputs), TensorSpec(name=LOGITS, dtype="float32", shape=(1, task.outputs, *patch))


def _steps(plan: Plan) -> tuple[str, ...]:
    """The way of a case through prediction, in the order in which things happen."""
    if plan.labels.has_regions:
        winner = (
            "Where a region's probability exceeds its one of `thresholds`, paint its value of `labels.region_values`, "
            "in order, later ones over earlier ones; 0 elsewhere."
        )
        divided = "log-odds by `temperature` and take the sigmoid"
    else:
        winner = (
            "Take the output with the largest probability: 0 is background, k the first of `raw_values` of "
            "`labels.classes[k - 1]`."
        )
        divided = "logarithms by `temperature` and take the softmax"
    return (
        "Read each modality as an array (z, y, x), intensities after the file's slope and intercept.",
        "Where a network has a `registration`, register each other modality rigidly onto the reference (mutual "
        "information) within its limits. Modalities on other grids than the reference are interpolated onto the "
        "prepared grid; what they do not see is not `seen`.",
        "Crop to the smallest box that holds every voxel in which any modality is not 0.",
        "Transpose: axis `transpose[i]` of the array becomes axis i.",
        "Normalise each modality over the cropped image as the network's `normalisation` says: zscore is (x - mean) / "
        "standard deviation, zscore_nonzero the same over voxels where any modality is not 0 with the holes that they "
        "enclose (0 outside), ct clips to [lower, upper] and takes (x - mean) / std from the numbers given, "
        "rescale_0_1 maps the image's range to [0, 1], none changes nothing.",
        "Resample to round(size * spacing / `spacing_mm`) voxels, at least 1, borders of the grids in common: cubic "
        "B-splines with edge mode, clipped to the range of the input; along `anisotropic_axis` copy the nearest slice; "
        "a 2D network keeps the first axis as it is.",
        "Round to half floats and back, unless a value exceeds `half_limit`.",
        "An absent modality is 0 and not `seen`; one that is there is `seen` in every voxel that its image covers, and "
        "0 where it covers none.",
        "Where the image is smaller than the patch, pad it with zeros, half of them (rounded down) before and the rest "
        "after; a modality that is there counts as `seen` in the padding.",
        "Lay tiles of `patch` voxels in ceil((size - patch) / max(1, tile_step * patch)) equal gaps per axis, from 0 "
        "to size - patch, starts rounded to the nearest integer (halves to even).",
        "Run each tile, and its flips along every combination of `mirror_axes`, flipped back; average these logits.",
        "Add the tiles up, each weighted by the product over axes of exp(-0.5 (offset from the middle / (patch * "
        "tile_sigma))^2), divided by the sum of all tiles' weights.",
        "Apply `activation` to each network's logits and average networks of one grid by `weight`.",
        "Interpolate probabilities linearly (nearest along `anisotropic_axis`) to the cropped grid, and add up those "
        "of networks with other grids there.",
        winner,
        "Transpose back, put it into its place in the original grid, 0 outside.",
        "For each of `postprocessing`, in order, take the voxels of its structure (of a region: all whose value is one "
        "of its `raw_values`) and number their components, which touch by face, edge or corner. With `largest_only` "
        "keep the largest, and none below `least_mm3`; what is removed falls to the smallest region around it, else to "
        "0. With `fill_holes`, voxels of 0 (or of the region around it) that no path over faces leads out of get its "
        "value.",
        f"Probabilities for people: where `temperature` is not 1, clip the mean to [{SUREST:g}, 1 - {SUREST:g}], "
        f"divide {divided}. Masks are made before that.",
        "A second stage's `prior` holds, per class or region, 1 where the mask of its `first_stage` (their equal mean, "
        f"regions above {THRESHOLD:g}, no post-processing; taken to the prepared grid as a label) has it.",
    )
