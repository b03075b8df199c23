"""The model card: what a model is for, what it was made from, how good it was, and where it must not be trusted.

After Mitchell et al., Model Cards for Model Reporting (arXiv 1810.03993), in Markdown. All numbers come from the values
of the bundle; nothing is claimed that they do not hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from autofuse.dataset.types import Labels
from autofuse.evaluation.ensemble import Ensemble
from autofuse.evaluation.types import Statistic
from autofuse.inference.reading import EACH_ALONE
from autofuse.plan.types import NetworkPlan, Plan
from autofuse.sharing.card_ensemble import how_it_decides, what_choosing_is_worth
from autofuse.sharing.markdown import statistic, table
from autofuse.sharing.types import DataSummary, Member, Range, SharedModel

AXES = ("z (slowest)", "y", "x")
_SCORES = (("dice", "Dice"), ("nsd", "NSD"), ("hd95_mm", "HD95 (mm)"))
_SUPERVISION = {"dense": "labelled in every voxel", "sparse": "labelled in part (scribbles)", "none": "not labelled"}


def model_card(
    model: SharedModel,
    plans: Mapping[str, Plan],
    data: DataSummary | None,
    ensemble: Ensemble | None = None,
    *,
    graphs: bool = False,
) -> str:
    """The card as Markdown, the same text for the same values.

    Args:
        plans: by run.
        ensemble: that predicts, if it is not one run.
        graphs: of ONNX networks, not of a bundle.
    """
    sections = (
        _head(model),
        _segments(plans[model.run].labels),
        _expects(model, plans),
        _how_to_use(model, graphs=graphs),
        *(() if ensemble is None else (how_it_decides(ensemble),)),
        _trained_on(model, data),
        _scored(model, ensemble),
        _limits(model, data),
        _made_of(model, graphs=graphs),
    )
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _head(model: SharedModel) -> list[str]:
    licence = model.licence or "not stated: ask its owner before you use it"
    return [
        f"# {model.name}",
        "",
        f"A segmentation model for {' + '.join(model.modalities)} images, trained with autofuse "
        f"{model.autofuse_version}.",
        "",
        f"Licence: {licence}",
    ]


def _segments(labels: Labels) -> list[str]:
    kind = "Regions, which may overlap; later ones are painted over earlier ones." if labels.has_regions else "Classes."
    painted = labels.region_values or tuple(item.raw_values[0] for item in labels.classes)
    rows = [
        (str(value), item.name, ", ".join(map(str, item.raw_values)))
        for value, item in zip(painted, labels.classes, strict=True)
    ]
    return ["## What it segments", "", kind, "", *table(("value in the mask", "name", "values in training"), rows)]


def _predicting(model: SharedModel) -> list[Member]:
    return [member for member in model.members if not member.earlier]


def _expects(model: SharedModel, plans: Mapping[str, Plan]) -> list[str]:
    plan = plans[model.run]
    used = {(item.run, item.configuration): plans[item.run] for item in _predicting(model)}
    spacings = [_spacing(own, configuration) for (_, configuration), own in used.items()]
    networks = [own.named(configuration).network for (_, configuration), own in used.items()]
    rows = [
        (f"{channel:04d}", name, _each(own.normalisation[channel].scheme for own in used.values()))
        for channel, name in enumerate(plan.modalities)
    ]
    return [
        "## What it expects",
        "",
        f"Files `<case>_<channel>{model.file_ending}`, one per modality; intensities as the scanner gives them.",
        "",
        *table(("channel", "modality", "normalised by"), rows),
        "",
        f"- Grid: any; it is resampled to {_each(spacings)} (z, y, x), and the mask comes on the grid of "
        f"{plan.modalities[plan.reference]}.",
        f"- Modalities on grids of their own: {_each(_registered(own) for own in used.values())}",
        f"- Without a modality: {_absent(networks)}",
    ]


def _each(words: Iterable[str]) -> str:
    """What differs, once each."""
    return " or ".join(dict.fromkeys(words))


def _spacing(plan: Plan, configuration: str) -> str:
    spacing = [0.0, 0.0, 0.0]
    for position, axis in enumerate(plan.transpose):
        spacing[axis] = plan.named(configuration).spacing_mm[position]
    return " x ".join(f"{value:.3g}" for value in spacing) + " mm"


def _registered(plan: Plan) -> str:
    if len(plan.modalities) == 1:
        return "there is one only."
    if plan.registration is not None:
        return "registered rigidly onto the reference first."
    return "resampled; they must show the same place."


def _absent(networks: Sequence[NetworkPlan]) -> str:
    rates = [network.modality_dropout for network in networks]
    if min(rates) > 0:
        return f"trained for that, with modalities dropped at a rate of {_each(f'{rate:g}' for rate in rates)}."
    if all(network.modality_dropout > 0 or network.topology in EACH_ALONE for network in networks):
        return "possible, since each modality has an answer of its own."
    return "no; every modality must be there."


def _how_to_use(model: SharedModel, *, graphs: bool) -> list[str]:
    if graphs:
        return [
            "## How to use it",
            "",
            "Each `.onnx` file is one network; a tile goes in, logits come out. `contract.json` says what to do before "
            "and after, in numbers and in words: without that, masks are wrong and nothing tells.",
        ]
    return [
        "## How to use it",
        "",
        "```bash",
        f"autofuse import {model.name}.autofuse.zip",
        f"autofuse predict {model.name} -i folder_of_images -o masks",
        "```",
    ]


def _trained_on(model: SharedModel, data: DataSummary | None) -> list[str]:
    runs: dict[str, list[str]] = {}
    for item in _predicting(model):
        counts = f"fold {item.fold}: {item.labelled} labelled + {item.unlabelled} not"
        runs.setdefault(item.run, []).append(counts)
    lines = ["## What it was trained on", ""]
    lines += [
        f"- Cases that trained {'it' if len(runs) == 1 else run}: {', '.join(counts)}" for run, counts in runs.items()
    ]
    if data is None:
        return [*lines, "- Nothing else is known of the data."]
    kinds = ", ".join(f"{count} {_SUPERVISION.get(kind, kind)}" for kind, count in data.annotation.items())
    rates = zip(data.modalities, data.missing_rates, strict=True)
    missing = ", ".join(f"{name} {rate:.0%}" for name, rate in rates if rate)
    rows = [
        (axis, _range(spacing, ".3g"), _range(shape, ".0f"))
        for axis, spacing, shape in zip(AXES, data.spacing_mm, data.shape, strict=True)
    ]
    classes = [(item.name, str(item.cases), f"{item.volume_ml_median:.3g}") for item in data.classes]
    return [
        *lines,
        f"- The whole data set: {data.cases} cases of {data.subjects} subjects",
        f"- Supervision: {kinds}",
        f"- Cases that lack a modality: {missing or 'none'}",
        "",
        *table(("axis", "spacing in mm (least, median, largest)", "voxels (least, median, largest)"), rows),
        "",
        *table(("class", "cases that have it", "median volume in ml"), classes),
    ]


def _scored(model: SharedModel, ensemble: Ensemble | None) -> list[str]:
    scores = model.scores
    head = ["## How good it was", "", *([] if model.choice is None else [*what_choosing_is_worth(model.choice), ""])]
    if scores is None:
        unknown = "No held-out case was scored: how good it is, is not known."
        return [*head, unknown if model.choice is None else "Distances and surfaces were not scored."]
    rows = [
        (item.name, *(statistic(item.statistics.get(key, Statistic(n=0))) for key, _ in _SCORES), str(item.n_missed))
        for item in scores.classes
    ]
    whose = "On" if ensemble is None else f"{model.run} alone, with nothing done to its masks, on"
    return [
        *head,
        f"{whose} {scores.cases} cases of {scores.subjects} subjects that had not trained the fold which segmented "
        "them; mean [95 % bootstrap interval]:",
        "",
        *table(("class", *(title for _, title in _SCORES), "missed in"), rows),
        "",
        "Each fold was scored by itself. Averaged folds, as prediction uses them, can only be scored on new cases.",
    ]


def _limits(model: SharedModel, data: DataSummary | None) -> list[str]:
    few = model.scores is None or model.scores.cases < 20
    lines = [
        "## Limits",
        "",
        "- It was judged on cases of the data set that it comes from, if at all. Scanners, protocols, diseases and age "
        "groups that are not in there were not tried.",
        "- It is no medical device. Whoever uses it for patients is responsible for validating it.",
    ]
    if few:
        lines.append("- Few or no cases were held out: the scores above say little.")
    if data is not None and max(data.missing_rates, default=0) > 0:
        lines.append("- Some training cases lacked a modality; scores are over all of them.")
    return lines


def _made_of(model: SharedModel, *, graphs: bool) -> list[str]:
    where = "contract.json" if graphs else "manifest.json"
    rows = [
        (
            item.run,
            str(item.fold),
            item.configuration,
            item.trainer,
            item.topology,
            "first stage" if item.earlier else "",
        )
        for item in model.members
    ]
    return [
        "## What it is made of",
        "",
        *table(("run", "fold", "configuration", "trainer", "topology", ""), rows),
        "",
        f"autofuse {model.autofuse_version}, torch {model.torch_version}. `{where}` holds the SHA-256 of every file.",
    ]


def _range(values: Range, form: str) -> str:
    return ", ".join(format(value, form) for value in values)
