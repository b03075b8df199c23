"""What a model card says of an ensemble: who decides, what is done to the mean, and what choosing was worth."""

from __future__ import annotations

from autofuse.evaluation.ensemble import Ensemble
from autofuse.evaluation.paired import PairedInterval
from autofuse.sharing.markdown import statistic, table
from autofuse.sharing.types import Choice


def how_it_decides(ensemble: Ensemble) -> list[str]:
    """Who the members are, what each counts for, and what is done to their mean."""
    whole, recipe = sum(member.weight for member in ensemble.members), ensemble.recipe
    rows = [
        (
            member.run,
            f"{member.weight} of {whole}",
            ", ".join(str(fold.fold) for fold in member.folds),
            member.prior_run or "",
        )
        for member in ensemble.members
    ]
    steps = [f"  - {step.structure}: {step.in_words()}" for step in recipe.steps if step.acts]
    limits = "" if recipe.thresholds is None else ", ".join(f"{value:g}" for value in recipe.thresholds)
    heat = recipe.temperature
    return [
        "## How it decides",
        "",
        "By the mean of these runs, in which folds of a run count alike:",
        "",
        *table(("run", "weight", "folds", "takes masks of"), rows),
        "",
        f"- Mirrored images: {'averaged as well.' if ensemble.mirror else 'not used.'}",
        f"- Post-processing of masks: {'in this order' if steps else 'none.'}",
        *steps,
        *([f"- Thresholds of the regions, in order: {limits}"] if limits else []),
        *([f"- Probabilities: log-odds divided by {heat:g}; masks do not depend on it."] if heat != 1 else []),
    ]


def what_choosing_is_worth(choice: Choice) -> list[str]:
    """How the members did alone, and the whole on subjects that did not choose it."""
    names = list(dict.fromkeys(name for item in choice.members for name in item.per_structure))
    rows = [
        (item.run, statistic(item.dice), *(_dice(item.per_structure.get(name)) for name in names))
        for item in choice.members
    ]
    nested = choice.nested
    if nested is None:
        worth = "Too few subjects were held out to say what the members are worth together."
    else:
        worth = (
            f"On subjects that did not choose, what is chosen in this way has a Dice of {nested.dice:.3f}, the best "
            f"single run {nested.best_single:.3f}; averaging gives {_gain(nested.ensemble_gain)}, thresholds and "
            f"post-processing {_gain(nested.postprocessing_gain)} [95 % bootstrap interval]. On the cases that chose "
            f"it, its Dice is {nested.apparent_dice:.3f}, which is a little too good."
        )
    return [
        f"Members, weights and post-processing were chosen by {choice.cases} held-out cases of {choice.subjects} "
        "subjects.",
        "",
        *table(("member alone", "Dice", *names), rows),
        "",
        worth,
    ]


def _dice(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _gain(value: PairedInterval) -> str:
    return f"{value.difference:+.3f} [{value.lower:+.3f}, {value.upper:+.3f}]"
