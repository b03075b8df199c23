"""How each modality's intensities become comparable, by its name or by what was measured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from statistics import median

from autofuse.fingerprint.types import Fingerprint, IntensityFacts
from autofuse.plan.types import Decision, Normalisation, NormalisationPlan
from autofuse_planners.thresholds import Thresholds

_SCHEME_OF_WORD: Mapping[str, Normalisation] = {
    "ct": "ct",
    "cbct": "ct",
    "nonorm": "none",
    "no_norm": "none",
    "rescale_0_1": "rescale_0_1",
    "rescale_to_0_1": "rescale_0_1",
    "rgb_to_0_1": "rescale_0_1",
    "rgb": "rescale_0_1",
}
"""Names by which a data set asks for a scheme; nnU-Net's names among them."""
_COLOURS = ({"r", "g", "b"}, {"red", "green", "blue"})
_COLOUR_MAXIMUM = 255.0


def choose_normalisation(
    fingerprint: Fingerprint, rules: Thresholds
) -> tuple[tuple[NormalisationPlan, ...], tuple[Decision, ...]]:
    """A scheme per modality, and why."""
    plans, decisions = [], []
    colours = _are_colours(fingerprint)
    kept = median(case.crop_fraction for case in fingerprint.cases)
    for index, name in enumerate(fingerprint.modalities):
        facts = fingerprint.intensities[index]
        scheme, rule, evidence = _scheme(name, index, fingerprint, colours, kept, rules)
        plans.append(_with_statistics(scheme, facts))
        decisions.append(Decision(what=f"normalisation of {name}", chosen=scheme, rule=rule, evidence=dict(evidence)))
    return tuple(plans), tuple(decisions)


def _scheme(
    name: str, index: int, fingerprint: Fingerprint, colours: bool, kept: float, rules: Thresholds
) -> tuple[Normalisation, str, dict[str, float | str | bool]]:
    facts = fingerprint.intensities[index]
    asked = _asked_by_name(name)
    if asked == "ct" and not facts.voxels:
        asked = None
    if asked is not None:
        return asked, "the modality's name asks for it", {"name": name}
    if colours:
        return "rescale_0_1", "three channels of colour", {"largest_value": facts.maximum}
    air = _share_with_air(fingerprint, index, rules)
    if facts.voxels and facts.integral and air >= rules.ct_case_share:
        rule = "whole numbers whose smallest value is that of air in Hounsfield units: a CT by measurement"
        return "ct", rule, {"share_of_cases_with_air": round(air, 3), "whole_numbers": True}
    evidence = {"median_share_kept_by_crop": round(kept, 4)}
    if kept < rules.mask_share:
        rule = f"the crop keeps less than {rules.mask_share:.0%}: z-score of each image inside its non-zero mask"
        return "zscore_nonzero", rule, {**evidence}
    return "zscore", "z-score of each image", {**evidence}


def _asked_by_name(name: str) -> Normalisation | None:
    lowered = name.strip().lower()
    if lowered in _SCHEME_OF_WORD:
        return _SCHEME_OF_WORD[lowered]
    # "CT venous" or "lowdose-ct" is a CT; "PET/CT", which may be either channel, is not taken for one.
    words = re.findall(r"[a-z0-9]+", lowered)
    return "ct" if "ct" in words and not {"pet", "spect"} & set(words) else None


def _are_colours(fingerprint: Fingerprint) -> bool:
    """Whether the channels are red, green and blue: by name, or three of bytes on slices."""
    names = {name.strip().lower() for name in fingerprint.modalities}
    if names in _COLOURS:
        return True
    bytes_only = all(
        case.minmax[index] is None or _is_byte_range(case.minmax[index])
        for case in fingerprint.cases
        for index in range(len(fingerprint.modalities))
    )
    whole = all(facts.integral for facts in fingerprint.intensities)
    return len(fingerprint.modalities) == 3 and fingerprint.slices_only and whole and bytes_only


def _is_byte_range(minmax: tuple[float, float] | None) -> bool:
    return minmax is not None and minmax[0] >= 0 and minmax[1] <= _COLOUR_MAXIMUM


def _share_with_air(fingerprint: Fingerprint, index: int, rules: Thresholds) -> float:
    """Share of the cases with this modality whose smallest value is air's, in Hounsfield units."""
    smallest = [found[0] for case in fingerprint.cases if (found := case.minmax[index]) is not None]
    ranges = (rules.air_hu, rules.padding_hu)
    inside = [value for value in smallest if any(low <= value <= high for low, high in ranges)]
    return len(inside) / len(smallest) if smallest else 0.0


def _with_statistics(scheme: Normalisation, facts: IntensityFacts) -> NormalisationPlan:
    if scheme != "ct":
        return NormalisationPlan(scheme=scheme)
    return NormalisationPlan(
        scheme=scheme,
        mean=facts.mean,
        std=facts.std if facts.std > 0 else 1.0,
        lower=facts.percentile_00_5,
        upper=facts.percentile_99_5,
    )
