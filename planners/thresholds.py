"""Every number that the default planner compares with: named, with a default, overridable one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Thresholds:
    """The default planner's numbers. Those marked (nn) are nnU-Net 2.8.1's; the others are ours.

    Grid:
        anisotropy (nn): an axis is coarse if its spacing is more than this many times the others'.
        coarse_percentile (nn): percentile of a coarse axis' spacings that becomes its target; others: the median.
        transpose_margin: an axis goes first only if it is coarser than the first by more than this share.
    Patch and network:
        start_voxels_3d, start_pixels_2d (nn): size of the first patch before it is clipped to the median case.
        min_feature_map (nn): an axis is pooled while each half keeps so many voxels.
        same_spacing (nn): axes within this factor of the finest are pooled and convolved together.
        min_patch_axis: in-plane patches are padded to this at least.
        widths: channels of the first stage, widest first; the first is (nn). Those between are no faster on a CPU:
            24 channels took as long as 32, and 12 as long as 16.
        max_features_3d, max_features_2d (nn): most channels of a stage at the widest first stage.
        plain_blocks (nn), residual_blocks (nn), residual_decoder_blocks (nn): convolutions or blocks a stage.
        encoder: "auto" decides by memory and time.
        residual_memory_gib: from this budget on, "auto" takes residual blocks, if there is no time dial.
    Memory dial:
        min_batch (nn): smallest batch; batch_share (nn): most of the data set's voxels that one batch may show.
        max_batch: largest batch.
        small_patch_3d, small_patch_2d: voxels below which the patch is not shrunk while the network can still narrow.
    Time dial:
        time_share: of the minutes, what training steps get; the rest is for loading, validation and saving.
        reference_steps in reference_minutes: steps wanted; they grow with the square root of the time, so that half
            of what more time brings goes into a better network.
        few_steps_share: share of these steps that is still accepted before the network becomes very narrow.
        good_width: the network is narrowed to this before the patch shrinks.
        good_patch_3d, good_patch_2d: voxels below which the patch is not shrunk before steps give way.
        fair_patch_3d, fair_patch_2d: voxels below which it is not shrunk before the width gives way altogether.
        sparse_patch_2d: both, where labels are sparse. A network learns what lies far from every stroke by context
            only: on scribbled hearts (20 frames, one fold, 800 steps) whole slices of 256 x 224 with 8 channels gave
            0.63, pieces of 128 x 128 with 16 channels 0.49, and most of what was wrong lay far from the heart.
        time_batch_2d: slices a step where time is short.
        max_steps (nn): more is never planned.
    No time dial:
        default_steps: on a GPU; default_steps_cpu: without one.
    Low resolution:
        low_share (nn): a patch that sees less of the median case asks for a cascade.
        low_growth (nn): factor by which its spacing grows at a time.
        low_gain (nn): a low resolution whose median case is not so many times smaller is dropped.
    Default configuration:
        few_slices: coarse stacks with fewer slices than this are seen slice by slice.
    Normalisation:
        mask_share (nn): crops that keep less than this of a case are normalised inside their non-zero mask.
        air_hu: lowest and highest smallest value of a CT that shows air; padding_hu: of one that was padded.
        ct_case_share: share of the cases whose smallest value must be one of these.
    Mirroring:
        order_ratio: two classes are in constant order along an axis if the mean distance of their centroids is so many
            standard deviations; order_cases: in so many cases at least.
        order_forgotten_steps: a longer training mirrors all the same, as (nn) does.
    Augmentation:
        few_cases, many_passes: fewer cases than this, each seen more often than this, are rotated and zoomed more;
        often_share: of the samples, each; (nn) has 0.2.
    Schedule:
        short_training_steps: a shorter training gets short_momentum and short_learning_rate; (nn) has 0.99 and 0.01.
        total_decay (nn): rate / (1 - momentum) x weight decay x steps; short_weight_decay: most of it a step.
    Modalities:
        missing_rate: a modality that more cases lack, or see in part, is treated as one that can be missing.
        full_view: share of the reference's field of view that a modality must cover to count as seeing all of it.
        least_overlap: below this share two modalities have no field of view in common.
        dropout_low, dropout_high: bounds of modality dropout.
        rarely_missing: up to this rate, plain concatenation is a challenger of stems.
        aligned_mm: modalities within this, or within one target voxel, can be laid on each other as they are.
        worth_registering_mm: further apart than this, and than one target voxel, they are registered if that helps.
        displacement_percentile: over cases, of the displacement that is compared with it.
        reliable_share: of the compared cases, that must be reliable before they say anything.
        registration_share: of the tried cases, that rigid registration must bring below the limit.
        near_limit: displacements within this factor of the limit, on either side, bring a challenger.
    Supervision:
        taught_steps: steps for each teacher and the student, below which minutes are better spent on labels alone: on
            the hippocampus with 8 labels, 300 steps each gave 0.848, 900 on labels alone 0.852. Where teachers
            overtake was not measured.
        self_training_cases: labelled cases from which a teacher is thought good enough.
        thin_scribbles, thin_cover: scribbles on a smaller share of voxels, which cover a smaller share of each
            structure, ask for pseudo labels.
        strokes_together: of the cases with strokes, in which each must lie within reach of another, so that what no
            stroke reaches is taught as background; above 1 it never is.
        available_trainers: installed methods; a rule that asks for another falls back to a baseline and says so.
    """

    anisotropy: float = 3.0
    coarse_percentile: float = 10.0
    transpose_margin: float = 0.01

    start_voxels_3d: int = 256**3
    start_pixels_2d: int = 2048**2
    min_feature_map: int = 4
    same_spacing: float = 2.0
    min_patch_axis: int = 8
    widths: tuple[int, ...] = (32, 16, 8)
    max_features_3d: int = 320
    max_features_2d: int = 512
    plain_blocks: int = 2
    residual_blocks: tuple[int, ...] = (1, 3, 4, 6)
    residual_decoder_blocks: int = 1
    encoder: Literal["auto", "plain", "residual"] = "auto"
    residual_memory_gib: float = 8.0

    min_batch: int = 2
    batch_share: float = 0.05
    max_batch: int = 64
    small_patch_3d: int = 32**3
    small_patch_2d: int = 64**2

    time_share: float = 0.85
    reference_steps: int = 2500
    reference_minutes: float = 20.0
    few_steps_share: float = 0.5
    good_width: int = 16
    good_patch_3d: int = 64**3
    good_patch_2d: int = 128**2
    fair_patch_3d: int = 48**3
    fair_patch_2d: int = 96**2
    sparse_patch_2d: int = 256**2
    time_batch_2d: int = 4
    max_steps: int = 250_000

    default_steps: int = 100_000
    default_steps_cpu: int = 5_000

    low_share: float = 0.25
    low_growth: float = 1.03
    low_gain: float = 2.0

    few_slices: int = 16

    mask_share: float = 0.75
    air_hu: tuple[float, float] = (-1100.0, -900.0)
    padding_hu: tuple[float, float] = (-4100.0, -1900.0)
    ct_case_share: float = 0.9

    order_ratio: float = 2.0
    order_cases: int = 5
    order_forgotten_steps: int = 50_000

    few_cases: int = 100
    many_passes: float = 100.0
    often_share: float = 0.5

    short_training_steps: int = 20_000
    short_momentum: float = 0.9
    short_learning_rate: float = 0.1
    short_weight_decay: float = 3e-3
    total_decay: float = 7.5

    missing_rate: float = 0.01
    full_view: float = 0.98
    least_overlap: float = 0.01
    dropout_low: float = 0.35
    dropout_high: float = 0.5
    rarely_missing: float = 0.05
    aligned_mm: float = 2.0
    worth_registering_mm: float = 1.25
    displacement_percentile: float = 90.0
    reliable_share: float = 0.2
    registration_share: float = 0.9
    near_limit: float = 2.0

    taught_steps: int = 2500
    self_training_cases: int = 20
    thin_scribbles: float = 0.02
    thin_cover: float = 0.2
    strokes_together: float = 0.95
    available_trainers: tuple[str, ...] = (
        "supervised",
        "partial",
        "cmfnet",
        "pseudo_labels",
        "collaboration",
        "self_training",
        "fuse4seg",
    )
